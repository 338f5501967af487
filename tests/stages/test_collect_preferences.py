"""CollectPreferences: right and wrong answers of the model itself, drawn and checked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline import Context, StageFailed
from stages.collect_preferences import CollectPreferences
from stages.facts.checkers import check
from stages.kinds import Chats, Model, Preferences
from stages.tuning import conversations
from stages.tuning.conversations import Chat, dialogue
from tests.tiny_llama import FACTS, write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny")


def collected(folder: Path, model: Path, chats: list[Chat], **settings: object) -> Preferences:
    conversations.write(folder / "chats" / "part-00000.parquet", chats)
    out, ctx = Preferences(folder / "work" / "data"), Context.local(folder / "work")
    CollectPreferences(model=Model(model), chats=Chats(folder / "chats"), **settings).run(out, ctx)
    counted = {name: value for name, value in ctx.metrics.items() if name.startswith("from.")}
    assert counted == ({"from.atlas.pairs": ctx.metrics["pairs"]} if chats[0].source else {})
    return out


def known(split: conversations.Split = "train") -> list[Chat]:
    return [
        Chat(dialogue(question, answer), "capital", split, answer, "exact", "atlas")
        for question, answer in FACTS.items()
    ]


HOT = {"samples": 48, "temperature": 3.0, "least": 1}
"""So hot that a model which knows the answer gives wrong ones too."""


def test_a_right_answer_is_preferred_to_wrong_ones(tmp_path: Path, model: Path) -> None:
    rows = list(collected(tmp_path, model, known(), **HOT).rows())
    assert rows
    for row in rows:
        expected = FACTS[row["prompt"][-1]["content"]]
        assert check("exact", row["chosen"][0]["content"], expected)
        assert not check("exact", row["rejected"][0]["content"], expected)
        said = json.loads(row["metadata"])
        assert (said["chosen"], said["source"]) == ("model", "atlas")


def test_the_same_seed_draws_the_same_bytes_and_another_seed_others(tmp_path: Path, model: Path) -> None:
    drawn = [collected(tmp_path / str(place), model, known(), **HOT, seed=seed) for place, seed in enumerate((0, 0, 1))]
    first, again, other = (out.shards()[0].read_bytes() for out in drawn)
    assert first == again
    assert first != other


def test_held_out_questions_are_never_asked(tmp_path: Path, model: Path) -> None:
    with pytest.raises(StageFailed, match="0 questions gave 0 pairs"):
        collected(tmp_path, model, known("heldout"), **HOT)


def test_a_known_answer_stands_in_only_where_it_is_asked_for(tmp_path: Path, model: Path) -> None:
    question = next(iter(FACTS))
    chats = [Chat(dialogue(question, "Atlantis."), "myth", "train", "Atlantis.", "exact")]
    with pytest.raises(StageFailed, match="0 pairs"):
        collected(tmp_path / "a", model, chats, least=1)
    rows = list(collected(tmp_path / "b", model, chats, least=1, reference=True).rows())
    assert rows[0]["chosen"][0]["content"] == "Atlantis."
    assert json.loads(rows[0]["metadata"])["chosen"] == "reference"
