"""A session that is killed before it removes anything: what it leaves is the reaper's."""

from __future__ import annotations

import os
import signal

from docker.types import Mount  # type: ignore[import-untyped]
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

network = Network().create()
anonymous = Mount("/anonymous", None, type="volume")
left = DockerContainer("busybox:latest").with_command("sleep 1000").with_network(network)
left.with_kwargs(mounts=[anonymous]).start()
labels = {name: value for name, value in left.get_wrapped_container().labels.items() if "session" in name}
assert len(labels) == 1
left.get_docker_client().client.volumes.create("forgotten", labels=labels)
print("left", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
