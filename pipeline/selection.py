"""Which part of a dag a run brings up to date, and whether it may begin: what a person did not ask for is never paid in silence."""

from __future__ import annotations

from collections.abc import Collection

from pipeline import plan as planning
from pipeline.code import code_of
from pipeline.dag import Dag
from pipeline.entry import Entry
from pipeline.errors import DagError, DecisionNeeded, UsageError
from pipeline.executor import check
from pipeline.moving import known_bytes, moves, told
from pipeline.places import ALL_HERE, Places, placed, put
from pipeline.plan import Plan
from pipeline.prices import hourly
from pipeline.request import Request
from pipeline.store import Store
from pipeline.tables import dollars, duration

DRIFTED = "drifted"
"""As a label of --rebuild and --accept: every stage that drifted."""


def select(dag: Dag, store: Store, request: Request, places: Places = ALL_HERE) -> tuple[Dag, Plan]:
    """The part of `dag` that `request` is about, placed and planned.

    Raises DagError for labels that are not in it or cannot be built, UsageError for a place that is none.
    """
    request.check()
    where = put(dag, places, request.on, request.place)
    dag = placed(_until(dag, request) if request.until else dag, where)
    alone, start = ([dag.find(label).label] if label else [] for label in (request.only, request.start))
    rebuild = {*alone, *start, *_labels(dag, request.rebuild)}
    accept = _labels(dag, request.accept)
    plan = planning.plan(dag, store, force=rebuild, accept=accept, where=where)
    for label in accept:
        _check_accepted(plan.entries[label], dag)
    if DRIFTED in request.rebuild:
        plan = planning.plan(dag, store, force={*rebuild, *plan.drifted}, accept=accept, where=where)
    while DRIFTED in request.accept and (more := _acceptable(plan, accept)):
        accept = [*accept, *more]
        plan = planning.plan(dag, store, force=rebuild, accept=accept, where=where)
    if request.only:
        plan = _restricted(plan, dag, alone, "--only")
    elif request.start:
        plan = _restricted(plan, dag, _below(dag, start[0]), "--from")
    for label in _labels(dag, (*request.rebuild, *request.accept)):
        if label not in plan.entries:
            raise DagError(
                f"--from {start[0]} leaves {label} alone, of which something else is asked",
                mend=f"leave out --from, or what is asked of {label}",
            )
    moving = moves(plan.entries, dag, kept_here=not store.files.remote)
    return dag, plan.model_copy(update={"moves": moving})


def _until(dag: Dag, request: Request) -> Dag:
    """The part that --until leaves, of which alone something may be asked."""
    part = Dag(dag.find(request.until))
    starts = [dag.find(request.start).label] if request.start else []
    for label in (*starts, *_labels(dag, (*request.rebuild, *request.accept))):
        if label not in part.stages:
            raise DagError(
                f"--until {request.until} leaves {label} out, of which something else is asked",
                mend=f"leave out --until, or what is asked of {label}",
            )
    return part


def _labels(dag: Dag, asked: Collection[str]) -> list[str]:
    return [dag.find(label).label for label in asked if label != DRIFTED or DRIFTED in dag.stages]


def _acceptable(plan: Plan, accept: Collection[str]) -> list[str]:
    """Drifted stages whose inputs are all there: accepting them may show the same of stages below."""
    return [label for label in plan.drifted if label not in accept and plan.entries[label].key]


def _check_accepted(entry: Entry, dag: Dag) -> None:
    made = entry.manifest
    if entry.accepts or (made and not made.origin and made.code.digest != code_of(dag.stages[entry.label]).digest):
        return  # accepted now, or before: the same command may be given twice
    if entry.forced:
        raise UsageError(f"{entry.label} is both to be rebuilt and accepted", mend="give one of the two")
    if entry.state == "cached":
        raise DagError(f"{entry.label} is up to date: there is nothing to accept", mend="leave --accept out")
    what = "its inputs are not up to date" if entry.key is None else entry.reason
    raise DagError(
        f"{entry.label} has no attempt to accept ({what})", mend="leave --accept out, or accept what is above it first"
    )


def _below(dag: Dag, label: str) -> list[str]:
    """The label, and every stage that its bytes may change."""
    below = {label}
    for name, stage in dag.stages.items():
        if any(parent.label in below for parent in dag.parents(stage)):
            below.add(name)
    return [name for name in dag.stages if name in below]


