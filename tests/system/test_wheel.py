"""The wheel installs where there is no compiler, and what it installs works."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.place import Place
from support.programs import NAMES, TOP

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of a new virtual environment that holds the wheel and nothing else of ours."""
    subprocess.run([sys.executable, TOP / "packaging/wheel.py"], stdin=subprocess.DEVNULL, check=True)
    made: Path = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", made], check=True)
    [wheel] = (TOP / "dist").glob("stockade-*.whl")
    # Wheels only and no PATH to a compiler; then without an index: what is not in the wheel or pinned is not to be had.
    pinned = ["--only-binary", ":all:", "--require-hashes", "-r", str(TOP / "packaging/requirements.txt")]
    environment = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_"))}
    for words in (pinned, ["--no-index", str(wheel)]):
        subprocess.run(
            [made / "bin/python", "-m", "pip", "install", "-q", *words],
            env={**environment, "PATH": str(made / "bin")},
            check=True,
        )
    return made / "bin"


def call(bare: Path, place: Place, *words: str) -> subprocess.CompletedProcess[str]:
    work = place.top / "work"
    work.mkdir(exist_ok=True)
    environment = {**place.environment(), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    environment.pop("STOCKADE_BIN_DIR", None)
    return subprocess.run(
        [bare / "stockade", *words],
        cwd=work, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_every_program_is_there(bare: Path) -> None:
    assert all((bare / name).stat().st_mode & 0o111 for name in (*NAMES, "stockade-cli"))


def test_programs_need_no_library(bare: Path) -> None:
    for name in NAMES:
        headers = subprocess.run(["readelf", "-lW", bare / name], capture_output=True, text=True, check=True).stdout
        assert "INTERP" not in headers


def test_version(bare: Path, place: Place) -> None:
    done = call(bare, place, "version")
    assert done.returncode == 0, done.stderr
    assert "0.1.0" in done.stdout


def test_do(bare: Path, place: Place) -> None:
    done = call(bare, place, "do", "--", "sh", "-c", "id -u; exit 7")
    assert (done.stdout, done.returncode) == ("0\n", 7), done.stderr
