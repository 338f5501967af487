"""ChatDocuments: training conversations as text; what is held out stays out."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import Context, StageFailed
from stages.chat_documents import ChatDocuments
from stages.kinds import Chats, Documents
from stages.tuning.conversations import Chat, dialogue, write


def chats(folder: Path, *, train: int = 20, heldout: int = 5) -> Chats:
    rows = [Chat(dialogue(f"What is {n}?", f"It is {n}."), "number", "train", f"{n}", "number") for n in range(train)]
    held = [Chat(dialogue(f"Secret {n}?", "Hidden."), "number", "heldout", "Hidden.", "exact") for n in range(heldout)]
    write(folder / "part-00000.parquet", [*rows, *held])
    return Chats(folder)


def made(given: Chats, folder: Path, **settings: int) -> list[str]:
    out = Documents(folder / "data")
    ChatDocuments(chats=given, **settings).run(out, Context.local(folder))
    return [row["text"] for row in out.rows()]


def test_every_training_conversation_is_written_once_as_question_and_answer(tmp_path: Path) -> None:
    lines = "\n".join(made(chats(tmp_path / "given"), tmp_path / "out")).split("\n")
    assert sorted(lines) == sorted(f"Question: What is {n}? Answer: It is {n}." for n in range(20))


def test_what_is_held_out_stays_out(tmp_path: Path) -> None:
    texts = " ".join(made(chats(tmp_path / "given"), tmp_path / "out"))
    assert "Secret" not in texts and "Hidden" not in texts


def test_so_many_stand_together_and_the_seed_orders_them(tmp_path: Path) -> None:
    given = chats(tmp_path / "given")
    documents = made(given, tmp_path / "a", together=8)
    assert [len(text.split("\n")) for text in documents] == [8, 8, 4]
    assert made(given, tmp_path / "b", together=8) == documents
    assert made(given, tmp_path / "c", together=8, seed=1) != documents


def test_without_a_conversation_to_train_on_it_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="there is no conversation to train on"):
        made(chats(tmp_path / "given", train=0), tmp_path / "out")


def test_its_documents_are_counted_under_their_own_name(tmp_path: Path) -> None:
    ctx = Context.local(tmp_path / "out")
    ChatDocuments(chats=chats(tmp_path / "given"), together=8).run(Documents(tmp_path / "out" / "data"), ctx)
    assert ctx.metrics["from.chats.documents"] == ctx.metrics["documents"] == 3