def _restricted(plan: Plan, dag: Dag, labels: Collection[str], option: str) -> Plan:
    """The plan of `labels` alone, from inputs that are there. A rest of the dag that is up to date stays in it."""
    beside = [label for label in plan.entries if label not in labels]
    if option != "--only" and all(plan.entries[label].state == "cached" for label in beside):
        return plan
    parents = {parent.label for label in labels for parent in dag.parents(dag.stages[label])} - set(labels)
    for parent in parents:
        entry = plan.entries[parent]
        if entry.state != "cached" or entry.dropped:
            why = entry.reason or "its data was dropped"
            raise DagError(
                f"{option}: {parent}, which is an input, is not up to date ({why})",
                mend=f"run the dag without {option} first",
            )
    kept = {label: entry for label, entry in plan.entries.items() if label in labels or label in parents}
    drift = tuple(label for label in plan.drift if label in kept)
    return plan.model_copy(update={"entries": kept, "drift": drift, "wall_seconds": planning.wall(dag, kept)})


def check_places(plan: Plan, dag: Dag, places: Places, store: Store, *, away: bool = False) -> None:
    """Raise UsageError where a stage that has to run cannot do so where it is put: before anything is started or rented.

    With `away`, only what leaves this machine is looked at: a plan of what stays here needs no executor.
    """
    for entry in [entry for entry in plan.waiting if entry.away or not away]:
        check(places(entry.place), store.files, entry.label, dag.stages[entry.label].resources)


def agree(plan: Plan, request: Request) -> None:
    """Raise DecisionNeeded where the plan would rebuild drift above `confirm_above` minutes, move more than `confirm_move` GiB
    or spend more than `max_cost`."""
    if plan.drift and (plan.drift_seconds is None or plan.drift_seconds > request.confirm_above * 60):
        labels = plan.drifted if len(plan.drifted) <= 3 else [DRIFTED]
        rebuild = " ".join(f"--rebuild {label}" for label in labels)
        accept = " ".join(f"--accept {label}" for label in labels)
        ways = f"{rebuild} builds again, {accept} keeps what is there; --confirm-above MINUTES moves the limit"
        limit = duration(request.confirm_above * 60)
        raise DecisionNeeded(f"{drift_line(plan)}; nobody asked for it, and the limit is {limit}", mend=ways)
    if known_bytes(plan.moves) > request.confirm_move * 2**30:
        raise DecisionNeeded(
            f"this run would move between places: {told(plan.moves)}; the limit is {request.confirm_move:g} GiB",
            mend="--confirm-move GIB moves the limit; --place LABEL=PLACE puts a stage beside what it reads",
        )
    if request.max_cost is None or plan.complete:
        return
    expected = sum(entry.forecast.dollars or 0 for entry in plan.waiting)
    if expected > request.max_cost:
        least = "at least " if any(entry.paid and entry.forecast.dollars is None for entry in plan.waiting) else ""
        raise DecisionNeeded(
            f"this run is expected to cost {least}{dollars(expected)}, more than --max-cost {dollars(request.max_cost)}",
            mend="raise --max-cost, or run a part of it with --until LABEL",
        )


def unpriced(plan: Plan, dag: Dag, request: Request) -> list[str]:
    """A word on stages that --max-cost cannot count, for nobody knows their price."""
    if request.max_cost is None:
        return []
    free = [entry.label for entry in plan.waiting if hourly(dag.stages[entry.label].resources) is None]
    return [f"--max-cost does not count what has no price: {', '.join(free)}"] if free else []


def drift_line(plan: Plan) -> str:
    """What drifted and what rebuilding it means, in one line."""
    first, number = plan.entries[plan.drifted[0]], len(plan.drifted)
    what = f"{first.label} drifted ({first.reason})"
    if number > 1:
        what = f"{number} stages drifted (first {first.label}: {first.reason})"
    below = len(plan.drift) - number
    reach = f", and {below} below as far as bytes change," if below else ""
    seconds = plan.drift_seconds
    takes = f"takes about {duration(seconds)}" if seconds is not None else "takes nobody knows how long"
    if any(plan.entries[label].paid for label in plan.drift):
        money = plan.drift_dollars
        takes += f" and costs about {dollars(money)}" if money is not None else " and costs nobody knows how much"
    return f"{what}: rebuilding {'them' if number > 1 else 'it'}{reach} {takes}"
