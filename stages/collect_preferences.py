"""CollectPreferences: a model's own answers to training questions, checked: a right one is preferred to a wrong one."""

from __future__ import annotations

import json
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import model_validator

from pipeline import Context, Field, Stage, StageFailed
from stages.kinds import Chats, Model, Preferences
from stages.threads import cpus_by_threads

if TYPE_CHECKING:
    from stages.evaluation.answering import Manner
    from stages.tuning.conversations import Chat

SHARD = 128
"""Questions in one call; fixed, so that what is drawn never depends on how the work was spread."""


class CollectPreferences(Stage[Preferences]):
    """Sample answers of the model to training questions, and pair a checked-right one with each kind of wrong one.

    A question whose samples are all right or all wrong gives no pair; with `reference`, one that is never answered right
    takes the known answer as chosen, and its metadata says so (`"chosen": "reference"`). Held-out chats are never asked.
    A pair counts for the source of its question.
    Raises StageFailed where fewer than `least` pairs were found.
    """

    shows = ("pairs", "sampled_right")

    model: Model = Field(description="the model that answers: a Llama checkpoint, as Sft makes it")
    chats: Chats = Field(description="conversations with checkers; those of the split train are asked")
    questions: int = Field(
        default=384, ge=1, description="training questions asked, drawn by their hash, as many of each category"
    )
    samples: int = Field(default=6, ge=2, description="answers drawn for each question")
    temperature: float = Field(default=1.0, gt=0, description="of sampling; higher gives more wrong answers")
    wrong: int = Field(default=2, ge=1, description="different wrong answers kept for each question at most")
    reference: bool = Field(default=False, description="let the known answer stand as chosen where no sample is right")
    least: int = Field(default=32, ge=1, description="pairs below which the stage fails")
    max_tokens: int = Field(default=24, ge=1, description="length of an answer at most, in tokens")
    seed: int = Field(default=0, ge=0, description="of the draw of questions and answers")
    threads: int = Field(default=1, ge=1, description="CPU threads; sampling is exact for a fixed number")

    _cpus = model_validator(mode="before")(cpus_by_threads)

    def run(self, out: Preferences, ctx: Context) -> None:
        """One shard for every 128 questions."""
        from stages.evaluation.answering import Manner
        from stages.text.origins import from_sources
        from stages.tuning.conversations import fraction, read

        chats = [chat for chat in read(self.chats, "train") if chat.checker]
        chats.sort(key=lambda chat: fraction(f"{self.seed} {json.dumps(chat.messages, ensure_ascii=False)}"))
        asked = _evenly(chats, self.questions)
        items = [(index, asked[start : start + SHARD]) for index, start in enumerate(range(0, len(asked), SHARD))]
        manner = Manner(self.max_tokens, self.temperature, seed=self.seed, threads=self.threads)
        settings = {"samples": self.samples, "wrong": self.wrong, "reference": self.reference}
        counts = ctx.map(partial(_shard, self.model.path, manner, settings), items)
        total = {name: sum(count[name] for count in counts) for name in ("pairs", "right", "sampled", "reference")}
        if total["pairs"] < self.least:
            raise StageFailed(
                f"{len(asked)} questions gave {total['pairs']} pairs of a right and a wrong answer, and {self.least} are needed",
                mend="train Sft longer (or less, if it is never wrong), raise questions, samples or temperature, or set reference=True",
            )
        ctx.log(
            questions=len(asked),
            pairs=total["pairs"],
            from_reference=total["reference"],
            sampled_right=total["right"] / total["sampled"],
        )
        ctx.log(**from_sources("pairs", [count["sources"] for count in counts]))


def _evenly(chats: list[Chat], most: int) -> list[Chat]:
    """The first of each category in turn, `most` in all: one large category does not crowd the others out."""
    groups: dict[str, list[Chat]] = {}
    for chat in chats:
        groups.setdefault(chat.category, []).append(chat)
    turns = zip_longest(*(groups[name] for name in sorted(groups)))
    return [chat for turn in turns for chat in turn if chat is not None][:most]


def _shard(
    model: Path, manner: Manner, settings: dict[str, Any], item: tuple[int, list[Chat]], folder: Path
) -> dict[str, Any]:
    from dataclasses import replace

    from stages.evaluation.answering import chat as ask
    from stages.facts.checkers import check
    from stages.text.origins import by_source

    index, chats = item
    times = settings["samples"]
    answers = ask(
        model,
        [asked.prompt for asked in chats for _ in range(times)],
        replace(manner, seed=manner.seed * 1_000_003 + index),
    )
    rows, right_count, referenced = list[dict[str, Any]](), 0, 0
    sources: list[str] = []
    for place, asked in enumerate(chats):
        drawn = list(dict.fromkeys(answers[place * times : (place + 1) * times]))
        right = [answer for answer in drawn if check(asked.checker, answer, asked.answer)]
        wrong = [answer for answer in drawn if answer and answer not in right][: settings["wrong"]]
        right_count += sum(answer in right for answer in answers[place * times : (place + 1) * times])
        if not right and not settings["reference"]:
            continue
        chosen, origin = (right[0], "model") if right else (asked.answer, "reference")
        referenced += len(wrong) * (not right)
        rows += [_pair(asked, chosen, rejected, origin) for rejected in wrong]
        sources += [asked.source] * (len(wrong) if asked.source else 0)
    _write(folder / f"part-{index:05d}.parquet", rows)
    counts = {"pairs": len(rows), "right": right_count, "sampled": len(answers), "reference": referenced}
    return {**counts, "sources": by_source(sources)}


def _pair(asked: Chat, chosen: str, rejected: str, origin: str) -> dict[str, Any]:
    turn = [[{"role": "assistant", "content": text}] for text in (chosen, rejected)]
    metadata = {"category": asked.category, "chosen": origin, "rejected": "model", "checker": asked.checker}
    metadata["source"] = asked.source
    return {
        "prompt": asked.prompt,
        "chosen": turn[0],
        "rejected": turn[1],
        "metadata": json.dumps(metadata, sort_keys=True),
    }


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa

    from stages.kinds import write_shard
    from stages.tuning.conversations import message_list

    schema = pa.schema(
        [*((name, message_list()) for name in ("prompt", "chosen", "rejected")), ("metadata", pa.string())]
    )
    write_shard(path, pa.Table.from_pylist(rows, schema=schema))
