"""Toy stages whose artifacts have cards: words to a model, a model tuned, a model scored."""

from __future__ import annotations

import shutil

from pipeline import Artifact, Context, Dag, Field, Stage
from tests.pipeline.toys import Say, Words


class Model(Artifact):
    """A folder that is meant to be a checkpoint."""

    __slots__ = ()

    rendered = ("README.md",)


class Report(Artifact):
    """A folder with the result of a measurement."""

    __slots__ = ()


class Train(Stage[Model]):
    """As many bytes of weights as there are words."""

    words: Words
    steps: int = Field(default=4, description="updates")
    note: str = Field(default="", description="anything, also what a card must not tell")

    def run(self, out: Model, ctx: Context) -> None:
        (out.path / "model.safetensors").write_text("w" * len(self.words.read()))
        (out.path / "README.md").write_text("a stage's own words")
        ctx.log(parameters=12_345, loss=0.5)


class Tune(Stage[Model]):
    """Takes the whole folder of another model over, its card included."""

    model: Model

    def run(self, out: Model, ctx: Context) -> None:
        shutil.copytree(self.model.path, out.path, dirs_exist_ok=True)
        (out.path / "chat_template.jinja").write_text("chat")


class Score(Stage[Report]):
    """A share of right answers, in an interval."""

    model: Model
    seed: int = Field(default=0, description="of the draw")

    def run(self, out: Report, ctx: Context) -> None:
        (out.path / "report.json").write_text(f"{self.seed}")
        ctx.log(accuracy=0.75, low=0.5, high=0.9, questions=8 + self.seed)


def carded(*, seed: int = 0, scored: bool = True, note: str = "") -> Dag:
    """Say, Train, Tune and, if asked for, Score."""
    tuned = Tune(model=Train(words=Say().out, note=note).out)
    return Dag(Score(model=tuned.out, seed=seed)) if scored else Dag(tuned)
