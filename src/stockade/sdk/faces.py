"""One source for callers that block: a method of the core with its signature, run to its end in place."""

from __future__ import annotations

from typing import Concatenate, ParamSpec, Protocol, TypeVar

from stockade.runtime.blocking import run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
    from typing import Any

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C")


class Face(Protocol[C]):
    """What stands before a core."""

    _core: C


def blocking(
    method: Callable[Concatenate[C, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Face[C], P], T]:
    """The same method for callers that block."""

    def call(self: Face[C], /, *args: P.args, **words: P.kwargs) -> T:
        return run(method(self._core, *args, **words))

    call.__doc__, call.__name__ = method.__doc__, method.__name__
    return call


def iterating(
    method: Callable[Concatenate[C, P], AsyncGenerator[T, None]],
) -> Callable[Concatenate[Face[C], P], Iterator[T]]:
    """The same for a method that gives one thing after the other."""

    def call(self: Face[C], /, *args: P.args, **words: P.kwargs) -> Iterator[T]:
        source = method(self._core, *args, **words)

        async def following() -> T:
            return await anext(source)

        try:
            while True:
                try:
                    yield run(following())
                except StopAsyncIteration:
                    return
        finally:
            run(source.aclose())

    call.__doc__, call.__name__ = method.__doc__, method.__name__
    return call
