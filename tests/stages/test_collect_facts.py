"""CollectFacts: fact tables become chats that a checker can judge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline import Context
from pipeline.errors import SourceError
from stages.collect_facts import CollectFacts
from stages.facts.checkers import check
from stages.kinds import Chats
from stages.tuning.conversations import read


def tables(folder: Path) -> dict[str, str]:
    """Two countries and one element, as the packages write them."""
    (folder / "countries").mkdir(parents=True)
    for name, capital, code, people in (("France", "Paris", "EUR", 9), ("Peru", "Lima", "PEN", 5)):
        row = {"name": name, "capital": capital, "currencies": [code], "population": people}
        (folder / "countries" / f"{name}.json").write_text(json.dumps(row), encoding="utf-8")
    (folder / "core.py").write_text("element_base: dict = {26: ('Iron', 'Fe', [2], [])}\n", encoding="utf-8")
    return {"countries": f"{folder}/countries/*.json", "elements": f"{folder}/core.py"}


def collected(folder: Path, **settings: object) -> Chats:
    out = Chats(folder / "work" / "data")
    CollectFacts(**tables(folder / "tables"), **settings).run(out, Context.local(folder / "work"))
    return out


def test_facts_become_chats_of_both_splits(tmp_path: Path) -> None:
    out = collected(tmp_path, largest_operand=9)
    train, heldout = read(out, "train"), read(out, "heldout")
    assert (
        {chat.category for chat in train}
        == {chat.category for chat in heldout}
        == {"capital", "currency", "element", "sum"}
    )
    assert out.count() == len(train) + len(heldout)
    asked = {chat.messages[0]["content"]: chat for chat in train}
    assert asked["What is the capital of Peru?"].messages[-1] == {"role": "assistant", "content": "Lima."}
    assert all(check(chat.checker, chat.messages[-1]["content"], chat.answer) for chat in [*train, *heldout])


def test_the_most_populous_countries_come_first(tmp_path: Path) -> None:
    out = collected(tmp_path, capitals=1, currencies=0, symbols=0, largest_operand=-1)
    assert {chat.answer for chat in read(out, "train")} == {"Paris."}


def test_the_same_tables_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = (collected(tmp_path / name) for name in ("a", "b"))
    assert [path.read_bytes() for path in first.shards()] == [path.read_bytes() for path in second.shards()]


def test_a_table_of_another_shape_is_one_clear_error(tmp_path: Path) -> None:
    given = tables(tmp_path)
    (tmp_path / "core.py").write_text("nothing = 0\n", encoding="utf-8")
    with pytest.raises(SourceError, match="element_base"):
        CollectFacts(**given).run(Chats(tmp_path / "work" / "data"), Context.local(tmp_path / "work"))


def test_every_training_question_is_counted_under_the_table_that_it_comes_from(tmp_path: Path) -> None:
    stage, ctx = CollectFacts(**tables(tmp_path / "tables"), largest_operand=9), Context.local(tmp_path / "work")
    stage.run(Chats(tmp_path / "work" / "data"), ctx)
    counted = {name: value for name, value in ctx.metrics.items() if name.startswith("from.")}
    assert set(counted) == {f"from.{name}.chats" for name in stage.sources()}
    assert sum(counted.values()) == ctx.metrics["train"]
    assert set(CollectFacts().sources()) == {"countryinfo", "periodictable", "sums"}
