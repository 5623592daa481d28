"""Root file systems made from Debian's packages, cached under build/roots by the versions they consist of.

apt itself resolves the packages against an empty installation, so nothing of the machine leaks in; they are only
unpacked, no maintainer script runs. The result belongs to root and is used read-only by every test at once.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from support.programs import TOP

CACHE = TOP / "build" / "roots"
MERGED = ("bin", "sbin", "lib", "lib64")  # Debian's merged /usr, which its base-files expects to be there

# bash and friends to run anything at all; the others are the languages of the workload suite.
SMALL = ("base-files", "base-passwd", "bash", "coreutils", "dash", "util-linux", "procps", "grep", "sed", "mawk")
LANGUAGES = (
    *SMALL,
    *("findutils", "diffutils", "gzip", "tar", "attr", "strace", "iproute2", "kmod", "libcap2-bin"),
    *("gcc", "libc6-dev", "python3", "perl", "nodejs", "openjdk-17-jdk-headless"),
)


PYTHON = ("base-passwd", "python3.11-minimal", "libpython3.11-stdlib")


def _apt(state: Path, *words: str) -> subprocess.CompletedProcess[str]:
    (state / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    empty = state / "status"
    empty.touch()
    options = {
        "Dir::State::status": empty,
        "Dir::Cache::archives": state / "archives",
        "Dir::Cache::pkgcache": "",
        "Debug::NoLocking": "1",
        "APT::Sandbox::User": "root",
        "APT::Install-Recommends": "0",
    }
    flags = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    return subprocess.run(
        ["apt-get", "-qq", *flags, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def _resolve(state: Path, packages: tuple[str, ...]) -> list[str]:
    """Archive names with their versions, as apt would fetch them onto an empty machine."""
    for attempt in range(2):
        done = _apt(state, "install", "-y", "--print-uris", *packages)
        if done.returncode == 0:
            return sorted(line.split(" ")[1] for line in done.stdout.splitlines() if line.startswith("'"))
        if attempt == 0:  # a fresh machine has no lists yet
            subprocess.run(["apt-get", "-qq", "update"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    raise RuntimeError(f"apt cannot resolve {' '.join(packages)}: {done.stderr.strip()}")


def _unpack(archive: Path, root: Path) -> None:
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as data:
        subprocess.run(
            ["tar", "-x", "--keep-directory-symlink", "-p", "-C", root, "-f", "-"], stdin=data.stdout, check=True
        )
    if data.returncode != 0:
        raise RuntimeError(f"{archive.name} cannot be unpacked")


def _finish(root: Path) -> None:
    """What maintainer scripts would have done, as far as a program can see it."""
    (root / "etc").mkdir(exist_ok=True)
    for name in ("passwd", "group"):
        shutil.copy(root / "usr/share/base-passwd" / f"{name}.master", root / "etc" / name)
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    (root / "etc/shadow").write_text("root:*:19000:0:99999:7:::\n")
    (root / "etc/shadow").chmod(0o600)
    for link, target in (("bin/sh", "dash"), ("usr/bin/awk", "mawk")):
        if not (root / link).exists():
            (root / link).symlink_to(target)
    for name in ("java", "javac"):
        found = next(iter(sorted(root.glob(f"usr/lib/jvm/*/bin/{name}"))), None)
        if found:
            (root / "usr/bin" / name).symlink_to(f"/{found.relative_to(root)}")
    for name in ("proc", "sys", "dev", "tmp", "run", "programs", "work", "classes"):
        (root / name).mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)


def make(packages: tuple[str, ...]) -> Path:
    """The root of these packages and all they depend on; made at the first call for these versions."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = CACHE / ".apt"
        # apt names only what it has yet to fetch: what a build that was cut fetched would be missing.
        shutil.rmtree(state / "archives", ignore_errors=True)
        names = _resolve(state, packages)
        root = CACHE / hashlib.sha256("\n".join([_recipe(), *names]).encode()).hexdigest()[:16]
        if not root.is_dir():
            _build(state, packages, names, root)
        return root


def _recipe() -> str:
    return Path(__file__).read_text()


def _build(state: Path, packages: tuple[str, ...], names: list[str], root: Path) -> None:
    done = _apt(state, "install", "-y", "--download-only", *packages)
    if done.returncode != 0:
        raise RuntimeError(f"apt cannot fetch: {done.stderr.strip()}")
    fresh = root.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    for name in MERGED:
        (fresh / "usr" / name).mkdir(parents=True)
        (fresh / name).symlink_to(f"usr/{name}")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda name: _unpack(state / "archives" / name, fresh), names))
    _finish(fresh)
    fresh.rename(root)
    shutil.rmtree(state / "archives", ignore_errors=True)


def small() -> Path:
    return make(SMALL)


def python() -> Path:
    """Python and nothing that it does not need."""
    return make(PYTHON)


def languages() -> Path:
    return make(LANGUAGES)
