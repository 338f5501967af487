"""Evaluate: held-out questions, exact answers and their intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline import Context, StageFailed
from stages.evaluate import Evaluate
from stages.evaluation.scores import tally, wilson
from stages.kinds import Chats, Model, Report
from stages.tuning import conversations
from stages.tuning.conversations import Chat, dialogue
from tests.tiny_llama import FACTS, write_gguf, write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny")


def asked(folder: Path, *, wrong: int = 1) -> Chats:
    """What the tiny model knows, and so many questions more whose expected answer it does not give."""
    known = [
        Chat(dialogue(question, answer), "capital", "heldout", answer, "exact") for question, answer in FACTS.items()
    ]
    question = next(iter(FACTS))
    other = [
        Chat(dialogue(question, f"Atlantis {place}."), "myth", "heldout", f"Atlantis {place}.", "exact")
        for place in range(wrong)
    ]
    taught = [Chat(chat.messages, "capital", "train", chat.answer, "exact") for chat in known]
    conversations.write(folder / "chats" / "part-00000.parquet", [*known, *other, *taught])
    return Chats(folder / "chats")


def evaluated(folder: Path, model: Path, chats: Chats, **settings: object) -> Report:
    out = Report(folder / "work" / "data")
    Evaluate(model=Model(model), chats=chats, **settings).run(out, Context.local(folder / "work"))
    return out


def test_right_answers_are_counted_by_category(tmp_path: Path, model: Path) -> None:
    report = evaluated(tmp_path, model, asked(tmp_path)).read()
    assert report["categories"]["capital"]["right"] == 2 == report["categories"]["capital"]["asked"]
    assert report["categories"]["myth"]["right"] == 0
    assert (report["accuracy"]["right"], report["accuracy"]["asked"]) == (2, 3)
    assert report["accuracy"]["low"] < 2 / 3 < report["accuracy"]["high"]
    assert {shown["answer"] for shown in report["examples"]} >= set(FACTS.values())


def test_the_same_model_gives_the_same_bytes(tmp_path: Path, model: Path) -> None:
    reports = [evaluated(tmp_path / name, model, asked(tmp_path / name)) for name in ("a", "b")]
    for name in ("report.json", "report.html"):
        first, second = ((report.path / name).read_bytes() for report in reports)
        assert first == second


def test_the_draw_of_questions_is_bounded_for_each_category(tmp_path: Path, model: Path) -> None:
    report = evaluated(tmp_path, model, asked(tmp_path, wrong=9), max_questions=1).read()
    assert {name: row["asked"] for name, row in report["categories"].items()} == {"capital": 1, "myth": 1}


def test_a_base_model_is_asked_as_a_completion(tmp_path: Path, model: Path) -> None:
    report = evaluated(tmp_path, model, asked(tmp_path), shots=1).read()
    assert report["shots"] == 1
    assert all("\n" not in shown["answer"] for shown in report["examples"])


def test_a_special_token_in_a_completion_is_text(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stages import model as models
    from stages.evaluation.answering import Manner, complete

    asked: list[list[int]] = []
    generate = models.generate

    def seen(llama: Any, prompts: list[list[int]], *settings: Any, **more: Any) -> Any:
        asked.extend(prompts)
        return generate(llama, prompts, *settings, **more)

    monkeypatch.setattr(models, "generate", seen)
    complete(model, ["Question: <|end|> Answer:"], Manner(max_tokens=1))
    assert asked[0][0] == 0 and 5 not in asked[0]


def test_a_gguf_file_is_asked_by_the_engine_that_serves_it(tmp_path: Path, model: Path) -> None:
    small = write_gguf(model, tmp_path / "gguf")
    report = evaluated(tmp_path, small, asked(tmp_path)).read()
    assert report["categories"]["capital"]["right"] == 2
    with pytest.raises(StageFailed, match="asked in chat only"):
        evaluated(tmp_path / "shots", small, asked(tmp_path / "shots"), shots=2)


def test_chats_that_no_checker_can_judge_are_one_clear_error(tmp_path: Path, model: Path) -> None:
    conversations.write(tmp_path / "part-00000.parquet", [Chat(dialogue("a", "b"), "x", "heldout", "b", "")])
    with pytest.raises(StageFailed, match="no held-out chat"):
        evaluated(tmp_path, model, Chats(tmp_path))


def test_a_folder_without_a_model_is_one_clear_error(tmp_path: Path, model: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (tmp_path / "empty" / name).write_bytes((model / name).read_bytes())
    with pytest.raises(StageFailed, match="cannot be asked"):
        evaluated(tmp_path, tmp_path / "empty", asked(tmp_path))


def test_the_interval_is_wilsons() -> None:
    low, high = wilson(8, 10)  # 0.490 to 0.943, as in the literature's example
    assert (round(low, 3), round(high, 3)) == (0.49, 0.943)
    assert wilson(0, 0) == (0.0, 1.0)


def test_the_commonest_answer_is_the_baseline() -> None:
    chats = [Chat(dialogue("q", answer), "c", "heldout", answer, "exact") for answer in ("9.", "9.", "7.", "4.")]
    from stages.evaluation.scores import judge

    found = tally(judge(chats, ["9.", "1.", "1.", "1."]))
    assert (found["majority"], found["majority_answer"], found["accuracy"]) == (0.5, "9.", 0.25)


def test_the_page_escapes_what_a_model_says(tmp_path: Path, model: Path) -> None:
    from stages.evaluation import page

    report = evaluated(tmp_path, model, asked(tmp_path)).read()
    report["examples"][0]["answer"] = "<script>alert(1)</script>"
    assert "<script>" not in page.render(report)
