"""Dags, stages and artifacts: what can be drawn, in which order, and what a person is told of a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import Artifact, Dag, DagError, Resources
from pipeline.dag import edges
from tests.pipeline.toys import Join, Say, Sums, Upper, Words


def test_stages_come_after_their_inputs_each_once() -> None:
    say = Say()
    one, two = Upper(words=say.out, label="one"), Upper(words=say.out, label="two")
    dag = Dag(Join(parts=(one.out, two.out, say.out)))
    assert list(dag.stages) == ["say", "one", "two", "join"]
    assert edges(dag)["join"] == {"parts.0": "one", "parts.1": "two", "parts.2": "say"}
    assert Dag.parents(dag.stages["join"]) == [one, two, say]


def test_a_dag_may_be_deeper_than_python_recurses() -> None:
    stage: Say | Upper = Say()
    for number in range(3000):
        stage = Upper(words=stage.out, label=f"u{number}")
    assert len(Dag(stage).stages) == 3001


@pytest.mark.parametrize(
    ("draw", "told"),
    [
        (lambda: Dag(), "a dag needs at least one target"),
        (lambda: Dag(Say().out), "a dag's targets are stages"),
        (lambda: Dag(Join(parts=(Say().out, Say(words=("x",)).out))), "two stages are labelled 'say' (Say and Say)"),
        (lambda: Dag(Say(label="a b")), "the label 'a b' is not made of letters"),
        (lambda: Dag(Upper(words=Words())), "upper.words is a Words that no stage makes"),
        (lambda: Dag(Upper(words=Words("/somewhere"))), "upper.words is a local path (/somewhere)"),
        (
            lambda: Upper(words=Say()),
            "Upper.words wants an artifact, but was given the stage 'say'; did you mean say.out?",
        ),
        (lambda: Upper(words=Sums("x")), "Upper.words wants Words, but Sums('x') is Sums"),
        (lambda: Upper(words=Say().out, limt=3), "Upper has no setting 'limt'; did you mean 'limit'?"),
        (lambda: Upper(words=Say().out, zzzzzz=3), "Upper has no setting 'zzzzzz'; it has: "),
        (lambda: Upper(), "Upper.words is missing; give words=…"),
        (lambda: Upper(words=Say().out, limit=0), "Upper.limit = 0: input should be greater than or equal to 1"),
        (lambda: Upper(words=Say().out, limit="many"), "Upper.limit = 'many': input should be a valid integer"),
    ],
)
def test_a_mistake_is_told_in_one_line(draw: object, told: str) -> None:
    with pytest.raises(DagError) as fault:
        draw()  # type: ignore[operator]
    assert fault.value.message.startswith(told)
    assert "\n" not in fault.value.message


def test_a_stage_is_found_by_its_label_however_written() -> None:
    dag = Dag(Upper(words=Say().out, label="my-Upper"))
    assert dag.find("MY_upper") is dag.stages["my-Upper"]
    with pytest.raises(DagError, match="did you mean 'my-Upper'"):
        dag.find("my-uper")
    with pytest.raises(DagError, match="it has: say, my-Upper"):
        dag.find("qqqq")


def test_a_stage_is_frozen_and_knows_its_name_and_what_it_makes() -> None:
    say = Say(resources=Resources(cpus=2))
    assert (Upper.stage_name(), Say.makes, say.label) == ("upper", Words, "say")
    assert say.out is say.out and say.out.promised and repr(say.out) == "say.out"
    with pytest.raises(ValueError, match="frozen"):
        say.label = "other"  # type: ignore[misc]


def test_inputs_are_replaced_by_place_and_settings_kept() -> None:
    join = Join(parts=(Say().out, Say(label="b").out), label="mine")
    moved = join.with_inputs(lambda place, artifact: artifact.at(f"/x/{place}"))
    assert {place: str(found.path) for place, found in moved.inputs().items()} == {
        "parts.0": "/x/parts.0",
        "parts.1": "/x/parts.1",
    }
    assert moved.label == "mine" and type(moved) is Join


def test_a_stage_without_run_says_so(tmp_path: Path) -> None:
    from pipeline import Context, Stage

    with pytest.raises(NotImplementedError, match="Stage has no run"):
        Stage().run(Artifact(tmp_path), Context.local(tmp_path))


def test_artifacts_are_equal_by_maker_or_by_path() -> None:
    one, two = Say(), Say()
    assert one.out == one.out != two.out
    assert Words("a") == Words("a") != Sums("a") and Words("a") != "a"
    assert len({one.out, two.out, Words("a"), Words("a")}) == 3
    assert repr(Words()) == "?.out" and repr(Words("a")) == "Words('a')"
    with pytest.raises(DagError, match="promise of stage 'say'"):
        _ = one.out.path
    with pytest.raises(DagError, match="promise of stage 'nobody'"):
        _ = Words().path
