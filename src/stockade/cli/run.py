"""`create` and `run`: a program in an image, or on a directory of this machine."""

from __future__ import annotations

import contextlib
import os

from stockade.cli import foreground, front
from stockade.cli.making import OPTIONS, wanted
from stockade.cli.screen import note, out
from stockade.cli.table import Args, Command, Option
from stockade.errors import BadValue, NotFound, Refused, StockadeError
from stockade.runtime.attach import Attachment, Streams
from stockade.sdk.client import Client, Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.sdk.http import Exchange
    from stockade.sdk.wanted import Wanted


def create(args: Args) -> int:
    """Make a container and print its id."""
    container = _make(Client(), args, stdin=args["interactive"])
    out(container.id)
    return 0


def run(args: Args) -> int:
    """Run a program, and see it through or leave it to itself."""
    if args["tty"] and not args["detach"] and not os.isatty(0):
        raise BadValue("--tty needs a terminal as standard input", hint="leave --tty away")
    try:
        with foreground.Signals() as signals:
            return _run(args, signals)
    except foreground.Interrupted as interrupted:
        return 128 + interrupted.number


def _run(args: Args, signals: foreground.Signals) -> int:
    client = Client()
    container = _make(client, args, stdin=args["interactive"])
    if args["detach"]:
        container.start()
        out(container.id)
        return 0
    try:
        return _see_through(client, container, args, signals)
    except foreground.Interrupted:
        # Before it ran: nobody will start it any more.
        container.remove(force=True)
        raise
    except StockadeError:
        if args["rm"]:
            foreground.quietly(lambda: container.remove(force=True))
        raise


def _see_through(client: Client, container: Container, args: Args, signals: foreground.Signals) -> int:
    terminal = args["tty"]
    foreground.flush()
    end = _waiting(client, container, removed=args["rm"])
    try:
        streams = Streams(0 if args["interactive"] else None, 1, None if terminal else 2)
        attachment = Attachment(container.prepare(), container.id, streams, detach_keys=args["detach-keys"] or "")
        with foreground.raw_terminal(terminal), signals.kept():
            container.start()
            outcome = front.watch(subject(client, container), attachment, signals, terminal)
        if outcome.detached:
            return 0
        said = _answer(end)
        return said if outcome.status is None else outcome.status
    finally:
        end.close()


def subject(client: Client, container: Container) -> front.Subject:
    """A container as the foreground acts on it."""

    def pid() -> int:
        container.reload()
        return int(container.attributes["State"]["Pid"])

    def resize(rows: int, columns: int) -> None:
        client.call("POST", f"/containers/{container.id}/resize?h={rows}&w={columns}")

    return front.Subject(container.kill, resize, pid)


def _waiting(client: Client, container: Container, *, removed: bool) -> Exchange:
    """A wait for its next end, which was sent before it starts."""
    condition = "removed" if removed else "next-exit"
    return client.open("POST", f"/containers/{container.id}/wait?condition={condition}")


def _answer(end: Exchange) -> int:
    from stockade.runtime.blocking import run as blocking

    return int(blocking(end.json())["StatusCode"])


def _make(client: Client, args: Args, *, stdin: bool) -> Container:
    """Make the container; its id goes to --cidfile, warnings to standard error."""
    cidfile = args["cidfile"]
    if cidfile and os.path.exists(cidfile):
        raise Refused(f"{cidfile} exists", hint="remove it, or another --cidfile")
    try:
        asked = wanted(args, stdin)
        if os.path.isfile(asked.rootfs):
            container = client.create(asked._replace(image=_of_archive(client, asked.rootfs), rootfs=""))
        elif asked.image and args["pull"] != "never":
            container = _bring_and_make(client, asked, anew=args["pull"] == "always", quiet=args["quiet"])
        else:
            container = client.create(asked)
    except NotFound as error:
        raise NotFound(
            error.message, hint=error.hint or "`stockade pull`, `stockade load` or `stockade import` brings an image"
        ) from error
    for warning in container.warnings:
        note(f"stockade: warning: {warning}")
    if cidfile:
        with open(cidfile, "x", encoding="ascii") as file:
            file.write(container.id)
    return container


def _bring_and_make(client: Client, asked: Wanted, *, anew: bool, quiet: bool) -> Container:
    if not anew:
        # Usually the image is here, and nobody need ask for it first.
        with contextlib.suppress(NotFound):
            return client.create(asked)
    from stockade.cli import registries

    registries.bring(client, asked.image, anew=anew, platform=asked.platform, quiet=quiet)
    return client.create(asked)


def _of_archive(client: Client, path: str) -> str:
    """The image of a root file system in an archive of this machine, made now or the last time.

    Whoever changed the file must see it: the same as make(1) does, but to the nanosecond.
    """
    import hashlib

    seen = os.stat(path)
    key = (os.path.realpath(path), seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
    name = f"archive:{hashlib.sha256(os.fsencode(repr(key))).hexdigest()[:32]}"
    try:
        client.image(name)
    except NotFound:
        client.import_tree(os.path.abspath(path), name)
    return name


_ABOUT = (
    "IMAGE is the name of an image, or a path (it begins with / or .) of a directory or of an archive of one (plain, "
    "gzip or zstd), which is never changed: the program writes to a layer of its own, which lasts as long as "
    "the container. It has its own user namespace, so that root inside is nobody outside, and no network. Without --rm "
    "the container stays after its end, for `logs`, `start` and `commit`, until `stockade rm`."
)

COMMANDS = {
    "run": Command(
        name="run",
        summary="run a program in an image, or on a directory or archive of this machine",
        operands="IMAGE [CMD…]",
        least=1,
        most=None,
        trailing=True,
        completes="image",
        run=run,
        about=_ABOUT,
        examples=(
            ("stockade run --rm debian python3 -c 'print(6*7)'", "run one command and leave nothing"),
            ("stockade run --rm -it ./rootfs sh", "a shell on a directory of this machine"),
            (
                "stockade run -d --name job --memory 256m --time-limit 1h debian ./train",
                "in the background, with limits",
            ),
        ),
        options=(
            Option("--detach", "leave it in the background and print its id", "-d"),
            Option("--detach-keys", "keys that leave it to itself (ctrl-p,ctrl-q)", "", "KEYS"),
            *OPTIONS,
        ),
    ),
    "create": Command(
        name="create",
        summary="make a container without starting it",
        operands="IMAGE [CMD…]",
        least=1,
        most=None,
        trailing=True,
        completes="image",
        run=create,
        about=_ABOUT,
        examples=(("stockade create --name web debian sleep 1h", "`stockade start web` lets it run"),),
        options=OPTIONS,
    ),
}
