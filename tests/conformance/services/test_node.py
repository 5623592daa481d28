"""node as the first process: a server, worker threads, children, and an end as the program wants it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conformance.services.conftest import Ground, Made
from support.patience import eventually

pytestmark = [pytest.mark.root, pytest.mark.judge]

SERVER = """
const http = require('http'), os = require('os'), path = require('path');
const { Worker } = require('worker_threads'), { execFile } = require('child_process');
const work = (n) => new Promise((done, failed) => {
  const worker = new Worker(path.join(__dirname, 'worker.js'), { workerData: n });
  worker.once('message', done).once('error', failed);
});
const answers = {
  '/': async () => ({ pid: process.pid, uid: process.getuid(), cpus: os.availableParallelism?.() ?? os.cpus().length }),
  '/work': async () => Promise.all([1, 2, 3, 4].map((n) => work(n * 100000))),
  '/child': () => new Promise((done) => execFile('id', ['-un'], (error, out) => done(out.trim()))),
};
const server = http.createServer(async (request, response) => {
  response.setHeader('Content-Type', 'application/json');
  response.end(JSON.stringify(await answers[request.url]()));
});
server.listen(8080, () => console.log('listening'));
process.on('SIGTERM', () => {
  console.log('ending');
  server.close(() => process.exit(5));
  server.closeAllConnections?.();
});
"""
WORKER = """
const { parentPort, workerData } = require('worker_threads');
let sum = 0;
for (let n = 1; n <= workerData; n++) sum += n;
parentPort.postMessage(sum);
"""
NODE = Made(
    "node",
    ("nodejs",),
    ('CMD ["node", "/app/server.js"]', "USER node", "EXPOSE 8080", "WORKDIR /app"),
    users=(("node", 1000),),
    files={"app/server.js": SERVER, "app/worker.js": WORKER},
)
SAFE = ("--security-opt", "no-new-privileges", "--cap-drop", "ALL", "--read-only")


def test_a_server_and_its_threads(ground: Ground) -> None:
    docker = ground.docker
    docker.run("--name", "app", *SAFE, "--cpus", "1", "-m", "256m", "-p", "127.0.0.1::8080", ground.image(NODE))
    address = ground.address("app", 8080)
    eventually(lambda: docker.said("logs", "app") == "listening", "node listens", 60)
    ground.hardened("app")
    said = json.loads(ground.curl(f"{address}/"))
    assert (said["pid"], said["uid"]) == (1, 1000)
    assert json.loads(ground.curl(f"{address}/work")) == [n * 100000 * (n * 100000 + 1) // 2 for n in (1, 2, 3, 4)]
    assert json.loads(ground.curl(f"{address}/child")) == "node"
    docker.docker("stop", "app")
    assert docker.inspect("app", "{{json .State.ExitCode}}") == 5
    assert docker.said("logs", "app").endswith("ending")


def test_a_script_of_the_hosts(ground: Ground, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "main.js").write_text("process.stdin.on('data', d => process.stdout.write(String(d).toUpperCase()))")
    words = ("run", "--rm", "-i", *SAFE, "-v", f"{tmp_path}:/here:ro", ground.image(NODE), "node", "/here/main.js")
    assert ground.docker.docker(*words, input=b"typed\n").stdout == "TYPED\n"
    thrown = ground.docker.docker("run", "--rm", "node", "node", "-e", "throw new Error('why')", check=False)
    assert thrown.returncode == 1
    assert "Error: why" in thrown.stderr
