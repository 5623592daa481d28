"""Ways in which a server gives a blob."""

from __future__ import annotations

from collections.abc import Callable

from support.server import Answer, Connection, Request, head


def whole(data: bytes) -> Answer:
    """Without ranges."""
    return lambda _, to: to.answer(200, data)


def ranges(data: bytes) -> Answer:
    """With ranges, as most registries."""

    def answer(request: Request, to: Connection) -> None:
        asked = request.range(len(data))
        if asked is None:
            return to.answer(200, data)
        return to.answer(206, data[slice(*asked)], content_range=content_range(asked, len(data)))

    return answer


def content_range(asked: tuple[int, int], size: int) -> str:
    return f"bytes {asked[0]}-{asked[1] - 1}/{size}"


def by_turns(*answers: Answer) -> Answer:
    """One after the other; the last one stays."""
    left = list(answers)

    def answer(request: Request, to: Connection) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(request, to)

    return answer


def cut_after(bytes_: int, data: bytes, then: Callable[[Connection], object] = Connection.cut) -> Answer:
    """Promises all that was asked for, gives the beginning of it."""

    def answer(request: Request, to: Connection) -> None:
        asked = request.range(len(data)) or (0, len(data))
        said = {"content_length": str(asked[1] - asked[0])}
        if request.range(len(data)):
            said["content_range"] = content_range(asked, len(data))
        to.send(head(206 if "content_range" in said else 200, **said))
        to.send(data[asked[0] : min(asked[1], asked[0] + bytes_)])
        then(to)

    return answer
