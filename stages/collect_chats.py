"""CollectChats: a user's own conversations, read from JSON lines and split for training and evaluation by their content."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import field_validator

from pipeline import Context, Field, Stage, StageFailed
from pipeline.errors import SourceError
from pipeline.manifest import SourceRecord
from stages.kinds import Chats
from stages.sources import Source, as_source

if TYPE_CHECKING:
    from stages.tuning.conversations import Chat

ROLES = ("system", "user", "assistant")


class CollectChats(Stage[Chats]):
    """Read conversations, one JSON object a line with `messages`: a list of {"role", "content"} that ends with the assistant.

    An optional `category` groups the results of an evaluation. The share `heldout` is kept from training, chosen by a hash
    of what is asked, so that the same question never stands on both sides. The files may be compressed (.gz, .zst). Raises
    SourceError with file and line, and where a file changes while it is read.
    """

    shows = ("train", "heldout")

    source: Source = Field(description="JSON lines files: a path, a folder or a pattern, or files inside a package")
    heldout: float = Field(default=0.1, ge=0, lt=1, description="share of the questions kept for evaluation")
    checker: Literal["exact", "contains", "number", "symbol", ""] = Field(
        default="exact", description="how held-out answers are judged against the last message; empty: not at all"
    )

    @field_validator("source", mode="before")
    @classmethod
    def _source(cls, value: object) -> object:
        return as_source(value)

    def sources(self) -> dict[str, SourceRecord]:
        return {self.source.called: self.source.record()}

    def stays(self) -> str:
        return self.source.stays()

    def run(self, out: Chats, ctx: Context) -> None:
        """One shard for each file."""
        from stages.text.origins import from_sources

        with self.source.reading() as files:
            items = [(index, name, str(files[name])) for index, name in enumerate(sorted(files))]
            counts = ctx.map(self._shard, items, unit="files")
        train, heldout = (sum(count[side] for count in counts) for side in ("train", "heldout"))
        if not train:
            raise StageFailed(
                f"{self.source.at} holds no chat to train on",
                mend='write one {"messages": […]} a line, and lower heldout',
            )
        ctx.log(chats=train + heldout, train=train, heldout=heldout)
        ctx.log(**from_sources("chats", [{self.source.called: train}]))

    def _shard(self, item: tuple[int, str, str], folder: Path) -> dict[str, int]:
        from stages.text.readers import json_lines
        from stages.tuning import conversations

        index, name, path = item
        chats = [self._chat(row, f"{name}, line {number}") for number, row in json_lines(Path(path), name)]
        conversations.write(folder / f"part-{index:05d}.parquet", chats)
        heldout = sum(chat.split == "heldout" for chat in chats)
        return {"train": len(chats) - heldout, "heldout": heldout}

    def _chat(self, row: object, place: str) -> Chat:
        from stages.tuning.conversations import Chat, fraction

        row = row if isinstance(row, dict) else {}
        messages = checked(row.get("messages"), place)
        asked = json.dumps(messages[:-1], ensure_ascii=False)
        split: Literal["train", "heldout"] = "heldout" if fraction(asked) < self.heldout else "train"
        return Chat(
            messages, str(row.get("category", "chat")), split, messages[-1]["content"], self.checker, self.source.called
        )


def checked(messages: object, place: str) -> list[dict[str, str]]:
    """`messages` as role and content alone. Raises SourceError, naming the place, where they are no conversation."""
    if not isinstance(messages, list) or not messages:
        raise SourceError(
            f"{place} has no list of messages", mend='write {"messages": [{"role": "user", "content": "…"}, …]}'
        )
    for turn in messages:
        if not isinstance(turn, dict) or turn.get("role") not in ROLES or not _is_text(turn.get("content")):
            raise SourceError(
                f"{place}: {json.dumps(turn)[:80]} is no message",
                mend=f"a message has a role ({', '.join(ROLES)}) and a content",
            )
    if messages[-1]["role"] != "assistant" or len(messages) < 2:
        raise SourceError(
            f"{place} does not end with an answer", mend="let the last of two or more messages be the assistant's"
        )
    return [{"role": turn["role"], "content": turn["content"]} for turn in messages]


def _is_text(content: object) -> bool:
    """Whether it is a string of whole characters: JSON can write half of one (``\\ud83d``), which no file can hold."""
    return isinstance(content, str) and content == content.encode("utf-8", "replace").decode()
