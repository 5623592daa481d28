"""Writes the table of docs/oci.md between its two marks: every validation program, ours beside runc."""

from __future__ import annotations

import shutil
from pathlib import Path

from conformance.runtime_tools import suite
from support import programs

PAGE = programs.TOP / "docs/oci.md"
MARKS = ("<!-- runtime-tools: begin -->\n", "<!-- runtime-tools: end -->\n")


def rows(ours: list[str], runc: list[str]) -> list[str]:
    built = suite.build()
    lines = ["| program | stockade-oci | runc |", "|---|---|---|"]
    with suite.bench(ours) as mine, suite.bench(runc) as theirs:
        for program in suite.programs(built):
            lines.append(f"| {program} | {mine.run(built, program).word()} | {theirs.run(built, program).word()} |")
            print(lines[-1], flush=True)
    return lines


def main() -> None:
    runc = shutil.which("runc", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if runc is None:
        raise SystemExit("runc is not installed")
    text = PAGE.read_text()
    before, rest = text.split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    table = "\n".join(rows([str(Path(programs.program("stockade-oci")))], [runc]))
    PAGE.write_text(f"{before}{MARKS[0]}{table}\n{MARKS[1]}{after}")


if __name__ == "__main__":
    main()
