"""What a run moves between places is said before, and above a limit asked about: each artifact once, by the size it has or had."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import Dag
from pipeline.accounts import plan_lines
from pipeline.errors import DecisionNeeded
from pipeline.executor import Inline
from pipeline.manifest import Manifest
from pipeline.moving import Move, told
from pipeline.places import Places
from pipeline.plan import Plan
from pipeline.request import Request
from pipeline.run import run
from pipeline.selection import agree, select
from pipeline.store import Store
from tests.executors.far import Far
from tests.pipeline.toys import Join, Say, Upper

PLACES = Places(lambda place: Far())


def tree(word: str = "one") -> Dag:
    """say → left, right → join."""
    say = Say(words=(word, "two"))
    left, right = Upper(words=say.out, label="left"), Upper(words=say.out, label="right", limit=1)
    return Dag(Join(parts=(left.out, right.out)))


def planned(root: Path | str, dag: Dag, **asked: object) -> Plan:
    return select(dag, Store(str(root)), Request.model_validate(asked), PLACES)[1]


def built(root: Path) -> dict[str, Manifest]:
    return run(tree(), Store(str(root)), name="toys", dials={}, executor=Inline).manifests


def test_an_artifact_crosses_once_however_many_read_it_and_comes_back_to_a_store_of_this_machine(
    tmp_path: Path,
) -> None:
    made = built(tmp_path)
    found = planned(tmp_path, tree(), rebuild=("left", "right"), place=("left=far", "right=far")).moves
    assert found == (
        Move(label="say", size=made["say"].size, to=("far",)), Move(label="left", size=made["left"].size, to=("here",)),
        Move(label="right", size=made["right"].size, to=("here",)),
    )  # fmt: skip


def test_what_was_never_made_has_no_size_and_is_said_to_have_none(tmp_path: Path) -> None:
    plan = planned(tmp_path, tree(), place=("left=far",))
    assert [(move.label, move.size) for move in plan.moves] == [("say", None), ("left", None)]
    assert plan_lines(plan, colour=False)[-1] == "moves between places: of unknown size say, left"
    agree(plan, Request(confirm_move=0))


def test_with_a_store_that_all_places_reach_only_what_another_place_reads_moves() -> None:
    plan = planned("memory://moves", tree(), place=("left=far", "right=far", "join=far"))
    assert [(move.label, move.to) for move in plan.moves] == [("say", ("far",))]


def test_on_one_machine_nothing_moves(tmp_path: Path) -> None:
    assert planned(tmp_path, tree(), place=("left=inline",)).moves == ()


def test_more_than_was_agreed_to_is_not_moved_unasked(tmp_path: Path) -> None:
    built(tmp_path)
    asked = {"rebuild": ("left",), "place": ("left=far",)}
    with pytest.raises(
        DecisionNeeded, match=r"would move between places: <0.1 GiB \(left .*say .*; the limit is 0 GiB"
    ) as raised:
        run(
            tree(), Store(str(tmp_path)), name="toys", dials={}, executor=Inline, elsewhere=PLACES,
            request=Request.model_validate({**asked, "confirm_move": 0}),
        )  # fmt: skip
    assert raised.value.exit_code == 3 and "--confirm-move GIB" in raised.value.mend
    assert len(list(tmp_path.glob(".runs/*"))) == 1, "no second run began"
    agree(planned(tmp_path, tree(), **asked), Request())


def test_the_largest_are_named_and_the_rest_counted() -> None:
    moves = [Move(label=f"s{number}", size=number * 2**30, to=("modal",)) for number in range(1, 7)]
    assert told([*moves, Move(label="new", size=None, to=("here",))]) == (
        "21.0 GiB (s6 6.0 GiB to modal, s5 5.0 GiB to modal, s4 4.0 GiB to modal, s3 3.0 GiB to modal, 2 smaller ones), "
        "and of unknown size new"
    )
