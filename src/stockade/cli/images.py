"""Images: brought in, listed, named, written out, removed."""

from __future__ import annotations

import os
import sys

from stockade.cli import answers
from stockade.cli.answers import FILTER
from stockade.cli.screen import note, out
from stockade.cli.table import Args, Command, Option
from stockade.errors import BadValue, NotFound, StockadeError, exit_code
from stockade.model import render_size
from stockade.sdk.client import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NONE = "<none>"


def images(args: Args) -> int:
    """List images."""
    wanted = answers.filters(args["filter"])
    if args.rest:
        wanted["reference"] = [args.rest[0]]
    found = [line for one in Client().images(all=args["all"], filters=wanted) for line in _lines(one, args["no-trunc"])]
    if args["quiet"]:
        for identity in dict.fromkeys(one["ID"] for one in found):
            out(identity)
        return 0
    columns = {**_COLUMNS, "Digest": "DIGEST"} if args["digests"] else _COLUMNS
    columns = {name: columns[name] for name in _ORDER if name in columns}
    wish = "{{.Repository}}:{{.Tag}}" if args["format"] == "names" else args["format"]
    answers.listing(wish, found, tuple(columns.values()), lambda one: [one[name] for name in columns])
    return 0


_COLUMNS = {"Repository": "REPOSITORY", "Tag": "TAG", "ID": "IMAGE ID", "CreatedSince": "CREATED", "Size": "SIZE"}
_ORDER = ("Repository", "Tag", "Digest", "ID", "CreatedSince", "Size")


def _lines(one: dict[str, Any], whole: bool) -> list[dict[str, Any]]:
    """A line for each name."""
    identity = one["Id"] if whole else one["Id"].removeprefix("sha256:")[:12]
    found = []
    digests = dict(text.partition("@")[::2] for text in one.get("RepoDigests") or ())
    for name in one.get("RepoTags") or [f"{_NONE}:{_NONE}"]:
        repository, _, tag = name.rpartition(":")
        found.append(
            {
                "Repository": repository,
                "Tag": tag,
                "Digest": digests.get(repository, _NONE),
                "ID": identity,
                "CreatedAt": one["Created"],
                "CreatedSince": answers.age(one["Created"]),
                "Size": render_size(one["Size"]),
                "Labels": one.get("Labels") or {},
            }
        )
    return found


def load(args: Args) -> int:
    """Take in the images of an archive."""
    path = args["input"]
    if path is None and os.isatty(0):
        raise BadValue("an archive is read from standard input, which is a terminal", hint="stockade load -i FILE")
    try:
        descriptor = 0 if path is None else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NotFound(f"cannot read {path}: {error.strerror}") from error
    try:
        for said in Client().load(descriptor, platform=args["platform"] or ""):
            if "stream" in said:
                out(said["stream"].rstrip("\n"))
            elif not args["quiet"] and sys.stderr.isatty():
                _progress(said)
    finally:
        if path is not None:
            os.close(descriptor)
    return 0


def _progress(said: dict[str, Any]) -> None:
    sys.stderr.write(f"\r\033[K{said.get('id', '')} {said.get('status', '')} {said.get('progress', '')}".rstrip())
    sys.stderr.write("\r\033[K" if said.get("status") in ("Loaded", "") else "")
    sys.stderr.flush()


def save(args: Args) -> int:
    """Write images as one archive."""
    platform = args["platform"] or ""
    return _to_file(args["output"], lambda descriptor: Client().save(args.rest, descriptor, platform=platform))


def export(args: Args) -> int:
    """Write a container's file system as an archive."""
    return _to_file(args["output"], lambda descriptor: Client().container(args.rest[0]).export(descriptor))


def _to_file(path: str | None, write: Any) -> int:
    """Write to a file, which is there as a whole or not at all, or to standard output."""
    if path is None:
        if os.isatty(1):
            raise BadValue("an archive would be written to the terminal", hint="-o FILE, or redirect it")
        write(1)
        return 0
    beside = f"{path}.stockade-{os.getpid()}"
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BadValue(f"cannot write {path}: {error.strerror}") from error
    try:
        write(descriptor)
        os.rename(beside, path)
    except BaseException:
        os.unlink(beside)
        raise
    finally:
        os.close(descriptor)
    return 0


