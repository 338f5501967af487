"""Evaluate: the share of held-out questions that a model answers exactly, by category, with intervals."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import model_validator

from pipeline import Context, Field, Stage, StageFailed
from stages.kinds import Chats, Model, Report
from stages.threads import cpus_by_threads

if TYPE_CHECKING:
    from stages.evaluation.answering import Manner
    from stages.evaluation.scores import Judged
    from stages.tuning.conversations import Chat

SHARD = 512
"""Questions in one call; fixed, so that answers never depend on how the work was spread."""


class Evaluate(Stage[Report]):
    """Ask a model the held-out questions and judge each answer by the checker that its chat names.

    A chat model is asked in chat; a base model, with `shots`, as a completion after so many questions answered. The model
    is a Llama checkpoint or a folder with model.gguf. Raises StageFailed where no held-out chat can be judged.
    """

    shows = ("accuracy", "low", "high", "questions")

    model: Model = Field(description="a Llama checkpoint, or a folder with model.gguf")
    chats: Chats = Field(description="conversations; those marked held out are asked")
    shots: int = Field(default=0, ge=0, description="answered training questions shown before each; 0 asks in chat")
    max_questions: int = Field(default=200, ge=1, description="questions of each category at most, drawn by their hash")
    max_tokens: int = Field(default=24, ge=1, description="length of an answer at most, in tokens")
    examples: int = Field(default=24, ge=0, description="answers shown in the report")
    seed: int = Field(default=0, ge=0, description="of the draw of questions and shots")
    threads: int = Field(default=1, ge=1, description="CPU threads; more may move the last bits of a tie")

    _cpus = model_validator(mode="before")(cpus_by_threads)

    def run(self, out: Report, ctx: Context) -> None:
        """Write report.json and report.html."""
        from stages.evaluation import page, scores

        chats = self._drawn("heldout", self.max_questions)
        if not chats:
            raise StageFailed(
                "no held-out chat has a checker", mend="hold some out: CollectChats(heldout=0.1, checker='exact')"
            )
        judged = scores.judge(chats, self._answers(chats, ctx))
        report: dict[str, Any] = {
            "shots": self.shots,
            "accuracy": scores.tally(judged),
            "categories": scores.by_category(judged),
            "examples": [_example(item) for item in _spread(judged, self.examples)],
        }
        (out.path / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (out.path / "report.html").write_text(page.render(report), encoding="utf-8")
        whole = report["accuracy"]
        ctx.log(accuracy=whole["accuracy"], low=whole["low"], high=whole["high"], questions=whole["asked"])
        ctx.log(**{f"accuracy_{_plain(name)}": row["accuracy"] for name, row in report["categories"].items()})

    def _drawn(self, split: Any, most: int) -> list[Chat]:
        """At most so many judgeable chats of each category, in an order that only their content and the seed decide."""
        from stages.tuning.conversations import fraction, read

        chats = [chat for chat in read(self.chats, split) if chat.checker]
        chats.sort(key=lambda chat: fraction(f"{self.seed} {json.dumps(chat.messages, ensure_ascii=False)}"))
        taken: dict[str, list[Chat]] = {}
        for chat in chats:
            group = taken.setdefault(chat.category, [])
            if len(group) < most:
                group.append(chat)
        return [chat for name in sorted(taken) for chat in taken[name]]

    def _answers(self, chats: list[Chat], ctx: Context) -> list[str]:
        from stages.evaluation.answering import Manner

        manner = Manner(max_tokens=self.max_tokens, threads=self.threads)
        asked: list[Any] = self._completions(chats) if self.shots else [chat.prompt for chat in chats]
        shards = [asked[start : start + SHARD] for start in range(0, len(asked), SHARD)]
        ask = partial(_ask, self.model.path, manner, bool(self.shots))
        return [answer for answers in ctx.map(ask, shards) for answer in answers]

    def _completions(self, chats: list[Chat]) -> list[str]:
        """Each question as the next line of a list of answered ones of its own category."""
        from stages.tuning.conversations import as_text

        shown = self._drawn("train", 1000)
        prompts = []
        for chat in chats:
            alike = {
                other.answer: other
                for other in shown
                if other.category == chat.category and other.answer != chat.answer
            }
            lines = [as_text(other.messages) for other in list(alike.values())[: self.shots]]
            prompts.append("\n".join([*lines, f"Question: {chat.prompt[-1]['content']} Answer:"]))
        return prompts


def _ask(model: Path, manner: Manner, completion: bool, asked: list[Any], folder: Path) -> list[str]:
    from stages.evaluation import answering

    return answering.complete(model, asked, manner) if completion else answering.chat(model, asked, manner)


def _spread(judged: list[Judged], most: int) -> list[Judged]:
    """Some of each category, as evenly as they come."""
    step = max(1, -(-len(judged) // most)) if most else len(judged) + 1
    return judged[::step] if most else []


def _example(item: Judged) -> dict[str, Any]:
    chat = item.chat
    question = chat.prompt[-1]["content"]
    return {
        "category": chat.category,
        "question": question,
        "expected": chat.answer,
        "answer": item.answer,
        "right": item.right,
    }


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)
