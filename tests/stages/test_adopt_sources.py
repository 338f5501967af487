"""The sources of what was adopted: where it came from, counted by the column `source` where there is one."""

from __future__ import annotations

from pathlib import Path

from pipeline.manifest import SourceRecord
from stages.text.shards import document, write_documents
from stages.tuning import conversations
from stages.tuning.conversations import Chat, Split, dialogue
from tests.adopting import taken


def chat(number: int, split: Split) -> Chat:
    return Chat(dialogue(f"Say {number}.", str(number)), "x", split, str(number), "")


def test_conversations_are_of_one_source_named_by_its_address_and_those_to_train_on_count(tmp_path: Path) -> None:
    conversations.write(tmp_path / "talk" / "a.parquet", [chat(1, "train"), chat(2, "train"), chat(3, "heldout")])
    made = taken("chats", tmp_path / "talk").manifest
    assert made.sources == {"talk": SourceRecord(at=str(tmp_path / "talk"), revision=made.digest)}
    assert made.metrics == {"from.talk.chats": 2}


def test_documents_are_of_the_sources_that_their_column_names(tmp_path: Path) -> None:
    rows = [document(f"text {place}", "", source=source, url="", metadata={}) for place, source in enumerate("aab")]
    write_documents(tmp_path / "texts", "x", rows)
    made = taken("documents", tmp_path / "texts").manifest
    assert list(made.sources) == ["a", "b"] and made.sources["a"].at == str(tmp_path / "texts")
    assert made.metrics == {"from.a.documents": 2, "from.b.documents": 1}
