"""How a shim is started, in the words of every containerd."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from contract.shim.conftest import Config
from contract.shim.peer import V3, Shim, decode, encode
from support.patience import eventually

pytestmark = pytest.mark.root


def test_the_bare_form(shim: Shim, config: Config) -> None:
    peer = shim.start("c", config("true"))
    answer = peer.call("Connect", {1: "c"})
    assert answer[1] == shim.pid("c")
    bundle = shim.bundle("c")
    assert (bundle / "address").read_text().startswith("unix:///")
    assert Path((bundle / "attach").read_text()).is_socket()
    assert Path((bundle / "attach").read_text()).stat().st_mode & 0o777 == 0o600


def test_parameters_on_standard_input(shim: Shim, config: Config) -> None:
    bundle = shim.bundle("c")
    bundle.mkdir(parents=True)
    (bundle / "config.json").write_text(json.dumps(config("true")))
    params = encode({1: "c", 2: "test", 4: "2.4.2", 9: str(shim.place.top / "own")})
    result = decode(shim.command("c", "start", data=params))
    assert (result[1], result[3]) == (3, b"ttrpc")
    address = result[2].decode()
    assert address.startswith(f"unix://{shim.place.top}/own/")
    assert shim.connect(address).call("Connect", {1: "c"}, V3)[1] == shim.pid("c")


def test_other_input_is_not_taken_for_parameters(shim: Shim, config: Config) -> None:
    peer = shim.start("c", config("true"), data=encode({1: "another", 2: "test"}))
    assert peer.call("Connect", {1: "c"})[1] == shim.pid("c")


def test_a_pod_has_one_shim(shim: Shim, config: Config) -> None:
    pod = {"io.kubernetes.cri.sandbox-id": "pod"}
    shim.start("pod", config("true", annotations=pod))
    shim.start("member", config("true", annotations=pod))
    shim.start("stranger", config("true"))
    assert shim.pid("pod") == shim.pid("member") != shim.pid("stranger")


def test_a_dead_shim_is_replaced(shim: Shim, config: Config) -> None:
    shim.start("c", config("true")).call("Shutdown", {1: "c"})
    assert shim.connect(shim.command("c", "start").decode()).call("Connect", {1: "c"})[1] == shim.pid("c")


def test_a_shim_that_nobody_uses_ends_with_its_bundle(shim: Shim, config: Config) -> None:
    """Who had it started was killed before he created anything, and was swept."""
    peer = shim.start("c", config("true"))
    directory, pid = Path((shim.bundle("c") / "attach").read_text()).parent, shim.pid("c")
    shutil.rmtree(shim.bundle("c"))
    peer.close()
    eventually(lambda: not os.listdir(directory) and not Path(f"/proc/{pid}").exists())


def test_a_shim_that_leaves_removes_what_killed_ones_left(shim: Shim, config: Config) -> None:
    shim.start("lives", config("true"))
    leaver = shim.start("leaves", config("true"))
    shim.start("dies", config("true"))
    directory = Path((shim.bundle("lives") / "attach").read_text()).parent
    killed = shim.pid("dies")
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{killed}").exists())
    shutil.rmtree(shim.bundle("dies"))  # with it went what told of the sockets
    for half in (".a", ".pid.new"):  # a removal and a start that were cut
        (directory / ("0" * 32 + half)).touch()
    stem = Path((shim.bundle("lives") / "attach").read_text()).stem
    leaver.call("Shutdown", {1: "leaves"})
    eventually(lambda: sorted(os.listdir(directory)) == [stem, f"{stem}.a", f"{stem}.pid"])


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [(["-v"], 0, "0."), (["-info"], 0, "io.containerd.stockade.v2"), ([], 1, "command is missing"),
     (["-namespace", "n", "start"], 1, "-id"), (["--frob"], 1, "--frob"),
     (["serve", "-id", "x", "-namespace", "n"], 1, "hint")],
)  # fmt: skip
def test_other_forms(shim: Shim, words: list[str], status: int, said: str) -> None:
    done = subprocess.run([shim.program, *words], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert done.returncode == status
    assert said.encode() in (done.stderr if status else done.stdout)


def test_info_tells_the_features(shim: Shim) -> None:
    done = subprocess.run([shim.program, "-info"], input=b"", capture_output=True, check=True)
    features = json.loads(decode(decode(done.stdout)[4])[2])
    assert features["linux"]["mountExtensions"]["idmap"]["enabled"] is True
