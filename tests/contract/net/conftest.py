"""Network namespaces of the test's own: one that stands for the host, one for each container."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from contract.net.harness import Host, Server
from support.netns import Netns, netns


@pytest.fixture(name="boxes")
def _boxes() -> Iterator[Callable[[], Netns]]:
    """Makes network namespaces that are gone after the test."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(netns())


@pytest.fixture(name="host")
def _host(boxes: Callable[[], Netns]) -> Host:
    return Host(boxes())


@pytest.fixture(name="server")
def _server(host: Host, tmp_path: Path) -> Iterator[Server]:
    server = Server(host.ns, tmp_path / "net")
    server.start()
    try:
        yield server
    finally:
        server.stop()
