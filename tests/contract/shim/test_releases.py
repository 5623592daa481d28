"""An engine of a newer release asks a shim of this one: what is not known is refused by name, never skipped."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from contract.shim.conftest import Config
from contract.shim.peer import INVALID, UNIMPLEMENTED, Peer, Refused, Shim

pytestmark = pytest.mark.root

OCI = "types.containerd.io/opencontainers/runtime-spec/1"


def refusal(peer: Peer, method: str, fields: dict[int, Any]) -> tuple[int, str]:
    with pytest.raises(Refused) as caught:
        peer.call(method, fields)
    return caught.value.code, caught.value.text


def test_words_of_the_private_socket(shim: Shim, config: Config) -> None:
    shim.run("c", config("sleep", "100"))
    reader, writer = os.pipe()
    try:
        for asked, unknown in (
            ({"attach": {"id": "c", "stdout": True, "colour": "red"}}, "colour"),
            ({"rootfs": {"id": "c", "at": "/"}}, "at"),
            ({"teleport": {"id": "c"}}, "teleport"),
        ):
            with shim.ask("c", json.dumps(asked), [writer]) as client:
                said = json.loads(client.recv(4096))
            assert f"`{unknown}`" in said["error"], said
        # What is not said means what it meant in the first release.
        with shim.attach("c", stdout=writer):
            pass
    finally:
        os.close(reader)
        os.close(writer)


def test_members_of_documents(shim: Shim, config: Config) -> None:
    peer = shim.run("c", config("sleep", "100"))
    newer = {"pids": {"limit": 9}, "memory": {"colour": 1}}
    code, text = refusal(peer, "Update", {1: "c", 2: {1: f"{OCI}/LinuxResources", 2: json.dumps(newer)}})
    assert (code, "memory.colour" in text) == (UNIMPLEMENTED, True), text
    process = {"args": ["true"], "cwd": "/", "user": {"uid": 0, "gid": 0, "realm": "x"}}
    code, text = refusal(peer, "Exec", {1: "c", 2: "e", 7: {1: f"{OCI}/Process", 2: json.dumps(process)}})
    assert (code, "user.realm" in text) == (UNIMPLEMENTED, True), text
    code, text = refusal(peer, "Update", {1: "c", 2: {1: f"{OCI}/LinuxResources", 2: '{"pids":7}'}})
    assert code == INVALID, text


def test_annotations_of_ours(shim: Shim, config: Config) -> None:
    peer = shim.start("c", config("true", annotations={"dev.stockade.later": "x", "org.other": "y"}))
    code, text = refusal(peer, "Create", {1: "c", 2: str(shim.bundle("c"))})
    assert (code, "dev.stockade.later" in text) == (UNIMPLEMENTED, True), text
