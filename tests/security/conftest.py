"""A box to attack from: a root that the attacker prepared, Debian's /usr bound into it, a free hand on config.json."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from support import bundle, programs, roots
from support.oci import Command
from support.place import Place
from support.wall import Result, Work

Change = Callable[[dict[str, Any]], None]


@dataclass(slots=True)
class Box:
    place: Place
    command: Command
    usr: Path
    user_namespace: bool = False
    numbers: count[int] = field(default_factory=count)

    @property
    def root(self) -> Path:
        return self.place.top / "root"

    def prepare(self) -> None:
        for name in ("proc", "sys", "dev", "tmp", "etc", "usr", "vol"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            (self.root / name).symlink_to(f"usr/{name}")
        if self.user_namespace:
            os.chown(self.root, bundle.USER_BASE, bundle.USER_BASE)

    def document(self, *argv: str, **more: Any) -> dict[str, Any]:
        made = bundle.config(Work(argv=argv, root=self.root, binds={"/usr": self.usr}, **more), self.user_namespace)
        made["root"]["readonly"] = False
        return made

    def write(self, document: dict[str, Any]) -> tuple[str, Path]:
        name = self.place.name(str(next(self.numbers)))
        return name, bundle.write(self.place.top / f"bundle-{name}", document)

    def run(self, *argv: str, change: Change | None = None, data: bytes = b"", **more: Any) -> Result:
        document = self.document(*argv, **more)
        if change:
            change(document)
        name, made = self.write(document)
        try:
            return self.command.call("run", "--bundle", made, name, data=data, timeout=30)
        finally:
            self.command.call("delete", "--force", name)

    def python(self, script: str, change: Change | None = None, **more: Any) -> Result:
        return self.run("python3", "-c", script, change=change, **more)


def make(place: Place, user_namespace: bool) -> Box:
    program = Path(os.environ.get("STOCKADE_TEST_OCI") or programs.program("stockade-oci"))
    box = Box(
        place, Command(program, place.run / "oci", place.environment()), roots.languages() / "usr", user_namespace
    )
    box.prepare()
    return box


@pytest.fixture
def box(place: Place) -> Box:
    """Without a user namespace: root inside is root outside, so every other defence must hold alone."""
    return make(place, user_namespace=False)


@pytest.fixture
def user_box(place: Place) -> Box:
    return make(place, user_namespace=True)
