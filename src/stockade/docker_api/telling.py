"""Long work, told as it goes: Docker's lines of JSON, which its clients show as bars."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from stockade.docker_api.answers import encode, error_body
from stockade.docker_api.wire import Gone
from stockade.errors import StockadeError
from stockade.images import Progress

if TYPE_CHECKING:
    from stockade.docker_api.server import Request, Stream

T = TypeVar("T")


class Telling:
    """The answer to long work: its progress, then its result or why there is none.

    What fails before anything was said is an error as any other; later it is a line of the answer.
    """

    def __init__(self, request: Request, quiet: bool) -> None:
        self._request = request
        self._quiet = quiet
        self._stream: Stream | None = None
        self._lines: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    def progress(self, one: Progress) -> None:
        """Called by the work."""
        if not self._quiet:
            self._lines.put_nowait(render_progress(one))

    def put(self, line: dict[str, Any]) -> None:
        """Called by the work: a line as it is."""
        self._lines.put_nowait(line)

    async def follow(self, work: Coroutine[Any, Any, T]) -> T:
        """Tell of the work until it ends, and give its result. A client that left does not end it."""
        task = asyncio.create_task(work, name="an image on its way")
        task.add_done_callback(lambda _: self._lines.put_nowait(None))
        try:
            while (line := await self._lines.get()) is not None:
                await self.say(line)
            return task.result()
        except Gone:
            await asyncio.wait([task])
            raise
        except StockadeError as error:
            if self._stream is None:
                raise
            await self.say({"errorDetail": error_body(error), "error": error.message})
            raise Gone(error.message) from error
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])

    async def say(self, line: dict[str, Any]) -> None:
        """One line of the answer."""
        if self._stream is None:
            self._stream = await self._request.start()
        await self._stream.write(encode(line))


def render_progress(one: Progress) -> dict[str, Any]:
    """A line of progress as Docker's clients show it."""
    if not one.id and not one.total:
        if not one.current:
            return {"status": one.status}
        return {"status": one.status, "progressDetail": {"current": one.current}, "progress": _size(one.current)}
    if not one.total:
        return {"status": one.status, "progressDetail": {}, "id": one.id}
    detail = {"current": one.current, "total": one.total}
    return {"status": one.status, "progressDetail": detail, "progress": _bar(one), "id": one.id}


def _bar(one: Progress) -> str:
    done = min(50, one.current * 50 // one.total)
    return f"[{'=' * done}>{' ' * (50 - done)}]  {_size(one.current)}/{_size(one.total)}"


def _size(count: float) -> str:
    """As Docker writes sizes of progress: powers of 1,000."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.4g}{unit}"
