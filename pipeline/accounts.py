"""The two tables of a run: the plan before it, with what it is expected to take and cost, and what came of it afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.entry import Entry
from pipeline.forecast import known_sum
from pipeline.moving import told
from pipeline.plan import Plan
from pipeline.selection import drift_line
from pipeline.tables import brief, dollars, duration, style, table

if TYPE_CHECKING:
    from pipeline.outcome import Outcome

STATES = {"cached": "green", "run": "yellow", "drift": "cyan", "depends": "yellow"}
ENDS = {"finished": "green", "cached": "green", "failed": "red", "stopped": "yellow", "skipped": "dim"}
WORDS = {"depends": "runs"}
NONE = "–"


def plan_lines(plan: Plan, colour: bool) -> list[str]:
    """The plan as a table: stage, state and reason, last cost, what to expect; with totals and what drift would cost."""
    priced, placed = _priced(plan), len(plan.places) > 1
    rows = []
    for entry in plan.entries.values():
        state = style(WORDS.get(entry.state, entry.state), STATES[entry.state], colour)
        last = duration(entry.last_cost.wall_seconds) if entry.last_cost else NONE
        waits = entry.state != "cached"
        expected = duration(entry.forecast.seconds) if waits else NONE
        price = [dollars(entry.forecast.dollars) if waits else NONE] if priced else []
        place = [entry.place if waits else NONE] if placed else []
        why = f"{entry.reason}; stays here: {entry.stays}" if waits and entry.stays else entry.reason
        rows.append([entry.label, state, *place, last, expected, *price, why])
    header = [
        *("stage", "state"), *(["place"] if placed else []), *("last", "expected"), *(["dollars"] if priced else []), "why"
    ]  # fmt: skip
    lines = table(header, rows, right=range(2 + placed, 4 + placed + priced), colour=colour)
    moving = [f"moves between places: {told(plan.moves)}"] if plan.moves else []
    return [*lines, *total_lines(plan, priced), *moving, *([f"drift: {drift_line(plan)}"] if plan.drift else [])]


def _priced(plan: Plan) -> bool:
    """Whether dollars are worth a column: something has a price, or rents a GPU whose price nobody knows."""
    return any(entry.paid for entry in plan.waiting)


def total_lines(plan: Plan, priced: bool) -> list[str]:
    """How much is to be done, and what that is expected to take and cost; what is unknown is said to be."""
    waiting = plan.waiting
    total = f"{len(plan.entries) - len(waiting)} cached, {len(waiting)} to run"
    if not waiting:
        return [total]
    known = [entry.forecast.seconds for entry in waiting if entry.forecast.seconds is not None]
    total += f": about {duration(sum(known))} of stage time" if known else ": time unknown"
    if known and len(known) < len(waiting):
        total += f", and {len(waiting) - len(known)} of unknown time"
    unsure = [
        entry.forecast.seconds for entry in waiting if entry.state == "depends" and entry.forecast.seconds is not None
    ]
    if unsure:
        total += f", {duration(sum(unsure))} of it only as far as bytes change"
    if plan.wall_seconds is not None and len(waiting) > 1:
        where = "by the clock" if any(entry.away for entry in waiting) else "on this machine's cores"
        total += f" ({duration(plan.wall_seconds)} {where})"
    if priced:
        money = [entry.forecast.dollars for entry in waiting if entry.forecast.dollars is not None]
        total += f", {dollars(sum(money))}" if money else ", dollars unknown"
        total += f" and {len(waiting) - len(money)} of unknown cost" if 0 < len(money) < len(waiting) else ""
    return [total]


def end_lines(outcome: Outcome, colour: bool) -> list[str]:
    """What came of a run, stage by stage: state, time beside its forecast, CPU seconds, dollars, what is to be known."""
    from pipeline.driver import DRIVER  # a plan has none, and is not to wait for what one is made of

    costs = [*(made.cost for made in outcome.manifests.values()), *outcome.costs.values()]
    priced = any(cost.dollars is not None or cost.gpu_seconds for cost in costs)
    rows, took, forecasts, cpu, spent = [], [0.0], list[float | None](), 0.0, list[float | None]()
    for label, entry in outcome.plan.entries.items():
        state, made = outcome.states.get(label, "skipped"), outcome.manifests.get(label)
        cost = made.cost if made and state == "finished" else outcome.costs.get(label)
        cells = [NONE, NONE, NONE, NONE]
        if cost and state in ("finished", "failed", "stopped"):
            took.append(cost.wall_seconds)
            forecasts.append(entry.forecast.seconds if entry.state != "cached" else None)
            cpu += cost.cpu_seconds
            spent.append(cost.dollars)
            cells = [duration(took[-1]), duration(forecasts[-1]), f"{cost.cpu_seconds:,.1f} s", dollars(spent[-1])]
        rows.append(
            [label, style(state, ENDS[state], colour), *(cells if priced else cells[:3]), _note(outcome, entry)]
        )
    if driver := outcome.costs.get(DRIVER):  # its time passes beside that of the stages, and no plan has it
        cpu += driver.cpu_seconds
        spent.append(driver.dollars)
        cells = [duration(driver.wall_seconds), NONE, f"{driver.cpu_seconds:,.1f} s", dollars(driver.dollars)]
        rows.append(["driver", "", *(cells if priced else cells[:3]), "hands out the jobs there"])
    if len(took) > 2:
        total = [duration(sum(took)), duration(known_sum(forecasts)), f"{cpu:,.1f} s", dollars(known_sum(spent))]
        rows.append(["in all", "", *(total if priced else total[:3]), ""])
    header = ["stage", "ended", "took", "forecast", "CPU", *(["dollars"] if priced else []), ""]
    return table(header, rows, right=range(2, 6) if priced else range(2, 5), colour=colour)


def _note(outcome: Outcome, entry: Entry) -> str:
    """What is to be known of a stage that did not simply finish."""
    state = outcome.states.get(entry.label, "skipped")
    made = outcome.manifests.get(entry.label)
    if state == "failed":
        fault: Sequence[str] = str(outcome.faults[entry.label]).splitlines()
        return fault[0] if fault else ""
    if state == "skipped":
        return "what it needs was not made"
    if state == "stopped":
        return "stopped at a commit; it goes on from there" if outcome.costs.get(entry.label) else "not begun"
    if state == "finished" and made:
        parts = {"lost to failures": made.lost, "idle before it began": made.idle}
        told = [f"{words} {why}" for why, cost in parts.items() if (words := brief(cost, ""))]
        return f"of it {' and '.join(told)}" if told else ""
    return ""
