"""The table of docs/oci.md between its two marks: each validation program, ours beside runc; `make judge` writes it."""

from __future__ import annotations

from conformance.runtime_tools.suite import Report
from support import programs

PAGE = programs.TOP / "docs/oci.md"
MARKS = ("<!-- runtime-tools: begin -->\n", "<!-- runtime-tools: end -->\n")


def write(reports: dict[str, tuple[Report, Report]]) -> None:
    lines = ["| program | stockade-oci | runc |", "|---|---|---|"]
    lines += [f"| {program} | {ours.word()} | {runc.word()} |" for program, (ours, runc) in reports.items()]
    text = PAGE.read_text()
    before, rest = text.split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    table = "\n".join(lines)
    PAGE.write_text(f"{before}{MARKS[0]}{table}\n{MARKS[1]}{after}")
