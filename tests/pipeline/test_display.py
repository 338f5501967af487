"""What a person sees of a run: plain lines where there is no terminal, bars that leave no trace where there is one."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from pipeline import Dag, Resources
from pipeline.accounts import plan_lines
from pipeline.dag import Dag as AnyDag
from pipeline.display import Display
from pipeline.events import Event
from pipeline.executor import Inline
from pipeline.outcome import Outcome
from pipeline.plan import plan
from pipeline.request import Request
from pipeline.run import run
from pipeline.store import Store
from tests.pipeline.toys import Fails, Held, Join, Say, Slow, Upper, line

ESCAPE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])")


BAR = re.compile(r"held.*━.*[1-4]/4.*shards")


class Terminal(io.StringIO):
    """A terminal that keeps all that was written to it; the file `gate` is there once it has shown the bar of a stage at work."""

    def __init__(self, gate: Path | None = None) -> None:
        super().__init__()
        self._gate = gate

    def write(self, text: str) -> int:
        written = super().write(text)
        if self._gate and BAR.search(self.getvalue()):
            self._gate.touch()
        return written

    def isatty(self) -> bool:
        return True

    def screen(self) -> list[str]:
        """What is left to see: newlines, returns, moving up and clearing of lines are followed, colours are dropped."""
        rows, row, column, text = [""], 0, 0, self.getvalue()
        place = 0
        while place < len(text):
            if code := ESCAPE.match(text, place):
                place = code.end()
                if code[2] == "A":
                    row = max(0, row - int(code[1] or 1))
                elif code[2] == "K":
                    rows[row] = ""
                continue
            if text[place] == "\n":
                row, column = row + 1, 0
                rows += [""] * (row == len(rows))
            elif text[place] == "\r":
                column = 0
            else:
                rows[row] = rows[row][:column].ljust(column) + text[place] + rows[row][column + 1 :]
                column += 1
            place += 1
        return [each.rstrip() for each in rows]


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")


def watched(dag: AnyDag, root: Path, stream: io.StringIO, **options: object) -> Outcome:
    """The dag run with all of it shown on `stream`, as the command line does."""
    display = Display("toys", stream)
    outcome = run(dag, Store(str(root)), name="toys", dials={}, executor=Inline, observer=display, **options)  # type: ignore[arg-type]
    display.finished(outcome)
    return outcome


def at_work(folder: Path) -> AnyDag:
    """A stage that is not done before the gate of a terminal is there."""
    return Dag(Held(words=tuple("abcd"), gate=str(folder / "gate")))


def told(*events: tuple[float, str, dict[str, object]]) -> list[str]:
    """The lines that events of the stage `pretrain`, at these seconds, make where there is no terminal."""
    stream = io.StringIO()
    display = Display("toys", stream)
    for after, kind, data in events:
        display.event(Event(label="pretrain", kind=kind, time=1000 + after, data=data))  # type: ignore[arg-type]
    return stream.getvalue().splitlines()


def test_a_run_without_a_terminal_shows_the_plan_its_stages_and_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.display.QUIET_SECONDS", 3600.0)  # however slow this machine is
    stream = io.StringIO()
    watched(line(), tmp_path, stream)
    shown = stream.getvalue().splitlines()
    assert shown[0].split() == ["stage", "state", "last", "expected", "why"]
    assert shown[1].split()[:4] == ["say", "run", "–", "unknown"] and shown[2].startswith("upper")
    assert shown[3:6] == ["0 cached, 2 to run: time unknown", "", "  say …"]
    assert [row for row in shown[6:9] if row == "  upper …"], "in an order that depends on when one looks"
    [say] = [row for row in shown if re.fullmatch(r"✓ say +[\d.]+ s", row)]
    [upper] = [row for row in shown if re.fullmatch(r"✓ upper +[\d.]+ s  letters 7", row)]
    assert shown.index(say) < shown.index(upper) > shown.index("  upper …")
    assert shown[9] == "" and shown[10].split() == ["stage", "ended", "took", "forecast", "CPU"]
    assert [row.split()[:2] for row in shown[11:14]] == [["say", "finished"], ["upper", "finished"], ["in", "all"]]
    assert re.fullmatch(r"toys: done in [\d.]+ s \(2 finished\)", shown[14]) and len(shown) == 15
    assert "\x1b" not in stream.getvalue()


def test_where_nothing_has_to_run_the_end_is_all_that_is_shown(tmp_path: Path) -> None:
    watched(line(), tmp_path, io.StringIO())
    stream = Terminal()
    watched(line(), tmp_path, stream)
    assert re.fullmatch(r"toys: done in [\d.]+ s \(2 cached\)\n", stream.getvalue())


def test_failed_and_skipped_stages_are_told_and_counted(tmp_path: Path) -> None:
    say, stream = Say(), io.StringIO()
    watched(Dag(Join(parts=(Fails(words=say.out, known=True).out, say.out)), Upper(words=say.out)), tmp_path, stream)
    shown = stream.getvalue()
    assert "✗ fails: nothing is left\n  → give it more\n" in shown
    assert "– join: skipped, for a stage above it was not made\n" in shown
    assert re.search(r"toys: failed in [\d.]+ s \(2 finished, 1 failed, 1 skipped\)\n$", shown)


def test_what_a_failed_or_stopped_stage_cost_stands_at_the_end(tmp_path: Path) -> None:
    stream = io.StringIO()
    dear = Resources(dollars_per_hour=3.6e9)
    slow = Slow(words=tuple("abcd"), resources=Resources(dollars_per_hour=3600, minutes=0.01))
    watched(Dag(slow, Fails(words=Say().out, resources=dear)), tmp_path, stream)
    rows = {row.split()[0]: row for row in stream.getvalue().splitlines()[-6:]}
    assert re.match(r"slow +failed +[\d.]+ s +unknown +[\d.]+ s +\$[\d.]+ +stage 'slow' ran longer", rows["slow"])
    assert re.match(r"fails +failed +[\d.]+ s +unknown +[\d.]+ s +\$[\d.,]+ +stage 'fails': ValueError", rows["fails"])


def test_warnings_stand_before_the_last_line(tmp_path: Path) -> None:
    class Broken:
        name = "broken"

        def start(self, record: object) -> None:
            raise RuntimeError("no server")

    stream = io.StringIO()
    watched(line(), tmp_path, stream, trackers=lambda: [Broken()])
    warning = stream.getvalue().splitlines()[-2]
    assert warning.startswith(
        "warning: broken stopped recording this run: no server; to record it later: corpusmill track "
    )


def test_what_max_cost_cannot_count_is_told_before_anything_starts(tmp_path: Path) -> None:
    stream = io.StringIO()
    watched(line(), tmp_path, stream, request=Request(max_cost=1.0))
    shown = stream.getvalue().splitlines()
    assert shown.index("warning: --max-cost does not count what has no price: say, upper") < shown.index("  say …")


def test_progress_is_told_each_ten_seconds_with_what_is_left_and_the_loss() -> None:
    shown = told(
        (0, "state", {"state": "started"}),
        (5, "metrics", {"step": 5, "values": {"loss": 2.34567, "gradient": 3.0, "tokens_per_second": 1234.0}}),
        (5, "metrics", {"step": None, "values": {"accuracy": 0.5}}),
        *((second, "progress", {"done": second, "total": 3000, "unit": "steps"}) for second in range(1, 36)),
    )
    assert shown == [
        "  pretrain …",
        *(
            f"  pretrain  {second}/3,000 steps  {left}  loss 2.346  tokens_per_second 1,234"
            for second, left in ((10, "49 min 50 s left"), (20, "49 min 40 s left"), (30, "49 min 30 s left"))
        ),
    ]


def test_progress_without_a_total_says_what_is_done() -> None:
    state: dict[str, object] = {"state": "started"}
    shown = told((0, "state", state), (11, "progress", {"done": 4000, "total": 0, "unit": "documents"}))
    assert shown[1:] == ["  pretrain  4,000 documents"]
    assert told((0, "progress", {"done": 1, "total": 2, "unit": ""})) == [], "the start of a stage was not seen"


def test_a_stage_that_goes_on_or_waits_says_so_and_logs_are_silent() -> None:
    assert told((0, "state", {"state": "waiting"}), (1, "log", {"line": "x"}), (2, "state", {"state": "resumed"})) == [
        "  pretrain: another run is making it; waiting",
        "  pretrain: goes on from where it was stopped",
    ]
    assert told((0, "state", {"state": "finished"})) == []


def test_a_terminal_shows_bars_and_is_left_with_lines_alone(tmp_path: Path) -> None:
    stream = Terminal(tmp_path / "gate")
    watched(at_work(tmp_path), tmp_path, stream)
    assert "starting" in stream.getvalue() and BAR.search(stream.getvalue())
    left = [row for row in stream.screen() if row]
    assert [row.split()[0] for row in left] == ["stage", "held", "0", "✓", "stage", "held", "toys:"]
    assert "━" not in "".join(left) and "starting" not in "".join(left)
    assert stream.getvalue().count("\x1b[?25l") == stream.getvalue().count("\x1b[?25h"), "the cursor is shown again"
    assert "\x1b[32m✓\x1b[0m" in stream.getvalue()


def test_lines_go_above_the_bars_of_what_still_runs(tmp_path: Path) -> None:
    stream = Terminal()
    display = Display("toys", stream)
    display.planned(plan(line(), Store(str(tmp_path))))
    for kind, data in (
        ("state", {"state": "resumed"}),
        ("progress", {"done": 1, "total": 3, "unit": "shards"}),
        ("metrics", {"step": 1, "values": {"loss": 0.5}}),
        ("progress", {"done": 2, "total": 3, "unit": "shards"}),
    ):
        display.event(Event(label="say", kind=kind, data=data))  # type: ignore[arg-type]
    display.ended("say", "failed", None, "it [bold]broke[/bold]")
    display.close()
    display.close()
    left = [row for row in stream.screen() if row]
    assert left[-2:] == ["  say: goes on from where it was stopped", "✗ say: it [bold]broke[/bold]"]


def test_no_color_is_respected_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal(tmp_path / "gate")
    watched(at_work(tmp_path), tmp_path, stream)
    assert "━" in stream.getvalue()
    colours = {code for code, letter in ESCAPE.findall(stream.getvalue()) if letter == "m"}
    assert not [code for code in colours for part in code.split(";") if part and 30 <= int(part) <= 107]
    assert [row.split()[0] for row in stream.screen() if row] == ["stage", "held", "0", "✓", "stage", "held", "toys:"]


def test_the_plan_says_what_to_expect_and_counts_what_is_unknown(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    run(line(), store, name="toys", dials={}, executor=Inline)
    assert plan_lines(plan(line(), store), colour=False)[-1] == "2 cached, 0 to run"
    shown = plan_lines(plan(line(limit=2), store), colour=True)
    assert "\x1b[32mcached\x1b[0m" in shown[1] and "\x1b[33mrun\x1b[0m" in shown[2]
    assert re.fullmatch(r"1 cached, 1 to run: about [\d.]+ s of stage time", shown[-1])
    say = Say(words=("other",))
    dag = Dag(Upper(words=say.out), Join(parts=(say.out,)))
    assert re.fullmatch(
        r"0 cached, 3 to run: about [\d.]+ s of stage time, and 1 of unknown time(, [\d.]+ s of it .*)?",
        plan_lines(plan(dag, store), colour=False)[-1],
    )
