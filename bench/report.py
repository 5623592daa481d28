"""The figures as JSON, as a dated table and as a plot."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from xml.sax.saxutils import escape

from bench.figures import OURS, Figure, Sample

TITLE = "Stockade beside its peers"
MARK = {True: "met", False: "**missed**", None: ""}


def machine() -> str:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    return f"{os.cpu_count()} × {model}, Linux {platform.release()}"


BUSY = os.getloadavg()[0]  # as this module is loaded: before anything is measured


def shown(sample: Sample, unit: str) -> str:
    digits = 0 if sample.median >= 100 else 1 if sample.median >= 10 else 2
    text = f"{sample.median:.{digits}f} {unit}"
    return text if sample.count == 1 else f"{text} ({sample.low:.{digits}f}–{sample.high:.{digits}f})"


def row(figure: Figure) -> str:
    value = f"{figure.value:.2f}×" if figure.peer else ""
    peers = "; ".join(f"{who} {shown(s, figure.unit)}" for who, s in figure.samples.items() if who != OURS)
    ours = shown(figure.samples[OURS], figure.unit)
    return f"| {figure.name} | {value} | {ours} | {peers} | {figure.goal} | {MARK[figure.met]} | {figure.note} |"


def table(figures: Iterable[Figure], missing: Mapping[str, str], when: datetime.date) -> str:
    lines = [
        f"# {TITLE}",
        "",
        f"`make bench`, {when.isoformat()}, {machine()}, load {BUSY:.1f} before it began.",
        "Medians with the 10th and 90th percentile; contestants took turns in one run, and every exit status was",
        "checked. Ratios first: absolute times are the machine's and the hour's. Behind it: [bench.json](bench.json).",
        "",
        "![ratios to the peers](bench.svg)",
        "",
        "| what | ratio | stockade | peers | goal | | note |",
        "|---|--:|---|---|---|---|---|",
        *[row(figure) for figure in figures],
    ]
    if missing:
        lines += ["", "Not measured in this run:", "", *[f"- {name}: {why}" for name, why in missing.items()]]
    return "\n".join(lines) + "\n"


def as_json(figures: Iterable[Figure], missing: Mapping[str, str], when: datetime.date) -> str:
    def plain(figure: Figure) -> dict[str, object]:
        samples = {
            who: {"median": s.median, "p10": s.low, "p90": s.high, "count": s.count}
            for who, s in figure.samples.items()
        }
        return {
            "name": figure.name,
            "unit": figure.unit,
            "value": figure.value,
            "peer": figure.peer,
            "goal": figure.goal,
            "met": figure.met,
            "samples": samples,
        }

    document = {
        "date": when.isoformat(),
        "machine": machine(),
        "load": BUSY,
        "figures": list(map(plain, figures)),
        "missing": dict(missing),
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def plot(figures: Iterable[Figure]) -> str:
    """Bars of our value over the peer's, shorter is better; a tick where the goal is. Goals of 'at least' turn over."""
    bars = [(f, f.value if f.at_least is None else 1 / f.value) for f in figures if f.peer]
    width, left, unit, step = 900, 330, 440, 30
    height = 50 + step * len(bars)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"',
        ' font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="{left}" y="22" fill="#333">ratio to the peer: 1 is as good, shorter is better; | is the goal</text>',
        f'<line x1="{left + unit}" y1="30" x2="{left + unit}" y2="{height - 12}" stroke="#999"/>',
    ]
    for index, (figure, ratio) in enumerate(bars):
        top = 38 + index * step
        long = min(ratio, 1.2) * unit
        colour = "#b3402a" if figure.met is False else "#2a6f97"
        said = f"{ratio:.2f}× {escape(figure.peer or '')}"
        parts.append(
            f'<text x="{left - 8}" y="{top + 14}" text-anchor="end" fill="#333">{escape(figure.name)}</text>'
            f'<rect x="{left}" y="{top}" width="{long:.1f}" height="18" fill="{colour}"/>'
            f'<text x="{left + long + 6:.1f}" y="{top + 14}" fill="#333">{said}</text>'
        )
        bound = figure.at_most if figure.at_most is not None else 1 / figure.at_least if figure.at_least else None
        if bound is not None:
            x = left + bound * unit
            parts.append(
                f'<line x1="{x:.1f}" y1="{top - 3}" x2="{x:.1f}" y2="{top + 21}" stroke="#111" stroke-width="2"/>'
            )
    return "\n".join([*parts, "</svg>"]) + "\n"


def write(directory: Path, figures: list[Figure], missing: Mapping[str, str]) -> None:
    when = datetime.date.today()
    directory.mkdir(exist_ok=True)
    (directory / "bench.json").write_text(as_json(figures, missing, when))
    (directory / "bench.svg").write_text(plot(figures))
    (directory / "bench.md").write_text(table(figures, missing, when))
