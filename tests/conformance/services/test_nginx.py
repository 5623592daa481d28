"""nginx on a published port: as an ordinary user, as root with the few capabilities it wants; HUP and QUIT."""

from __future__ import annotations

import pytest

from conformance.services.conftest import Ground, Made
from support.patience import eventually

pytestmark = [pytest.mark.root, pytest.mark.judge]

CONFIG = """
worker_processes 2;
pid /run/nginx/pid;
error_log /dev/stderr notice;
events {}
http {
  access_log /dev/stdout;
  client_body_temp_path /run/nginx/body; proxy_temp_path /run/nginx/proxy; fastcgi_temp_path /run/nginx/fastcgi;
  uwsgi_temp_path /run/nginx/uwsgi; scgi_temp_path /run/nginx/scgi;
  server { listen 80; location / { root /site; } location /who { return 200 $remote_addr; } include /conf/*.conf; }
}
"""
NGINX = Made(
    "nginx",
    ("nginx",),
    (
        'ENTRYPOINT ["nginx", "-c", "/etc/judged.conf", "-g"]', 'CMD ["daemon off;"]', "USER www-data",
        "EXPOSE 80/tcp", "STOPSIGNAL SIGQUIT", "VOLUME /conf",
    ),
    directories=(("run/nginx", 33, 0o755), ("site", 0, 0o755), ("conf", 33, 0o755)),
    files={"etc/judged.conf": CONFIG, "site/index.html": "served\n"},
)  # fmt: skip
SAFE = ("--security-opt", "no-new-privileges", "--cap-drop", "ALL")


def test_as_an_ordinary_user(ground: Ground) -> None:
    docker = ground.docker
    docker.run("--name", "web", *SAFE, "-p", "127.0.0.1::80", ground.image(NGINX))
    address = ground.address("web", 80)
    eventually(lambda: ground.curl(f"{address}/", check=False) == "served\n", "nginx serves", 60)
    ground.hardened("web")
    assert docker.said("exec", "web", "id", "-un") == "www-data"
    gateway = docker.said("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}", "web")
    assert ground.curl(f"{address}/who") == gateway
    assert '"GET /who HTTP/1.1" 200' in docker.docker("logs", "web").stdout

    docker.docker("exec", "web", "sh", "-c", "echo 'location /new { return 200 new; }' >/conf/new.conf")
    before = docker.said("exec", "web", "cat", "/run/nginx/pid")
    docker.docker("kill", "-s", "HUP", "web")
    eventually(lambda: ground.curl(f"{address}/new", check=False) == "new", "HUP brings the new configuration", 60)
    assert docker.said("exec", "web", "cat", "/run/nginx/pid") == before == "1"

    docker.docker("stop", "web")
    assert docker.inspect("web", "{{json .State.ExitCode}}") == 0
    assert "gracefully shutting down" in docker.docker("logs", "web").stderr


def test_as_root_whose_workers_are_somebody_else(ground: Ground) -> None:
    docker = ground.docker
    few = [word for name in ("CHOWN", "SETUID", "SETGID", "NET_BIND_SERVICE") for word in ("--cap-add", name)]
    flags = ("-u", "0", "--read-only", "--tmpfs", "/run/nginx", "-P", *SAFE, *few)
    docker.run("--name", "web", *flags, ground.image(NGINX), "daemon off; user www-data;")
    address = ground.address("web", 80)
    eventually(lambda: ground.curl(f"{address}/", check=False) == "served\n", "nginx serves", 60)
    ground.hardened("web")
    owners = docker.said("exec", "web", "ps", "-eo", "user=,comm=").splitlines()
    assert sorted(line.split()[0] for line in owners if "nginx" in line) == ["root", "www-data", "www-data"]
    docker.docker("stop", "web")
    assert docker.inspect("web", "{{json .State.ExitCode}}") == 0
