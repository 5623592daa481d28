"""What docker's reference shows for each command: stories.txt, with the newest client, which is built from its module,
and with every client of Docker's on the machine.

Every command that a client offers is in a story, or among the refused with the words that it gets.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support import images, programs, registries
from support import place as places
from support.daemon import Daemon, daemon

pytestmark = [pytest.mark.root, pytest.mark.judge, pytest.mark.timeout(300)]
HERE = Path(__file__).parent
TEXT = (HERE / "stories.txt").read_text()
AFTER_20 = 23
"""The version after 20.10."""


@dataclass(slots=True)
class Line:
    command: str
    since: int
    """The major version of the first client that knows it."""
    code: int
    patterns: list[str] = field(default_factory=list)


def parse(text: str) -> dict[str, list[Line]]:
    """Stories by name."""
    stories: dict[str, list[Line]] = {}
    lines: list[Line] | None = None
    for line in text.splitlines():
        if found := re.fullmatch(r"\[(.+)\]", line):
            lines = stories.setdefault(found[1], [])
        elif lines is None or not line.strip():
            continue
        elif found := re.fullmatch(r"\$(\+|\d\d|) (.*?)(?: -> (\d+))?", line):
            since = AFTER_20 if found[1] == "+" else int(found[1] or 0)
            lines.append(Line(found[2], since, int(found[3] or 0)))
        else:
            lines[-1].patterns.append(line)
    return stories


STORIES = parse(TEXT)
REFUSED = {
    "build": ("build - </dev/null", "[Bb]uild"),
    "builder build": ("builder build - </dev/null", "[Bb]uild"),
    "checkpoint create": ("checkpoint create none x", "[Cc]heckpoint|experimental"),
    "checkpoint ls": ("checkpoint ls none", "[Cc]heckpoint|experimental"),
    "checkpoint rm": ("checkpoint rm none x", "[Cc]heckpoint|experimental"),
    **{
        f"plugin {verb}": (f"plugin {verb} {more}", "[Pp]lugin")
        for verb, more in {
            "create": "none .", "disable": "none", "enable": "none", "inspect": "none", "push": "none",
            "install": "--grant-all-permissions none", "rm": "none", "set": "none a=b",
            "upgrade": "--grant-all-permissions none",
        }.items()
    },
    **{
        command: (f"{command} {more}", "swarm|Swarm")
        for command, more in {
            "config create": "x config.json", "config inspect": "x", "config ls": "", "config rm": "x",
            "node demote": "x", "node inspect": "x", "node ls": "", "node promote": "x", "node ps": "x",
            "node rm": "x", "node update": "--role worker x",
            "secret create": "x config.json", "secret inspect": "x", "secret ls": "", "secret rm": "x",
            "service create": "busybox", "service inspect": "x", "service logs": "x", "service ls": "",
            "service ps": "x", "service rm": "x", "service rollback": "x", "service scale": "x=1",
            "service update": "--force x",
            "stack deploy": "-c stack.yaml x", "stack ls": "", "stack ps": "x", "stack rm": "x", "stack services": "x",
            "swarm ca": "", "swarm init": "", "swarm join": "--token x 192.0.2.1:2377", "swarm join-token": "worker",
            "swarm leave": "", "swarm unlock": "", "swarm unlock-key": "", "swarm update": "--autolock",
        }.items()
    },
}  # fmt: skip
"""Commands that the daemon refuses, with the words of the refusal."""
ELSEWHERE = {
    "search": "tests/system/test_registries.py",
    **dict.fromkeys((f"completion {shell}" for shell in ("bash", "fish", "powershell", "zsh")), "of the client alone"),
    "stack config": "of the client alone",
    **dict.fromkeys(("trust inspect", "trust revoke", "trust sign"), "of the client and a notary"),
    **dict.fromkeys(("trust key generate", "trust key load"), "of the client alone"),
    **dict.fromkeys(("trust signer add", "trust signer remove"), "of the client and a notary"),
}
IMAGES = "build history import load pull push save tag".split()
ALIASES = {"ps": "container ls", "images": "image ls", "rmi": "image rm", "info": "system info",
           "events": "system events", "image build": "build", "build": "build", "version": "version",
           **{word: f"image {word}" for word in IMAGES if word != "build"}}  # fmt: skip
OF_CONTAINERS = (
    "attach commit cp create diff exec export kill logs pause port rename restart rm run start stats stop top unpause "
    "update wait"
).split()
ALIASES |= {word: f"container {word}" for word in OF_CONTAINERS}


@dataclass(frozen=True, slots=True)
class Client:
    """A docker command and what it calls itself."""

    program: Path
    version: tuple[int, ...]

    def help(self, *words: str) -> list[str]:
        """The commands beneath these words; empty: it is one itself."""
        done = subprocess.run([self.program, *words, "--help"], capture_output=True, text=True, timeout=30)
        found: list[str] = []
        within = False
        for line in done.stdout.splitlines():
            if line and not line.startswith(" "):
                within = line.endswith("Commands:")
            elif within and (word := re.match(r"  ([a-z][a-z-]*)\*? ", line)):
                found.append(word[1])
        return found


def newest() -> Client:
    """The client that `_newest` builds."""
    number = re.search(r"github.com/docker/cli v(\d+)\.(\d+)", (HERE / "go.mod").read_text())
    assert number is not None
    return Client(programs.TOP / "build/docker_cli/docker", (int(number[1]), int(number[2])))


def clients() -> list[Client]:
    found: dict[Path, Client] = {Path(): newest()}
    for folder in ("/usr/local/bin", "/usr/bin"):
        program = shutil.which("docker", path=folder)
        if program is not None:
            words = [program, "version", "--format", "{{.Client.Version}}"]
            said = subprocess.run(words, capture_output=True, text=True, timeout=30).stdout
            number = tuple(int(part) for part in re.findall(r"\d+", said)[:2])
            found.setdefault(Path(program).resolve(), Client(Path(program), number))
    return list(found.values())


CLIENTS = clients() if os.geteuid() == 0 else []


@dataclass(frozen=True, slots=True)
class Ground:
    docker: Daemon
    registry: str

    def sh(self, client: Client, directory: Path, command: str) -> tuple[int, str]:
        """A line of a story."""
        assert self.docker.ns is not None
        config = directory / ".docker"
        config.mkdir(exist_ok=True)
        path = f"{client.program.parent}:{os.environ['PATH']}:/usr/sbin:/sbin"
        own = {"DOCKER_HOST": f"unix://{self.docker.socket}", "DOCKER_CONFIG": str(config), "HOME": str(directory)}
        done = subprocess.run(
            self.docker.ns.words(["sh", "-c", command]),
            env={**os.environ, **own, "PATH": path, "R": self.registry, "DOCKER_CLI_HINTS": "false"},
            cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", timeout=90,
        )  # fmt: skip
        return done.returncode, done.stdout.replace("\r", "")

    def clear(self) -> None:
        self.docker.clear()
        self.docker.docker("network", "prune", "-f", check=False)
        # A prune leaves those with options.
        volumes = self.docker.said("volume", "ls", "-q").split()
        if volumes:
            self.docker.docker("volume", "rm", *volumes)
        names = self.docker.said("images", "-aq", "--no-trunc").split()
        if names:
            self.docker.docker("rmi", "-f", *set(names), check=False)
        self.docker.docker("load", "-i", str(images.busybox_archive()))


@pytest.fixture(scope="module", autouse=True)
def _newest() -> None:
    """Its module names no version of Go, so the compiler is told; releases have their version told by the linker."""
    version = ".".join(map(str, newest().version))
    flags = ["-gcflags=github.com/docker/cli/...=-lang=go1.26",
             f"-ldflags=-X github.com/docker/cli/cli/version.Version={version}"]  # fmt: skip
    programs.go_build(HERE, "docker_cli/docker", "github.com/docker/cli/cmd/docker", *flags)


@pytest.fixture(scope="module", name="served")
def _served() -> Iterator[Ground]:
    with places.place() as place, daemon(place) as made, registries.docker_registry(place.top, made.ns) as registry:
        yield Ground(made, registry.authority)


@pytest.fixture(name="ground")
def _ground(served: Ground) -> Ground:
    served.clear()
    return served


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: ".".join(map(str, client.version)))
@pytest.mark.parametrize("name", STORIES)
def test_a_story(ground: Ground, client: Client, name: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    wrong = []
    for line in STORIES[name]:
        if client.version[0] < line.since:
            continue
        code, said = ground.sh(client, tmp_path, line.command)
        missed = [pattern for pattern in line.patterns if not _holds(pattern, said)]
        if code != line.code or missed:
            wrong.append(f"$ {line.command}\n{said}-> {code}, not {line.code}; not as it should be: {missed}\n")
    assert not wrong, "\n".join(wrong)


def _holds(pattern: str, said: str) -> bool:
    if pattern.startswith("! "):
        return re.search(pattern[2:], said, re.MULTILINE) is None
    return re.search(pattern, said, re.MULTILINE) is not None


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: ".".join(map(str, client.version)))
def test_what_is_refused(served: Ground, client: Client, tmp_path: Path) -> None:
    (tmp_path / "stack.yaml").write_text("services: {a: {image: busybox}}\nversion: '3'\n")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "rootfs").mkdir()
    wrong = []
    every = leaves(client)
    for command, (words, why) in REFUSED.items():
        if command not in every:
            continue
        code, said = served.sh(client, tmp_path, f"docker {words}")
        if code == 0 or not re.search(why, said):
            wrong.append(f"docker {words} -> {code}\n{said}")
    assert not wrong, "\n".join(wrong)


def leaves(client: Client) -> set[str]:
    """Every command that a client has, in one spelling; without the plugins of the client."""
    found: set[str] = set()
    todo: list[tuple[str, ...]] = [
        (word,) for word in client.help() if word not in ("buildx", "compose", "app", "scan")
    ]
    while todo:
        words = todo.pop()
        inner = client.help(*words)
        todo += [(*words, word) for word in inner]
        if not inner:
            name = " ".join(words)
            found.add(ALIASES.get(name, name))
    return found


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: ".".join(map(str, client.version)))
def test_every_command_is_looked_at(client: Client) -> None:
    every = leaves(client)
    assert len(every) > 100
    said = {command for lines in STORIES.values() for line in lines for command in _commands(line.command, every)}
    missing = every - said - set(REFUSED) - set(ELSEWHERE)
    assert not missing


def _commands(line: str, every: set[str]) -> Iterator[str]:
    for found in re.findall(r"docker (?:--context \S+ )?([a-z-]+)(?: ([a-z-]+))?", line):
        for name in (" ".join(found).strip(), found[0]):
            if ALIASES.get(name, name) in every:
                yield ALIASES.get(name, name)
                break