def import_(args: Args) -> int:
    """Make an image of a directory or of an archive of one: of this machine, standard input or an address."""
    source = args.rest[0]
    reference = args.rest[1] if len(args.rest) > 1 else ""
    more = {"changes": args["change"], "message": args["message"] or "", "platform": args["platform"] or ""}
    if source == "-" or source.startswith(("http://", "https://")):
        return _import_from(0 if source == "-" else source, reference, more)
    if not os.path.exists(source):
        raise NotFound(f"there is no {source}", hint="a directory, or a tar archive (plain, gzip or zstd) of one")
    out(Client().import_tree(os.path.abspath(source), reference, **more).id)
    return 0


def _import_from(source: str | int, reference: str, more: dict[str, Any]) -> int:
    """The daemon ends what it says with the image's id."""
    if source == 0 and os.isatty(0):
        raise BadValue("an archive is read from standard input, which is a terminal", hint="redirect it")
    last = ""
    for said in Client().import_from(source, reference, **more):
        last = str(said.get("status") or last)
        if "id" in said and sys.stderr.isatty():
            _progress(said)
    out(last)
    return 0


def commit(args: Args) -> int:
    """Make an image of a container."""
    container = Client().container(args.rest[0])
    image = container.commit(
        args.rest[1] if len(args.rest) > 1 else "",
        message=args["message"] or "",
        author=args["author"] or "",
        changes=args["change"],
        pause=args["pause"] and not args["no-pause"],
    )
    out(image.id)
    return 0


def tag(args: Args) -> int:
    """Give an image one more name."""
    Client().image(args.rest[0]).tag(args.rest[1])
    return 0


def history(args: Args) -> int:
    """Show how an image was made."""
    found = [
        {
            "ID": one["Id"].removeprefix("sha256:")[:12] if one["Id"] != "<missing>" else one["Id"],
            "CreatedSince": answers.age(one["Created"]) if args["human"] else answers.moment(one["Created"]),
            "CreatedBy": one["CreatedBy"] if args["no-trunc"] else one["CreatedBy"][:45],
            "Size": render_size(one["Size"]) if args["human"] else str(one["Size"]),
            "Comment": one.get("Comment", ""),
        }
        for one in Client().image(args.rest[0]).history(platform=args["platform"] or "")
    ]
    if args["quiet"]:
        for one in found:
            out(one["ID"])
        return 0
    titles = ("IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT")
    answers.listing(args["format"], found, titles, lambda one: list(one.values()))
    return 0


def rmi(args: Args) -> int:
    """Remove images."""
    from stockade.cli import complain

    code, client = 0, Client()
    for word in args.rest:
        try:
            for said in client.remove_image(word, force=args["force"], prune=not args["no-prune"]):
                out("".join(f"{name}: {value}" for name, value in said.items()))
        except StockadeError as error:
            if not (args["force"] and isinstance(error, NotFound)):
                complain(error.message, error.hint)
                code = exit_code(error)
    return code


def cp(args: Args) -> int:
    """Copy files between a container and this machine."""
    from stockade.cli import copying

    source, target = args.rest
    inside, outside = copying.side(source), copying.side(target)
    if (inside is None) == (outside is None):
        raise BadValue("one of the two must be NAME:PATH", hint="stockade cp web:/etc/hosts .")
    if inside is not None:
        copying.out_of(Client().container(inside[0]), inside[1], target)
    elif outside is not None:
        copying.into(Client().container(outside[0]), outside[1], source)
    if not os.environ.get("STOCKADE_QUIET") and sys.stderr.isatty():
        note(f"copied {source} to {target}")
    return 0


_CHANGE = Option("--change", "an instruction of a Dockerfile, as 'CMD [\"sh\"]'", "-c", "INSTRUCTION", many=True)
_MESSAGE = Option("--message", "what to remember of it", "-m", "TEXT")
_OUTPUT = Option("--output", "a file in place of standard output", "-o", "FILE", completes="file")
_PLATFORM = Option("--platform", "what it is for, as linux/arm64", "", "PLATFORM")
_TRUNC = Option("--no-trunc", "whole ids and commands")

