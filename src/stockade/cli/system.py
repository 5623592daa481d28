"""`system check` and `version`."""

from __future__ import annotations

from stockade import __version__
from stockade.cli.options import FORMAT
from stockade.cli.screen import as_json, out
from stockade.cli.table import Args, Command


def check(args: Args) -> int:
    """Say what this machine offers; 1 if the native wall lacks something that it needs."""
    from stockade.sdk.system import check as look

    findings = look()
    lacking = any(one.needed and not one.ok for one in findings)
    if args["format"] == "json":
        as_json([one._asdict() for one in findings])
        return int(lacking)
    topic = ""
    width = max(len(one.what) for one in findings)
    for one in findings:
        if one.topic != topic:
            out(("\n" if topic else "") + one.topic)
            topic = one.topic
        mark = "ok     " if one.ok else "MISSING" if one.needed else "missing"
        out(f"  {mark}  {one.what:{width}}  {one.found}".rstrip())
        if not one.ok and one.remedy:
            out(f"           {'':{width}}hint: {one.remedy}")
    return int(lacking)


def version(args: Args) -> int:
    """Print our version and the programs we would use."""
    from stockade.sdk.system import programs

    found = programs()
    if args["format"] == "json":
        as_json({"stockade": __version__, "programs": found})
        return 0
    out(f"stockade {__version__}")
    for name, path in found.items():
        out(f"  {name}: {path or 'not found'}")
    return 0


COMMANDS = {
    "system check": Command(
        name="system check",
        summary="show what this machine offers to each wall, what is missing and how to get it",
        operands="",
        options=(FORMAT,),
        run=check,
        examples=(
            ("stockade system check", "look at this machine as the user that you are"),
            ("stockade system check --format json | jq '.[] | select(.ok | not)'", "what is missing, for a program"),
        ),
    ),
    "version": Command(
        name="version",
        summary="show the version and where the programs lie",
        operands="",
        options=(FORMAT,),
        run=version,
    ),
}
