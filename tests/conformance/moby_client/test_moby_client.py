"""The newest of Docker's Go clients (moby/client) with our daemon, and what is new in its version of the API."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from support import images, registries
from support import place as places
from support.daemon import daemon
from support.programs import go_build

pytestmark = [pytest.mark.root, pytest.mark.judge]


def attested(name: str) -> bytes:
    """An image with two statements beside it, as BuildKit writes them."""
    image = images.TestImage((*images.busybox().layers, images.layer({"made": b"here"})), {"Cmd": ["true"]})
    blobs = image.blobs()

    def put(data: bytes) -> dict[str, Any]:
        blobs[images.sha256(data)] = data
        return {"digest": f"sha256:{images.sha256(data)}", "size": len(data)}

    layers = []
    for predicate in ("https://slsa.dev/provenance/v1", "https://spdx.dev/Document"):
        statement = images.dump({"_type": "https://in-toto.io/Statement/v1", "predicateType": predicate})
        note = {"in-toto.io/predicate-type": predicate}
        layers.append({"mediaType": "application/vnd.in-toto+json", **put(statement), "annotations": note})
    config = {"mediaType": images.CONFIG, **put(b'{"architecture":"unknown","os":"unknown"}')}
    manifest = put(images.dump({"schemaVersion": 2, "mediaType": images.MANIFEST, "config": config, "layers": layers}))
    of = image.descriptor(platform={"os": "linux", "architecture": "amd64"})
    notes = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": of["digest"]}
    nowhere = {"os": "unknown", "architecture": "unknown"}
    entry = {"mediaType": images.MANIFEST, **manifest, "platform": nowhere, "annotations": notes}
    index = put(images.dump({"schemaVersion": 2, "mediaType": images.INDEX, "manifests": [of, entry]}))
    reference = {"annotations": {"io.containerd.image.name": f"docker.io/library/{name}"}}
    return images.layout([{"mediaType": images.INDEX, **index, **reference}], blobs)


def test_containers_and_images_by_the_newest_client() -> None:
    with (
        places.place() as place,
        daemon(place) as served,
        registries.docker_registry(place.top, served.ns) as registry,
    ):
        registry.put(images.busybox(), "box", "1")
        program = go_build(Path(__file__).parent, "moby-client")
        busybox = served.load()
        served.docker("load", input=attested("attested:1"))
        words = [str(program), str(served.socket), busybox, f"{registry.authority}/box:1", "attested:1"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("ALL\n")
