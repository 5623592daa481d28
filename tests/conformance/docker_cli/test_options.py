"""Each option that docker's own command has for images, registries, networks, volumes and new containers, our command
has too, or refuses with its reason.
"""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from stockade import cli
from stockade.cli.unserved import UNSERVED

pytestmark = [pytest.mark.root, pytest.mark.judge]
COMMANDS = [
    name
    for name in cli.COMMANDS
    if name.split()[0] in ("network", "volume")
    or name in ("run", "create", "port", "commit", "export")
    or cli.COMMANDS[name] in ("images", "registries")
]
OTHERS = {"cp": "its links are followed inside the container only, and it says what it copied"}
PROGRAMS = [found for place in ("/usr/local/bin", "/usr/bin") if (found := shutil.which("docker", path=place))]
_OPTION = re.compile(r"^ +(?:(-\w), )?(--[a-z0-9-]+)", re.MULTILINE)


def options(program: str, name: str) -> list[tuple[str, str]]:
    """Short and long."""
    done = subprocess.run([program, *name.split(), "--help"], capture_output=True, text=True, timeout=30, check=True)
    assert f"docker {name} " in done.stdout or f"docker image {name} " in done.stdout
    found: list[tuple[str, str]] = _OPTION.findall(done.stdout)
    return found


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in OTHERS])
def test_its_options_are_ours(program: str, name: str) -> None:
    own = {option.name: option.short for option in cli.load(name).options}
    refused = UNSERVED.get(name, {})
    assert not set(own) & set(refused)
    for short, option in options(program, name):
        if option in refused or option == "--help":
            continue
        assert option in own, f"{name} {option}"
        assert own[option] == short or not short, f"{name} {short} {option}"
