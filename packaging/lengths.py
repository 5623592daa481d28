"""Hold the budgets of length: a function of at most 60 lines and 6 parameters, a file of at most 800 lines.

Rust is read by brackets, not parsed: comments, strings and character literals are blanked first, so that every
brace left is code. Tests inside a Rust file do not count towards the file's length.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
FUNCTION_LINES, FILE_LINES, PARAMETERS = 60, 800, 6
GENERATED = re.compile(r"_pb2\.pyi?$|crates/shim/src/api/")
NOISE = re.compile(
    r"""//[^\n]* | /\*.*?\*/ | b?r(\#*)".*?"\1 | b?"(?:\\.|[^"\\])*" | b?'(?:\\(?:x..|u\{[^}]*\}|.)|[^'\\])'""",
    re.DOTALL | re.VERBOSE,
)
FUNCTION = re.compile(r"\bfn\s+(\w+)\s*(?:<[^({]*>)?\s*\(")


def blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match.group())


def close(text: str, start: int, pair: str) -> int:
    """The index just past the bracket that closes the one at `start`."""
    depth = 0
    for index in range(start, len(text)):
        if text[index] == pair[0]:
            depth += 1
        elif text[index] == pair[1]:
            depth -= 1
            if depth == 0:
                return index + 1
    return len(text)


def commas(parameters: str) -> int:
    """How many parameters a list has; commas inside brackets do not separate. Those of a property test are inputs."""
    if re.match(r"\s*\w+ in ", parameters):
        return 0
    depth, count = 0, 0
    for character in parameters.replace("->", "  ").rstrip().rstrip(","):
        depth += (character in "([{<") - (character in ")]}>")
        count += character == "," and depth == 0
    return count + 1 if parameters.strip() else 0


def rust(path: Path) -> Iterator[str]:
    text = NOISE.sub(blank, path.read_text())
    tests = text.find("#[cfg(test)]\nmod ")
    length = text[: tests if tests >= 0 else len(text)].count("\n")
    if length > FILE_LINES and "tests" not in path.parts:
        yield f"{path}: {length} lines without tests"
    for match in FUNCTION.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        end = close(text, match.end() - 1, "()")
        count = commas(text[match.end() : end - 1])
        body = re.compile(r"[{;]").search(text, end)
        lines = text.count("\n", match.start(), close(text, body.start(), "{}")) + 1 if body and body[0] == "{" else 1
        yield from over(f"{path}:{line}: fn {match[1]}", lines, count)


def python(path: Path) -> Iterator[str]:
    text = path.read_text()
    if text.count("\n") > FILE_LINES:
        yield f"{path}: {text.count(chr(10))} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            named = [a for a in node.args.posonlyargs + node.args.args if a.arg not in ("self", "cls")]
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            yield from over(f"{path}:{node.lineno}: def {node.name}", lines, len(named))


def over(what: str, lines: int, parameters: int) -> Iterator[str]:
    if lines > FUNCTION_LINES:
        yield f"{what}: {lines} lines"
    if parameters > PARAMETERS:
        yield f"{what}: {parameters} parameters"


def main() -> int:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.py", "*.rs"],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    found: list[str] = []
    for name in listed:
        if GENERATED.search(name) or not (TOP / name).is_file():
            continue
        found += (rust if name.endswith(".rs") else python)(Path(name))
    print("\n".join(found) or f"lengths: {len(listed)} files within the budgets")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
