"""Strangers' bytes by the million: libFuzzer on what parses archives, compressed layers and bodies of requests.

The targets are those of fuzz/, which `make soak` builds with coverage and debug assertions. What crashed one is kept in
build/fuzz/TARGET/.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support import images
from support.programs import TOP, tool
from support.storm import SECONDS

pytestmark = [pytest.mark.storm, pytest.mark.soak, pytest.mark.timeout(0)]
TARGETS = ("body", "tar", "unpack", "zstd")
CHUNKED = b"5\r\nhello\r\n10;name=value\r\n0123456789abcdef\r\n0\r\nTrailer: value\r\n\r\n"


def seeds(target: str) -> list[bytes]:
    """Good ones to begin with: of nothing but noise most of a format is never reached."""
    layer = images.layer({"etc/passwd": b"root:x:0:0::/:/bin/sh\n", "etc/.wh.shadow": b"", "a" * 120: b"long"})
    if target == "body":
        return [CHUNKED, CHUNKED.lower() + b"more"]
    if target == "zstd":
        packed = [
            subprocess.run([tool("zstd"), "-qc", level], input=layer, capture_output=True, check=True).stdout
            for level in ("-1", "-19")
        ]
        return [*packed, b"".join(packed)]
    return [layer, layer[:1536]]


@pytest.mark.parametrize("target", TARGETS)
def test_any_bytes(target: str, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    for number, seed in enumerate(seeds(target)):
        (tmp_path / f"seed{number}").write_bytes(seed)
    kept = TOP / "build" / "fuzz" / target
    kept.mkdir(parents=True, exist_ok=True)
    (program,) = (TOP / "target" / "fuzz").glob(f"*/release/{target}")
    words = [str(program), f"-max_total_time={max(1, round(SECONDS))}", "-print_final_stats=1", "-max_len=16384"]
    done = subprocess.run(
        [*words, f"-artifact_prefix={kept}/", str(tmp_path)], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    runs = int(re.findall(r"^Done (\d+) runs", done.stderr, re.MULTILINE)[-1])
    covered = int(re.findall(r" cov: (\d+) ", done.stderr)[-1])
    assert runs > 100
    record_property(target, f"{runs} inputs, {covered} edges reached, no panic")
