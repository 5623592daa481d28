"""The second half of `make run`: the engine holds a container while its daemon is killed.

An image is made of this machine's own shell; everything happens in a directory of its own and is gone afterwards.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Show = Callable[[str, str], None]


def story(show: Show) -> list[str]:
    """Tell it by `show(what, how)`; what went wrong."""
    if os.geteuid() != 0:
        show("the engine", "skipped: it is root's, for now")
        return []
    with _installation() as place:
        from stockade.model import Limits
        from stockade.sdk.client import Client, Wanted

        began = time.monotonic()
        client = Client()
        image = client.import_tree(str(_tree(place)), "shell:1", changes=['CMD ["/bin/sh"]'])
        show(
            "image",
            f"shell:1, {image.id[:19]}, of this machine's own shell ({_since(began)}, the daemon's start in it)",
        )

        began = time.monotonic()
        script = "trap 'echo bye; exit 3' TERM; n=0; while :; do n=$((n+1)); echo line $n; sleep 0.1 & wait $!; done"
        limits = Limits(memory=64 << 20, pids=32)
        box = client.create(Wanted("shell:1", ("/bin/sh", "-c", script), name="job", network="none", limits=limits))
        box.start()
        show("started", f"{box.name} in {_since(began)}: its program counts")

        daemon = int((place / "run/daemon.pid").read_text())
        os.kill(daemon, signal.SIGKILL)
        time.sleep(0.3)
        again = Client().container("job")
        here = int((place / "run/daemon.pid").read_text())
        show("kill -9", f"of the daemon {daemon}; {here} took its place and says: {again.name} is {again.status}")
        inside = again.exec(["/bin/sh", "-c", "echo from inside"])
        again.stop(5)
        lines = b"".join(again.logs()).decode().split("\n")
        numbers = [int(found[1]) for found in (re.fullmatch(r"line (\d+)", line) for line in lines) if found]
        end = again.wait()
        show("its log", f"{len(numbers)} lines, none lost; stopped, it said {lines[-2]!r} and ended with {end.status}")
        again.remove()
        failures = []
        if numbers != list(range(1, len(numbers) + 1)) or not numbers:
            failures.append(f"lines of the log are lost: {numbers}")
        if (again.status, inside.stdout, end.status, lines[-2]) != ("running", b"from inside\n", 3, "bye"):
            failures.append(f"the container did not go on: {again.status}, {inside}, {end}, {lines[-2:]}")
        return failures


@contextmanager
def _installation() -> Iterator[Path]:
    """Directories of our own, and a daemon that is uninstalled at the end."""
    place = Path(tempfile.mkdtemp(prefix="stockade-engine-"))
    names = {"STOCKADE_RUN_DIR": place / "run", "STOCKADE_DATA_DIR": place / "data"}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update({name: str(path) for name, path in names.items()})
    try:
        yield place
    finally:
        _stockade("system", "uninstall", "--purge", "--force")
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        shutil.rmtree(place, ignore_errors=True)


def _stockade(*words: str) -> None:
    import sys

    command = [sys.executable, "-c", "import sys; from stockade.cli import main; sys.exit(main())", *words]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)


def _tree(place: Path) -> Path:
    """A root file system of two programs and what they are linked with."""
    tree = place / "tree"
    for name in ("sh", "sleep"):
        program = Path(shutil.which(name, path="/usr/bin:/bin") or f"/bin/{name}").resolve()
        said = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
        for needed in re.findall(r"(/\S+) \(0x", said):
            _copy(Path(needed), tree / needed.lstrip("/"))
        _copy(program, tree / "bin" / name)
    return tree


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def _since(began: float) -> str:
    return f"{(time.monotonic() - began) * 1000:.0f} ms"
