"""The plan says what would run and why, in words a person can act on."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import Dag
from pipeline.accounts import plan_lines
from pipeline.executor import Inline
from pipeline.outcome import Outcome
from pipeline.plan import Plan, plan
from pipeline.reasons import differences
from pipeline.run import run
from pipeline.store import Store
from tests.pipeline.toys import Fails, Join, Say, Upper, line

OWN = """
from pipeline import Artifact, Dag, Field, Stage
from own_helper import bang

class Words(Artifact):
    pass

class Own(Stage[Words]):
    words: tuple[str, ...] = Field(default=("a",), description="words")
    def run(self, out, ctx):
        (out.path / "words.txt").write_text(bang(" ".join(self.words)))
"""


def execute(dag: Dag, root: Path) -> Outcome:
    return run(dag, Store(str(root)), name="toys", dials={}, executor=Inline)


def reasons(dag: Dag, root: Path) -> dict[str, str]:
    entries = plan(dag, Store(str(root))).entries
    return {label: f"{entry.state}: {entry.reason}".rstrip(": ") for label, entry in entries.items()}


def test_an_empty_store_has_never_built_anything(tmp_path: Path) -> None:
    assert reasons(line(), tmp_path) == {"say": "run: never built", "upper": "run: never built"}


def test_what_is_built_is_cached(tmp_path: Path) -> None:
    execute(line(), tmp_path)
    assert reasons(line(), tmp_path) == {"say": "cached", "upper": "cached"}


def test_a_changed_setting_is_named_with_both_values(tmp_path: Path) -> None:
    execute(line(), tmp_path)
    assert reasons(line(limit=2), tmp_path) == {"say": "cached", "upper": "run: limit 3 → 2"}


def test_below_a_stage_that_runs_a_known_result_depends_on_its_bytes(tmp_path: Path) -> None:
    execute(line(words="x y"), tmp_path)
    found = reasons(line(words="x z"), tmp_path)
    assert found == {"say": "run: words.1 y → z", "upper": "depends: unless say yields the same bytes"}


def test_a_changed_input_is_named_by_the_stage_that_makes_it(tmp_path: Path) -> None:
    execute(line(words="x y"), tmp_path)
    execute(Dag(Say(words=("x", "z"))), tmp_path)
    assert reasons(line(words="x z"), tmp_path) == {"say": "cached", "upper": "run: input say changed"}


def test_a_stage_asked_for_runs_though_it_is_cached(tmp_path: Path) -> None:
    execute(line(), tmp_path)
    planned = plan(line(), Store(str(tmp_path)), force=["say"])
    assert [entry.state for entry in planned.entries.values()] == ["run", "depends"]
    assert not planned.complete


def test_edited_code_is_drift_and_the_edited_definition_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_stage.py").write_text(OWN)
    helper = tmp_path / "own_helper.py"
    helper.write_text("def bang(text):\n    return text + '!'\n")
    from own_stage import Own  # type: ignore[import-not-found]

    dag, store = Dag(Own()), tmp_path / "store"
    execute(dag, store)
    helper.write_text("def bang(text):\n    # the same, with a comment\n    return text + '!'\n")
    assert reasons(dag, store) == {"own": "cached"}
    helper.write_text("def bang(text):\n    return text + '?'\n")
    assert reasons(dag, store)["own"].startswith("drift: ")
    assert "own_helper.py:bang changed" in reasons(dag, store)["own"]


def test_going_back_to_older_code_is_a_hit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "older_stage.py").write_text(OWN.replace("own_helper", "older_helper"))
    helper = tmp_path / "older_helper.py"
    helper.write_text("def bang(text):\n    return text + '!'\n")
    from older_stage import Own  # type: ignore[import-not-found]

    dag, store = Dag(Own()), tmp_path / "store"
    first = execute(dag, store).manifests["own"]
    helper.write_text("def bang(text):\n    return text + '??'\n")
    execute(dag, store)
    helper.write_text("def bang(text):\n    return text + '!'\n")
    entry = plan(dag, Store(str(store))).entries["own"]
    assert entry.state == "cached" and entry.manifest == first


def test_two_stages_of_a_kind_are_compared_each_with_its_own_past(tmp_path: Path) -> None:
    def two(limit: int) -> Dag:
        say = Say()
        return Dag(
            Join(parts=(Upper(words=say.out, label="left").out, Upper(words=say.out, limit=limit, label="right").out))
        )

    execute(two(2), tmp_path)
    assert reasons(two(1), tmp_path)["right"] == "run: limit 2 → 1"


def test_expectations_come_from_the_last_attempt_and_unknown_is_said(tmp_path: Path) -> None:
    execute(line(), tmp_path)
    planned = plan(Dag(Fails(words=Upper(words=Say().out, limit=1).out)), Store(str(tmp_path)))
    assert planned.entries["upper"].expected_seconds is not None
    assert planned.entries["fails"].expected_seconds is None
    text = "\n".join(plan_lines(planned, colour=False))
    assert "and 1 of unknown time" in text


def test_the_plan_as_json_says_what_the_table_says(tmp_path: Path) -> None:
    rows = plan(line(), Store(str(tmp_path))).as_json()["stages"]
    assert [(row["label"], row["state"], row["reason"]) for row in rows] == [
        ("say", "run", "never built"),
        ("upper", "run", "never built"),
    ]
    assert rows[0]["key"] and rows[1]["key"] is None


def test_the_plan_table_counts_what_is_cached(tmp_path: Path) -> None:
    execute(line(), tmp_path)
    planned: Plan = plan(line(), Store(str(tmp_path)))
    assert plan_lines(planned, colour=False)[-1] == "2 cached, 0 to run"
    assert "\x1b[32mcached\x1b[0m" in "\n".join(plan_lines(planned, colour=True))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": {"b": 0.8}}, {"a": {"b": 0.7}}, ["a.b 0.8 → 0.7"]),
        ({"a": [1, 2]}, {"a": [1, 3]}, ["a.1 2 → 3"]),
        ({"a": [1]}, {"a": [1, 3]}, ["a 1 items → 2 items"]),
        ({}, {"a": "x" * 40}, ["a unset → xxxxxxxxxxxx…"]),
    ],
)
def test_differences_go_down_to_the_leaf(old: object, new: object, said: list[str]) -> None:
    assert differences(old, new) == said


def test_the_first_of_a_label_was_never_built_though_another_of_its_kind_was(tmp_path: Path) -> None:
    execute(line(), tmp_path)
    planned = plan(Dag(Upper(words=Say(words=("one", "two")).out, limit=1, label="other")), Store(str(tmp_path)))
    assert planned.entries["other"].reason == "never built"
    assert planned.entries["other"].expected_seconds is not None