COMMANDS = {
    "images": Command(
        name="images",
        summary="list images",
        operands="[REFERENCE]",
        most=1,
        completes="image",
        run=images,
        options=(
            Option("--all", "also those in between", "-a"),
            Option("--quiet", "only the ids", "-q"),
            Option("--digests", "with what the registry calls them"),
            _TRUNC,
            FILTER,
            answers.FORMAT,
        ),
        examples=(("stockade images --filter dangling=true -q", "those without a name"),),
    ),
    "load": Command(
        name="load",
        summary="take in the images of an archive (OCI layout, or what docker save writes)",
        operands="",
        run=load,
        options=(
            Option("--input", "a file in place of standard input", "-i", "FILE", completes="file"),
            Option("--quiet", "no progress", "-q"),
            _PLATFORM,
        ),
        examples=(("docker save debian | stockade load", "an image that docker has"),),
    ),
    "save": Command(
        name="save",
        summary="write images as one archive",
        operands="IMAGE…",
        least=1,
        most=None,
        completes="image",
        run=save,
        options=(_OUTPUT, _PLATFORM),
        examples=(("stockade save -o all.tar web db", "two images in one file"),),
    ),
    "import": Command(
        name="import",
        summary="make an image of a directory or of an archive of one",
        operands="PATH|URL|- [REFERENCE]",
        least=1,
        most=2,
        completes="file",
        run=import_,
        options=(_CHANGE, _MESSAGE, _PLATFORM),
        examples=(
            ("stockade import ./rootfs mine:1 -c 'CMD [\"/bin/sh\"]'", "an image of a directory"),
            ("stockade import https://example.com/rootfs.tar.gz mine:2", "of an archive, which the daemon fetches"),
        ),
    ),
    "commit": Command(
        name="commit",
        summary="make an image of a container as it is now",
        operands="NAME [REFERENCE]",
        least=1,
        most=2,
        completes="container",
        run=commit,
        options=(
            _CHANGE,
            _MESSAGE,
            Option("--author", "who made it", "-a", "TEXT"),
            Option("--no-pause", "while it goes on"),
            Option("--pause", "while it stands still, unless --pause=false", "-p", default=True),
        ),
        examples=(("stockade commit -m fixed web web:2", "as it is now"),),
    ),
    "export": Command(
        name="export",
        summary="write a container's file system as a tar archive",
        operands="NAME",
        least=1,
        most=1,
        completes="container",
        run=export,
        options=(_OUTPUT,),
        examples=(("stockade export -o web.tar web", "all of its files"),),
    ),
    "tag": Command(
        name="tag",
        summary="give an image one more name",
        operands="IMAGE REFERENCE",
        least=2,
        most=2,
        completes="image",
        run=tag,
        examples=(("stockade tag web:2 web:latest", "one more name"),),
    ),
    "history": Command(
        name="history",
        summary="show how an image was made",
        operands="IMAGE",
        least=1,
        most=1,
        completes="image",
        run=history,
        options=(
            _TRUNC,
            Option("--quiet", "only the ids", "-q"),
            Option("--human", "sizes and ages for people, unless --human=false", "-H", default=True),
            _PLATFORM,
            answers.FORMAT,
        ),
        examples=(("stockade history web", "its layers"),),
    ),
    "rmi": Command(
        name="rmi",
        summary="remove images",
        operands="IMAGE…",
        least=1,
        most=None,
        completes="image",
        run=rmi,
        options=(
            Option("--force", "with all names, and mind nothing missing", "-f"),
            Option("--no-prune", "keep the images below it"),
        ),
        examples=(("stockade rmi web:1", "a name, and the image with its last one"),),
    ),
    "cp": Command(
        name="cp",
        summary="copy files between a container and this machine",
        operands="NAME:PATH PATH | PATH NAME:PATH",
        least=2,
        most=2,
        completes="file",
        run=cp,
        about="A path of - is a tar archive on standard input or output. Links are followed inside the container only.",
        examples=(
            ("stockade cp web:/var/log/app.log .", "out of it"),
            ("stockade cp ./site web:/srv", "into it"),
        ),
    ),
}
