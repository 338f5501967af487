"""Tables and figures as a person reads them: aligned, cut at the terminal's edge, and never a fault."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tables import coloured, dollars, duration, figure, size, style, table, width

SECONDS = {"s": 1, "min": 60, "h": 3600}


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_colour_is_for_terminals_without_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert coloured(Terminal()) and not coloured(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not coloured(Terminal())
    monkeypatch.setenv("NO_COLOR", "")  # no-color.org: only a value that is not empty counts
    assert coloured(Terminal())


def test_a_style_takes_no_room_and_is_left_out_without_colour() -> None:
    assert (
        style("cached", "green", on=True) == "\x1b[32mcached\x1b[0m" and width(style("cached", "green", on=True)) == 6
    )
    assert style("cached", "green", on=False) == "cached" and style("", "green", on=True) == ""


def test_columns_are_aligned_with_and_without_colour() -> None:
    rows = [["collect", style("cached", "green", on=True), "3 s", "x"], ["a", "run", "1 h 00 min", "y"]]
    assert table(["stage", "state", "last", "why"], rows, right=(2,))[1:] == [
        f"collect  {rows[0][1]}         3 s  x",
        "a        run     1 h 00 min  y",
    ]
    assert table(["a"], [], colour=True) == ["\x1b[1ma\x1b[0m"]


@given(st.integers(min_value=40, max_value=200), st.text("abc ", max_size=300))
def test_the_last_column_is_cut_at_the_terminals_edge(columns: int, reason: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        line = table(["stage", "why"], [["collect", "x" + reason + "x"]])[1]
    assert len(line) <= columns
    room = columns - len("collect") - 4
    assert line.endswith("…" if len(reason) + 2 > room else f"x{reason}x")


def test_a_narrow_terminal_leaves_24_letters_of_the_last_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "10")
    assert table(["stage", "why"], [["collect", "y" * 99]])[1] == "collect  " + "y" * 23 + "…"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "unknown"), (float("nan"), "unknown"), (float("inf"), "unknown"), (0, "0.0 s"), (0.44, "0.4 s"),
        (9.94, "9.9 s"), (9.96, "10 s"), (12.4, "12 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"),
        (3599.6, "1 h 00 min"), (7800, "2 h 10 min"), (360_000, "100 h 00 min"),
    ],
)  # fmt: skip
def test_durations_read_naturally(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@given(st.floats(min_value=0, max_value=1e9))
def test_a_duration_says_what_it_was(seconds: float) -> None:
    parts = re.findall(r"([\d.]+) (s|min|h)", duration(seconds))
    said = sum(float(number) * SECONDS[unit] for number, unit in parts)
    assert said == pytest.approx(seconds, abs=60 if parts[0][1] == "h" else 0.51)
    assert all(float(number) < 60 for number, unit in parts if unit != "h")


@pytest.mark.parametrize(
    ("value", "text"),
    [(12345, "12,345"), (1.78312, "1.783"), (3.1e-05, "3.1e-05"), (12345.6, "12,346"), (-0.5, "-0.5"), (0, "0"),
     (float("nan"), "nan"), (float("-inf"), "-inf")],
)  # fmt: skip
def test_figures_read_naturally(value: float, text: str) -> None:
    assert figure(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_figure_says_what_it_was(value: float) -> None:
    assert float(figure(value).replace(",", "")) == pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (812, "812 B"), (3_400_000, "3.4 MB"), (1000, "1.0 kB"), (5e12, "5000.0 GB")]
)
def test_sizes_read_naturally(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "$0.00"), (0.00002, "<$0.0001"), (0.0042, "$0.0042"), (1.3, "$1.30"), (1204.4, "$1,204"), (None, "unknown")],
)
def test_money_is_read_at_a_glance(amount: float | None, text: str) -> None:
    assert dollars(amount) == text
