"""An engine in a process of its own, told verb by verb, so that it can be killed at any step: the real parts, no door.

    python -m support.lifecycle SCRIPT     (in tests/)   SCRIPT: a JSON list of [verb, arguments…]; answers on stdout

There is one container at most, which stands on the directory STOCKADE_TEST_ROOT.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any

import msgspec

from stockade.engine import names
from stockade.engine.answers import Change
from stockade.engine.engine import Engine
from stockade.engine.records import Wanted
from stockade.errors import StockadeError
from stockade.host import paths as places
from stockade.images import Images
from stockade.networks.options import Asked
from stockade.networks.values import EndpointWanted
from stockade.snapshots import Snapshots
from stockade.store import Journal, Store
from stockade.volumes import Volumes

SLEEP = ("sh", "-c", "trap 'exit 5' TERM; echo up; while :; do sleep 0.05; done")


async def call(engine: Engine, verb: str, *words: Any) -> object:
    if verb == "create":
        fields: dict[str, Any] = words[0] if words else {}
        root = os.environ["STOCKADE_TEST_ROOT"]
        usual = {
            "name": "box",
            "created": time.time_ns(),
            "image": "",
            "image_id": "",
            "command": SLEEP,
            "rootfs": root,
            "volumes": ["/bin"],
        }
        return await engine.create(msgspec.convert({"id": names.new_id(), **usual, **fields}, Wanted))
    if verb == "nap":
        await asyncio.sleep(float(words[0]))
        return None
    if verb == "settled":
        await settled(engine)
        return None
    if verb == "network":
        return await engine.networks.create(Asked(str(words[0])))
    if verb == "unnetwork":
        return await engine.networks.remove(str(words[0]))
    [record] = engine.list(None)
    if verb == "connect":
        await engine.connect(record.wanted.id, EndpointWanted(str(words[0])))
        return None
    if verb == "update":
        return await engine.update(record.wanted.id, Change({"pids_limit": int(words[0])}))
    return await getattr(engine, verb)(record.wanted.id, *words)


async def settled(engine: Engine) -> None:
    """Wait until nothing is under way any more."""
    for _ in range(400):
        moving = {"running", "paused", "created", "exited", "dead"}
        if not engine.containers.journal.unfinished() and all(
            record.state.status.value in moving for record in engine.list(None)
        ):
            return
        await asyncio.sleep(0.05)


async def main(script: list[list[Any]]) -> None:
    paths = places.find(os.environ)
    places.make(paths)
    for path in (f"{paths.data}/engine", f"{paths.run}/s"):
        os.makedirs(path, 0o700, exist_ok=True)
    store = Store(f"{paths.data}/store.db")
    images = await Images.open(paths, store, Journal(store))
    volumes = await Volumes.open(paths)
    engine = await Engine.open(paths, store, images, Snapshots(paths), volumes)
    for verb, *words in script:
        try:
            await call(engine, verb, *words)
        except StockadeError as error:
            print(json.dumps({"verb": verb, "error": type(error).__name__, "message": error.message}), flush=True)
    records = [msgspec.to_builtins(record) for record in engine.list(None)]
    print(json.dumps({"record": records[0] if records else None}), flush=True)
    print(json.dumps({"networks": [msgspec.to_builtins(one) for one in engine.networks.all()]}), flush=True)
    print(json.dumps({"unfinished": [one.verb for one in engine.containers.journal.unfinished()]}), flush=True)
    await engine.close()
    await volumes.close()
    await images.close()
    store.close()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
