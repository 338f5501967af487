"""A stage that extends along how much it is asked to do, and notes what it does: for the tests of extension."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from pipeline import Context, Dag, Field, Stage
from tests.pipeline.toys import Say, Words


class Fold(Stage[Words]):
    """Folds so many numbers into one; all before the `settled` share of them the same way, the rest by how many there are."""

    extends = "count"

    words: Words
    count: int = Field(default=20, ge=1, description="numbers")
    seed: int = Field(default=1, description="what it begins with")
    settled: float = Field(default=0.6, ge=0, le=1, description="share of the numbers that no count changes")
    trace: str = Field(default="", description="file that gets a line for each number, and for each beginning")
    die_at: int = Field(default=-1, description="kill this process, once, before this number")

    def continues_until(self) -> float:
        return int(self.settled * self.count) if self.count != 41 else 11

    def run(self, out: Words, ctx: Context) -> None:
        done, folded, state = 0, self.seed, ctx.scratch / "state.json"
        if state.exists():
            done, folded = json.loads(state.read_text())
        if earlier := ctx.earlier(beyond=done):
            done, folded = json.loads((earlier.path / "state.json").read_text())
            assert done == earlier.at
        for number in range(done, self.count):
            self._say(f"{number}")
            if number == self.die_at and Path(self.trace).read_text().split().count(str(number)) == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            late = number >= self.continues_until()
            folded = (folded * 31 + number + (self.count if late else 0)) % 1_000_003
            self._keep(ctx, number + 1, folded)
        (out.path / "folded.txt").write_text(" ".join([str(folded), *self.words.read()]))

    def _keep(self, ctx: Context, done: int, folded: int) -> None:
        state = ctx.scratch / "state.json"
        if done == self.continues_until():
            kept = ctx.scratch / "kept" / "state.json"
            kept.parent.mkdir()
            kept.write_text(json.dumps([done, folded]))
            ctx.keep(kept, at=done)
        elif done % max(4, self.count // 50) == 0:
            state.write_text(json.dumps([done, folded]))
            ctx.commit(state)

    def _say(self, line: str) -> None:
        if self.trace:
            with open(self.trace, "a") as file:
                file.write(f"{line}\n")


class Late(Fold):
    """Keeps its last state, though how many there are has changed it."""

    def _keep(self, ctx: Context, done: int, folded: int) -> None:
        (ctx.scratch / "state.json").touch()
        ctx.keep(ctx.scratch / "state.json", at=self.count)


def fold(*, words: str = "a", label: str = "", **settings: object) -> Dag:
    """Say, then Fold."""
    return Dag(Fold(words=Say(words=tuple(words.split())).out, label=label, **settings))  # type: ignore[arg-type]
