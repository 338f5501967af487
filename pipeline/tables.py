"""Plain aligned tables and short figures for the terminal; colour only where the stream is a terminal."""

from __future__ import annotations

import math
import os
import re
import shutil
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from pipeline.manifest import Cost

STYLES = {"green": "32", "yellow": "33", "red": "31", "cyan": "36", "dim": "2", "bold": "1"}
_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def coloured(stream: TextIO) -> bool:
    """Whether colour may be written to `stream`: a terminal, and NO_COLOR (no-color.org) not set."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def style(text: str, name: str, on: bool) -> str:
    """`text` in a style, where colour is on."""
    return f"\x1b[{STYLES[name]}m{text}\x1b[0m" if on and text else text


def width(text: str) -> int:
    """The columns that `text` takes: its length without colour."""
    return len(_ESCAPE.sub("", text))


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = (), colour: bool = False
) -> list[str]:
    """Lines of a table with aligned columns; those in `right` flush right; the last column is cut at the terminal's edge."""
    columns = [max(width(row[index]) for row in (header, *rows)) for index in range(len(header))]
    lines = [style(_line(header, columns, right), "bold", colour)]
    room = shutil.get_terminal_size((140, 40)).columns - sum(columns[:-1]) - 2 * len(columns)
    for row in rows:
        last = row[-1] if width(row[-1]) <= max(room, 24) else row[-1][: max(room, 24) - 1] + "…"
        lines.append(_line([*row[:-1], last], columns, right))
    return lines


def _line(row: Sequence[str], columns: Sequence[int], right: Sequence[int]) -> str:
    cells = []
    for index, cell in enumerate(row):
        gap = " " * (columns[index] - width(cell))
        cells.append(gap + cell if index in right else cell + gap)
    return "  ".join(cells).rstrip()


def duration(seconds: float | None) -> str:
    """``0.4 s``, ``12 s``, ``3 min 05 s``, ``2 h 10 min``; ``unknown`` for None and what is no number."""
    if seconds is None or not math.isfinite(seconds):
        return "unknown"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def brief(cost: Cost, none: str) -> str:
    """What was lost or waited for: its time, or the CPU that other machines lost meanwhile; `none` where it is next to nothing."""
    if cost.wall_seconds >= 0.05:
        return duration(cost.wall_seconds)
    return f"{duration(cost.cpu_seconds)} of CPU" if cost.cpu_seconds >= 0.05 else none


def moment(when: float) -> str:
    """A time as ``2026-11-23 21:40``, in this machine's zone."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(when))


def dollars(amount: float | None) -> str:
    """``$0.0042``, ``$1.30``, ``$1,204``; ``<$0.0001`` for a trifle, ``unknown`` for None."""
    if amount is None or not math.isfinite(amount):
        return "unknown"
    if 0 < amount < 0.0001:
        return "<$0.0001"
    return (
        f"${amount:,.0f}" if amount >= 1000 else f"${amount:.2f}" if amount >= 0.1 or not amount else f"${amount:.4f}"
    )


def figure(value: float) -> str:
    """A metric as a person reads it: 12,345 · 1.783 · 3.1e-05."""
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def some(count: int, what: str) -> str:
    """``1 file``, ``3 files``."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def gib(count: float) -> str:
    """Bytes as memory and traffic are limited: ``9.3 GiB``, ``<0.1 GiB``."""
    return "<0.1 GiB" if 0 < count < 0.05 * 2**30 else f"{count / 2**30:,.1f} GiB"


def size(count: float) -> str:
    """Bytes as ``812 B``, ``3.4 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return ""
