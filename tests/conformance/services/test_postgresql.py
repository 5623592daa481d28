"""PostgreSQL: a cluster made in a named volume as its own user, asked from another container, ended by SIGINT."""

from __future__ import annotations

import pytest

from conformance.services.conftest import Ground, Made

pytestmark = [pytest.mark.root, pytest.mark.judge]

BEGIN = """#!/bin/sh
set -e
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  initdb --username=postgres --auth=trust --encoding=UTF8 --locale=C.UTF-8
  echo "host all all samenet trust" >>"$PGDATA/pg_hba.conf"
fi
exec "$@"
"""
POSTGRES = Made(
    "postgres",
    ("postgresql-15", "postgresql-client-15"),
    (
        'ENTRYPOINT ["/begin"]',
        'CMD ["postgres", "-c", "listen_addresses=*", "-c", "unix_socket_directories=/run/postgresql"]',
        "ENV PATH=/usr/lib/postgresql/15/bin:/usr/bin PGDATA=/var/lib/data PGHOST=/run/postgresql",
        "USER postgres", "EXPOSE 5432", "VOLUME /var/lib/data", "STOPSIGNAL SIGINT",
        "HEALTHCHECK --interval=1s --start-period=1m CMD pg_isready",
    ),
    users=(("postgres", 999),),
    directories=(("var/lib/data", 999, 0o700), ("run/postgresql", 999, 0o2775)),
    files={"begin": BEGIN},
)  # fmt: skip
SAFE = ("--security-opt", "no-new-privileges", "--cap-drop", "ALL")


def test_a_cluster_in_a_volume(ground: Ground) -> None:
    docker = ground.docker
    docker.docker("network", "create", "shop")
    docker.docker("volume", "create", "cluster")
    words = ("--name", "db", "--network", "shop", "--network-alias", "database", *SAFE, "-v", "cluster:/var/lib/data")
    docker.run(*words, ground.image(POSTGRES))
    ground.healthy("db")
    ground.hardened("db")
    assert docker.said("exec", "db", "stat", "-c", "%U %a", "/var/lib/data") == "postgres 700"

    psql = (
        "run",
        "--rm",
        "-i",
        "--network",
        "shop",
        *SAFE,
        "--entrypoint",
        "psql",
        "postgres",
        "-h",
        "database",
        "-qAt",
    )
    docker.docker(*psql, input=b"create table t (n int); insert into t select generate_series(1, 100000);")
    assert docker.said(*psql, "-c", "select sum(n) from t") == "5000050000"
    # Workers that share memory by /dev/shm.
    parallel = "set parallel_setup_cost=0; set parallel_tuple_cost=0; set min_parallel_table_scan_size=0;"
    assert docker.said(*psql, input=f"{parallel} select count(*) from t where n % 7 = 0;".encode()) == "14285"

    docker.docker("stop", "db")
    assert docker.inspect("db", "{{json .State.ExitCode}}") == 0
    said = docker.docker("logs", "db").stderr
    assert "received fast shutdown request" in said
    assert "database system is shut down" in said

    docker.docker("start", "db")
    ground.healthy("db")
    assert docker.said(*psql, "-c", "select count(*) from t") == "100000"
    docker.docker("rm", "-f", "db")
    docker.run(*words, "postgres")
    ground.healthy("db")
    assert "automatic recovery in progress" in docker.docker("logs", "db").stderr, "it was killed"
    assert docker.said(*psql, "-c", "select count(*) from t") == "100000"


def test_it_refuses_root_as_everywhere(ground: Ground) -> None:
    done = ground.docker.docker("run", "--rm", "-u", "0", ground.image(POSTGRES), check=False)
    assert done.returncode != 0
    assert "cannot be run as root" in done.stderr
