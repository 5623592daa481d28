// A server, a child, a worker and timers of one node program; a line each, checked by the suite.
const http = require("node:http");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { execFileSync, spawn } = require("node:child_process");
const { Worker } = require("node:worker_threads");

async function main() {
  const server = http.createServer((request, response) => response.end(`path ${request.url}`));
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const body = await new Promise((done) =>
    http.get({ host: "127.0.0.1", port: server.address().port, path: "/here" }, (answer) => answer.on("data", (d) => done(String(d)))));
  console.log("http", body);
  server.close();
  console.log("child", execFileSync("sh", ["-c", "echo $0", "word"]).toString().trim());
  const code = await new Promise((done) => spawn("sh", ["-c", "kill -9 $$"]).on("exit", (c, s) => done(s)));
  console.log("killed", code);
  const worker = new Worker("require('worker_threads').parentPort.postMessage(6 * 7)", { eval: true });
  console.log("worker", await new Promise((done) => worker.on("message", done)));
  const place = fs.mkdtempSync(path.join(os.tmpdir(), "work"));
  fs.writeFileSync(path.join(place, "ü"), "x".repeat(100000));
  console.log("file", fs.readdirSync(place)[0], fs.statSync(path.join(place, "ü")).size);
  const begun = process.hrtime.bigint();
  await new Promise((done) => setTimeout(done, 20));
  console.log("timer", process.hrtime.bigint() - begun >= 19000000n);
  process.on("SIGUSR2", () => { console.log("signal"); process.exit(23); });
  process.kill(process.pid, "SIGUSR2");
  setTimeout(() => process.exit(1), 5000);
}
main();
