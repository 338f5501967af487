"""A detached run of which some stages stay: what leaves, what was made before, and what is left to whoever follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline import Dag, Stage, UsageError
from pipeline.attaching import attach
from pipeline.detached import End, Graph, note_end
from pipeline.driver import Handle
from pipeline.executor import Inline
from pipeline.ledger import account
from pipeline.outcome import Outcome
from pipeline.request import Request
from pipeline.run import run
from pipeline.store import Store
from tests.pipeline.toys import Fails, Join, Say, Upper


class Away(Inline):
    """Other machines, which reach the store; what is handed over is made when `work` is called."""

    name = "away"
    remote = carries = True

    def __init__(self) -> None:
        super().__init__()
        self.graphs: list[Graph] = []

    def detach(self, graph: Graph) -> Handle:
        self.graphs.append(graph)
        return Handle(place="away", store=graph.store, words={})

    def carrier(self, handle: Handle, store: Store) -> None:
        return None

    def over(self, handle: Handle) -> str:
        return "it ended"

    def work(self) -> None:
        (graph,) = self.graphs
        made = dict(graph.known)
        for job in graph.jobs:
            made[job.label] = job.execute([made[parent] for parent in job.parents], executor=self.name)
            note_end(Store(graph.store), graph.run, job.label, End(state="finished", manifest=made[job.label]))


def begun(away: Away, folder: Path, *targets: Stage[Any], there: tuple[str, ...]) -> Outcome:
    places = tuple(f"{label}=away" for label in there)
    return run(
        Dag(*targets), Store(str(folder)), name="toys", dials={}, executor=Inline, elsewhere=lambda place: away,
        request=Request(on="inline", place=places, detach=True),
    )  # fmt: skip


def chain() -> Upper:
    say = Say(words=("one",))
    return Upper(words=Join(parts=(Upper(words=say.out, label="before").out,)).out, label="after")


def test_what_leaves_takes_what_was_made_here_and_leaves_the_rest_to_who_follows(tmp_path: Path) -> None:
    away = Away()
    outcome = begun(away, tmp_path, chain(), there=("join",))
    (graph,) = away.graphs
    assert outcome.detached and [job.label for job in graph.jobs] == ["join"] and not graph.whole
    assert set(graph.known) == {"say", "before"} and [entry.label for entry in outcome.left] == ["join", "after"]
    away.work()
    for _ in range(2):  # whoever follows again sees the same
        ended = attach(outcome.store, outcome.run, places=lambda place: away if place == "away" else Inline())
        assert ended.ok and set(ended.states.values()) == {"finished"}
    made = {label: one.executor for label, one in ended.manifests.items()}
    assert made == {"say": "inline", "before": "inline", "join": "away", "after": "inline"}
    told = account(outcome.store, outcome.run)
    assert not isinstance(told, str) and told.ended == "done"


def test_where_what_comes_first_fails_nothing_leaves(tmp_path: Path) -> None:
    away = Away()
    say = Say()
    failed = Upper(words=Fails(words=say.out, known=True).out)
    outcome = begun(away, tmp_path, failed, Upper(words=say.out, label="beside"), there=("upper", "beside"))
    assert not outcome.detached and not away.graphs and not outcome.ok
    assert outcome.states == {"say": "finished", "fails": "failed", "upper": "skipped", "beside": "skipped"}
    told = account(outcome.store, outcome.run)
    assert not isinstance(told, str) and told.ended == "failed"


def test_what_waits_for_a_failure_there_is_skipped_here(tmp_path: Path) -> None:
    away = Away()
    outcome = begun(away, tmp_path, chain(), there=("join",))
    note_end(outcome.store, outcome.run, "join", End(state="failed", fault="no luck"))
    ended = attach(outcome.store, outcome.run, places=lambda place: away if place == "away" else Inline())
    assert (ended.states["join"], ended.states["after"]) == ("failed", "skipped")


def test_a_run_that_would_come_back_in_between_or_never_leaves_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="after goes to away, but needs join, which stays here") as raised:
        begun(Away(), tmp_path, chain(), there=("before", "after"))
    assert "--place join=away" in raised.value.mend
    with pytest.raises(UsageError, match="nothing of this run leaves"):
        begun(Away(), tmp_path, chain(), there=())
    assert not Store(str(tmp_path)).stages(), "nothing was made"
