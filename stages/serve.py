"""Makes a folder whose service has answered: the model, how to start it, and what it said over HTTP to fixed questions."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from pipeline import Context, Field, Settings, Stage, StageFailed
from stages.kinds import Model, Service
from stages.threads import cpus_by_threads

if TYPE_CHECKING:
    from stages.service.smoke import Answered


class Question(Settings):
    """One question for the smoke test. Without `expected` any answer will do, and it is marked neither right nor wrong."""

    text: str = Field(min_length=1, description="what the user says")
    expected: str = Field(default="", description="the right answer")
    checker: Literal["exact", "symbol", "number", "contains"] = Field(
        default="contains", description="how the two are held together"
    )
    held_out: bool = Field(
        default=False, description="whether training never saw this phrasing; shown beside the answer"
    )


class Serve(Stage[Service]):
    """Start the OpenAI-compatible service of a GGUF model on a loopback port, ask it, and keep its answers.

    The folder holds model.gguf, service.json (how to start it) and smoke.json (questions, answers, right or wrong).
    Fails where the service does not answer; a wrong answer is recorded and is no failure.
    """

    shows = ("right", "asked", "tokens_per_second")

    model: Model
    questions: tuple[Question, ...] = Field(
        default=(Question(text="Hello!"),), min_length=1, description="asked greedily, one after the other"
    )
    name: str = Field(default="corpusmill", pattern=r"^[\w.\-/]+$", description="the model's name in the service's API")
    system: str = Field(default="", description="system message of the smoke test; empty for none")
    max_tokens: int = Field(
        default=48, ge=1, description="longest answer of the smoke test, and of a request that names no length"
    )
    limit: int = Field(default=512, ge=1, description="longest answer that a request may ask for")
    context: int = Field(
        default=0, ge=0, description="tokens of one conversation; 0 for all that the model was trained to read"
    )
    parallel: int = Field(default=4, ge=1, description="conversations answered at once when the service runs for users")
    threads: int = Field(default=1, ge=1, description="threads of the engine")

    _cpus = model_validator(mode="before")(cpus_by_threads)

    def stays(self) -> str:
        return "the machine that will serve it is the one to ask"

    def run(self, out: Service, ctx: Context) -> None:
        from stages.service.llama_cpp import open_engine
        from stages.service.smoke import smoke_test

        asked = [self._messages(question) for question in self.questions]
        with open_engine(self.model.path, threads=self.threads, context=self.context) as engine:
            answered, speed = smoke_test(engine, self.name, asked, self.max_tokens)
        smoke = [self._record(question, found) for question, found in zip(self.questions, answered, strict=True)]
        if not any(found.text.strip() for found in answered):
            raise StageFailed(
                "the service answered every question with nothing",
                mend="train longer, or ask questions the model knows",
            )
        shutil.copyfile(self.model.path / "model.gguf", out.path / "model.gguf")
        _write(out, "service.json", self._service())
        _write(out, "smoke.json", {"name": self.name, "answers": smoke})
        marked = [record["right"] for record in smoke if record["right"] is not None]
        ctx.log(bytes=(out.path / "model.gguf").stat().st_size, asked=len(smoke), marked=len(marked), right=sum(marked))
        ctx.log(first_token_seconds=speed.first_token_seconds, tokens_per_second=speed.tokens_per_second)

    def _messages(self, question: Question) -> list[dict[str, str]]:
        turns = [{"role": "system", "content": self.system}] if self.system else []
        return [*turns, {"role": "user", "content": question.text}]

    def _record(self, question: Question, found: Answered) -> dict[str, Any]:
        from stages.facts.checkers import check

        right = check(question.checker, found.text, question.expected) if question.expected else None
        return {
            "question": question.text,
            "answer": found.text,
            "expected": question.expected,
            "right": right,
            "held_out": question.held_out,
            "finish": found.finish,
            "tokens": found.tokens,
        }

    def _service(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "app": "stages.service.launch:app_of",
            "engine": "llama.cpp",
            "model": "model.gguf",
            "name": self.name,
            "context": self.context,
            "parallel": self.parallel,
            "threads": self.threads,
            "default_tokens": self.max_tokens,
            "max_tokens": self.limit,
        }


def _write(out: Service, name: str, value: dict[str, Any]) -> None:
    (out.path / name).write_text(
        json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
    )
