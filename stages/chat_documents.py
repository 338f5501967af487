"""ChatDocuments: training conversations as plain documents, so that a small base model has met what it will be tuned on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import Context, Field, Stage, StageFailed
from stages.kinds import Chats, Documents

if TYPE_CHECKING:
    from stages.tuning.conversations import Chat


class ChatDocuments(Stage[Documents]):
    """Write questions and answers one after the other, `together` in a document, in an order that only the seed decides.

    Held-out conversations never enter. The form, ``Question: … Answer: …``, is the one in which Evaluate asks a base model.
    """

    shows = ("documents", "chats")

    chats: Chats = Field(description="conversations; those marked held out are left out")
    name: str = Field(default="chats", description="what the column `source` says")
    together: int = Field(default=16, ge=1, description="conversations in one document")
    seed: int = Field(default=0, ge=0, description="of their order")

    def run(self, out: Documents, ctx: Context) -> None:
        """One shard."""
        from stages.text.origins import from_sources

        counts = ctx.map(self._write, [0])
        if not counts[0][0]:
            raise StageFailed("there is no conversation to train on", mend="look at the stage that collects the chats")
        ctx.log(documents=counts[0][0], chats=counts[0][1])
        ctx.log(**from_sources("documents", [{self.name: counts[0][0]}]))

    def _write(self, number: int, folder: Path) -> list[int]:
        from stages.text.shards import write_documents
        from stages.tuning.conversations import fraction, read

        chats = list(read(self.chats, "train"))
        chats.sort(key=lambda chat: fraction(f"{self.seed} {chat.messages}"))
        groups = [chats[start : start + self.together] for start in range(0, len(chats), self.together)]
        return [write_documents(folder, f"part-{number:05d}", self._documents(groups)), len(chats)]

    def _documents(self, groups: list[list[Chat]]) -> Iterator[dict[str, str]]:
        from stages.text.shards import document
        from stages.tuning.conversations import as_text

        for place, group in enumerate(groups):
            text = "\n".join(as_text(chat.messages) for chat in group)
            yield document(text, f"{self.name}:{place}", source=self.name, url="", metadata={})
