"""From the command line to the loop, and back to an exit status."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import grp
import io
import logging
import os
import sys
from logging.handlers import RotatingFileHandler
from typing import NamedTuple

from stockade.daemon import surroundings, uninstall
from stockade.daemon.serve import Sockets, repair, serve
from stockade.errors import BadValue, StockadeError, Unsupported
from stockade.host import paths as places

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from stockade.host.paths import Paths

_LOG_SIZE = 1 << 20


class Options(NamedTuple):
    """The command line."""

    on_demand: bool
    exit_when_idle: float
    """Seconds; 0: never."""
    repair: bool
    uninstall: bool
    purge: bool
    group: int | None
    """Whose members may use the socket; None: root alone."""


def main(words: Sequence[str]) -> int:
    """Serve until told to stop; 0 also when another daemon serves already and this one was started on demand."""
    options = _parse(words)
    try:
        paths = places.find(os.environ)
        if not paths.root:
            raise Unsupported(
                "the daemon serves root only",
                hint="`stockade do`, and everything else that takes no image, works without it",
            )
        if options.on_demand and not surroundings.own_session():
            return 0
        if options.uninstall:
            uninstall.end_daemon(paths)
        places.make(paths)
        with surroundings.only_one(paths) as alone:
            if not alone:
                return _second(paths, options)
            if options.uninstall:
                asyncio.run(uninstall.uninstall(paths, options.purge, print))
            elif options.repair:
                asyncio.run(repair(paths, print))
            else:
                _serve(paths, options)
    except StockadeError as error:
        logging.getLogger(__name__).error("%s", error.message)
        print(f"stockade daemon: {error.message}", *([f"\nhint: {error.hint}"] if error.hint else []), file=sys.stderr)
        return 1
    return 0


def _parse(words: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(
        prog="stockade daemon",
        description="Serve images and containers on a socket. Whoever may write to the socket is root.",
    )
    parser.add_argument(
        "--on-demand", action="store_true", help="leave the caller's session; nothing to do if one runs"
    )
    parser.add_argument(
        "--exit-when-idle", type=float, default=0, metavar="SECONDS", help="end when nothing runs and nobody asked"
    )
    parser.add_argument(
        "--repair", action="store_true", help="make the records anew from the files beside their data, and end"
    )
    parser.add_argument("--uninstall", action="store_true", help="end the daemon that serves and all that it runs")
    parser.add_argument("--purge", action="store_true", help="with --uninstall: remove everything that was kept too")
    parser.add_argument(
        "--group",
        type=_group,
        metavar="NAME",
        help="let the members of this group use the socket: by it each of them is root on this machine",
    )
    found = parser.parse_args(words)
    if found.purge and not found.uninstall:
        parser.error("--purge goes with --uninstall")
    return Options(found.on_demand, found.exit_when_idle, found.repair, found.uninstall, found.purge, found.group)


def _group(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise argparse.ArgumentTypeError(f"there is no group {name!r}") from None


def _second(paths: Paths, options: Options) -> int:
    if options.on_demand:
        return 0
    print(f"stockade daemon: one serves {paths.run} already", file=sys.stderr)
    if options.repair:
        print("hint: stop it first; containers go on", file=sys.stderr)
    return 1


def _serve(paths: Paths, options: Options) -> None:
    listeners = surroundings.given_sockets()
    if listeners and options.group is not None:
        raise BadValue(
            "systemd made the socket, so --group is too late", hint="SocketGroup= and SocketMode= of its unit"
        )
    surroundings.tidy(keep={one.fileno() for one in listeners})
    if options.on_demand:
        surroundings.own_cgroup()
    _log_to(paths, options)

    def ready() -> None:
        if options.on_demand:
            surroundings.let_go_of_caller()
        # What was imported and built so far stays: the collector need not look at it again.
        gc.collect()
        gc.freeze()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(paths, Sockets(listeners, options.group), options.exit_when_idle, ready))


class _OwnLog(RotatingFileHandler):
    """Nobody else may read it: the directory is open to all when other people's programs must reach a root in it."""

    def _open(self) -> io.TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        return open(descriptor, "a", encoding=self.encoding)


def _log_to(paths: Paths, options: Options) -> None:
    handler: logging.Handler = logging.StreamHandler()
    if options.on_demand:
        handler = _OwnLog(f"{paths.run}/daemon.log", maxBytes=_LOG_SIZE, backupCount=1, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
