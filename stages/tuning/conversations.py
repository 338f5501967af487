"""Conversations as Chats and Preferences hold them: `messages` for TRL, and in metadata what an evaluation needs to know."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from stages.kinds import Chats, write_shard

if TYPE_CHECKING:
    import pyarrow as pa

Message = dict[str, str]
Split = Literal["train", "heldout"]


class Chat(NamedTuple):
    """One conversation that ends with the assistant's answer; `answer` is what `checker` expects in place of it.

    Chats of the split `heldout` are for evaluation alone. An empty checker means that no answer can be judged. `source` is
    the name of the source that it is from, empty where nobody said.
    """

    messages: list[Message]
    category: str
    split: Split
    answer: str
    checker: str
    source: str = ""

    @property
    def prompt(self) -> list[Message]:
        """Everything before the assistant's last answer."""
        return self.messages[:-1]


def dialogue(question: str, answer: str) -> list[Message]:
    """One question and its answer as messages."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def as_text(messages: Iterable[Message]) -> str:
    """A conversation on one line of plain text, in which a base model can be asked; what the system says is left out."""
    marks = {"user": "Question", "assistant": "Answer"}
    return " ".join(f"{marks[turn['role']]}: {turn['content']}" for turn in messages if turn["role"] in marks)


def write(path: Path, chats: Iterable[Chat]) -> None:
    """Write one shard of Chats."""
    import pyarrow as pa

    rows = list(chats)
    metadata = [
        json.dumps(
            {name: getattr(chat, name) for name in ("answer", "category", "checker", "source", "split")}, sort_keys=True
        )
        for chat in rows
    ]
    columns = {
        "messages": pa.array([chat.messages for chat in rows], message_list()),
        "metadata": pa.array(metadata, pa.string()),
    }
    write_shard(path, pa.table(columns))


def read(chats: Chats, split: Split) -> list[Chat]:
    """Every chat of one side of the split, in order; a chat whose metadata names none is for training."""
    found = []
    for row in chats.rows():
        said = about(row.get("metadata"))
        if said.get("split", "train") == split:
            messages = [{"role": turn["role"], "content": turn["content"]} for turn in row["messages"]]
            told = said.get("category", "chat"), split, said.get("answer", ""), said.get("checker", "")
            found.append(Chat(messages, *told, source_of(said)))
    return found


def about(metadata: object) -> dict[str, Any]:
    """What the metadata of a row says: nothing where it is no text that holds a JSON object."""
    try:
        said = json.loads(metadata if isinstance(metadata, str) else "{}")
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def source_of(said: Mapping[str, Any]) -> str:
    """The name of the source that the metadata of a row names, or an empty string."""
    name = said.get("source")
    return name if isinstance(name, str) else ""


def message_list() -> pa.DataType:
    """The parquet type of `messages`, `prompt`, `chosen` and `rejected`."""
    import pyarrow as pa

    return pa.list_(pa.struct([pa.field("role", pa.string()), pa.field("content", pa.string())]))


def fraction(text: str) -> float:
    """A number in [0, 1) drawn from `text` by its sha256, for splits that no order of rows can move."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2.0**64
