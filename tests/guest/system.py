"""A guest that Debian's systemd runs: the image of its root file system, with Stockade installed as pip installs it."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from guest import machine
from guest.kernel import CACHE
from support import roots
from support.daemon import image
from support.programs import NAMES, TOP, program

PACKAGES = (*roots.PYTHON, "systemd", "coreutils", "dash", "grep", "mount", "nftables", "sed", "util-linux")
PREFIX = "opt/stockade"
SITE = f"{PREFIX}/lib/python3.11/site-packages"
SIZE = "700M"
STEPS_UNIT = """
[Unit]
After=basic.target
[Service]
Type=oneshot
ExecStart=/init steps
Environment=HOME=/root
TasksMax=infinity
"""
# What a machine without devices, users and networks need not wait for.
MASKED = (
    *("systemd-networkd.service", "systemd-networkd.socket", "systemd-pstore.service", "systemd-resolved.service"),
    *("systemd-update-utmp.service", "systemd-random-seed.service", "systemd-logind.service", "getty.target"),
    *("systemd-hwdb-update.service", "systemd-firstboot.service", "systemd-sysusers.service", "remote-fs.target"),
    *("systemd-journal-catalog-update.service", "systemd-update-done.service", "systemd-boot-system-token.service"),
    *("systemd-tmpfiles-clean.timer", "systemd-remount-fs.service", "systemd-machine-id-commit.service"),
)  # fmt: skip


@contextlib.contextmanager
def disk(steps: Mapping[str, str], files: Mapping[str, bytes]) -> Iterator[Path]:
    """The image to boot; `steps` are shell programs by name, `files` lie in /share."""
    base = _base()
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="stage-") as folder:
        stage = Path(folder, "root")
        subprocess.run(["cp", "-al", base, stage], check=True, timeout=120)
        _install(stage)
        for name, text in steps.items():
            _write(stage / "steps" / name, text.encode(), 0o755)
        for name, content in files.items():
            _write(stage / "share" / name, content)
        made = Path(folder, "disk")
        # Without a journal: it is booted once.
        words = ["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", str(stage), str(made), SIZE]
        subprocess.run(words, check=True, timeout=300, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        yield made


def _base() -> Path:
    """Debian's part, with its Python compiled: a guest in software takes half a minute for that."""
    root = roots.make(PACKAGES)
    place = CACHE / f"system-{root.name}"
    if not place.is_dir():
        fresh = place.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-al", root, fresh], check=True, timeout=120)
        _compile(fresh / "usr/lib/python3.11")
        fresh.rename(place)
    return place


def _compile(folder: Path) -> None:
    words = [sys.executable, "-m", "compileall", "-q", "-j0", "--invalidation-mode", "unchecked-hash", str(folder)]
    subprocess.run(words, check=False, timeout=300, stdout=subprocess.DEVNULL)


def _install(stage: Path) -> None:
    """Stockade in an environment of its own, its command on the path; busybox and the kernel's parts beside."""
    site = stage / SITE
    for name in ("stockade", "h11", "msgspec"):
        found = importlib.util.find_spec(name)
        assert found is not None
        assert found.submodule_search_locations is not None
        shutil.copytree(found.submodule_search_locations[0], site / name, ignore=shutil.ignore_patterns("__pycache__"))
    _compile(site)
    programs = stage / PREFIX / "bin"
    programs.mkdir(parents=True)
    for name in NAMES:
        shutil.copy(program(name), programs / name)
    (programs / "python3").symlink_to("/usr/bin/python3.11")
    _write(stage / PREFIX / "pyvenv.cfg", b"home = /usr/bin\nversion = 3.11\n")
    script = (TOP / "packaging/wheel-data/scripts/stockade-cli").read_text()
    _write(programs / "stockade-cli", script.replace("#!python", f"#!/{PREFIX}/bin/python3").encode(), 0o755)
    (stage / "usr/local/bin").mkdir(parents=True, exist_ok=True)
    (stage / "usr/local/bin/stockade").symlink_to(f"/{PREFIX}/bin/stockade")
    shutil.copy(machine.BUSYBOX, stage / "usr/bin/busybox")
    for command in ("sleep", "ps"):
        if not (stage / "usr/bin" / command).exists():
            (stage / "usr/bin" / command).symlink_to("busybox")
    _write(stage / "init", Path(__file__).with_name("init.sh").read_bytes(), 0o755)
    _write(stage / "share/box.tar", image())
    for unit in (TOP / "packaging/systemd").iterdir():
        _write(stage / "share/units" / unit.name, unit.read_bytes())
    # A guest in software on a busy machine starts nothing within systemd's minute and a half.
    _write(stage / "etc/systemd/system.conf.d/slow.conf", b"[Manager]\nDefaultTimeoutStartSec=600\n")
    _start_steps(stage / "etc/systemd/system")


def _start_steps(units: Path) -> None:
    _write(units / "steps.service", STEPS_UNIT.encode())
    (units / "default.target").unlink(missing_ok=True)
    (units / "default.target").symlink_to("/usr/lib/systemd/system/multi-user.target")
    (units / "multi-user.target.wants").mkdir(exist_ok=True)
    (units / "multi-user.target.wants/steps.service").symlink_to("/etc/systemd/system/steps.service")
    for name in MASKED:
        (units / name).unlink(missing_ok=True)
        (units / name).symlink_to("/dev/null")


def _write(path: Path, content: bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # The tree is made of links to files that others have: none is written into.
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
