"""An image of the daemon's under a sandbox that runs without it: its layers stay as long as this process holds them."""

from __future__ import annotations

import contextlib
from urllib.parse import urlencode

from stockade.errors import StockadeError
from stockade.host import processes
from stockade.sdk.remote import OWN, AsyncClient

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from stockade.runtime.io import Io


class Lease:
    """What a sandbox needs of an image, until `release` or the end of this process."""

    def __init__(self, client: AsyncClient, said: Any) -> None:
        config = said["Config"]
        self.layers: tuple[str, ...] = tuple(said["Layers"])
        """Unpacked, topmost first."""
        self.env = dict(word.split("=", 1) for word in config.get("Env") or () if "=" in word)
        self.workdir: str = config.get("WorkingDir") or "/"
        self._client = client
        self._id: str = said["Lease"]

    async def release(self) -> None:
        """Let go of it; a daemon that does not answer finds out when this process is gone."""
        with contextlib.suppress(StockadeError):
            await self._client.call("DELETE", f"{OWN}/leases/{self._id}")


async def take(io: Io, reference: str) -> Lease:
    """Hold an image for this process.

    Raises:
        NotFound: the daemon has none of that name.
    """
    me = processes.myself()
    client = AsyncClient(io)
    query = urlencode({"image": reference, "pid": me.pid, "start": me.start})
    return Lease(client, await client.call("POST", f"{OWN}/images/lease?{query}", timeout=None))
