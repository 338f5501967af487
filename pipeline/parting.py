"""What of a detached run is made on this machine: before the rest leaves, and once that has come back to whoever follows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass

from pipeline.dag import Dag
from pipeline.detached import End, Graph, told
from pipeline.errors import UsageError
from pipeline.executor import Executor, done
from pipeline.manifest import Manifest
from pipeline.placed import gathered
from pipeline.plan import Plan
from pipeline.tracker import State


@dataclass(frozen=True)
class Parts:
    """The labels of what has to run, each part in the order of the dag: here at once, elsewhere, here at the end."""

    first: tuple[str, ...]
    away: tuple[str, ...]
    last: tuple[str, ...]


def parted(plan: Plan, dag: Dag) -> Parts:
    """The parts of a run that is to be detached. Raises UsageError where nothing leaves, or would have to come back in between."""
    first, away, last = list[str](), list[str](), list[str]()
    for entry in plan.waiting:
        above = [parent.label for parent in dag.parents(dag.stages[entry.label])]
        kept = [label for label in above if label in last]
        if entry.away and kept:
            raise UsageError(
                f"{entry.label} goes to {entry.place}, but needs {kept[0]}, which stays here and waits for what is made there",
                mend=f"put it there too, --place {kept[0]}={entry.place}; or leave --detach out",
            )
        if entry.away:
            away.append(entry.label)
        else:
            (last if set(above) & {*away, *last} else first).append(entry.label)
    if not away:
        raise UsageError(
            "nothing of this run leaves this machine, whose end it would not survive",
            mend="leave --detach out, or send what has to run elsewhere: --on modal",
        )
    return Parts(tuple(first), tuple(away), tuple(last))


def make_rest(
    rest: Graph, where: Mapping[str, str], places: Callable[[str], Executor], made: Mapping[str, Manifest],
    states: Mapping[str, State], ended: Callable[[str, End], None],
) -> None:  # fmt: skip
    """Make here what was left, each at its place, as far as what it needs was `made`; `ended` is told how, in order."""
    futures: dict[str, Future[Manifest]] = {}
    hands = gathered(places, where)
    try:
        for job in rest.jobs:
            if all(parent in futures or parent in made for parent in job.parents):
                above = [futures[parent] if parent in futures else done(made[parent]) for parent in job.parents]
                futures[job.label] = hands.submit(job, above)
        for job in rest.jobs:
            if job.label not in futures:
                ended(job.label, End(state="skipped"))
                continue
            wait([futures[job.label]])
            ended(job.label, told(rest.run, futures[job.label], [states[parent] for parent in job.parents]))
    except BaseException:
        hands.close(cancel=True)
        raise
    hands.close()
