"""Small real stages for the tests of the core: words in, words out."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from pipeline import Artifact, Context, Dag, Field, Stage, StageFailed


class Words(Artifact):
    """A folder of text files."""

    __slots__ = ()

    def read(self) -> list[str]:
        """The words of every file, in order of the files' names."""
        return [word for path in sorted(self.path.glob("*.txt")) for word in path.read_text().split()]


class Sums(Artifact):
    """Another kind, for mistakes."""

    __slots__ = ()


class Say(Stage[Words]):
    """Writes words, one file each, through ctx.map; notes every call in `trace`, a path outside of the identity's reach."""

    words: tuple[str, ...] = Field(default=("a", "b", "c"), description="the words")
    trace: str = Field(default="", description="file to which each call appends its word")
    die_at: str = Field(default="", description="kill this process, once, before writing this word")

    def run(self, out: Words, ctx: Context) -> None:
        ctx.map(self._say, list(self.words))
        ctx.log(words=len(self.words))

    def _say(self, word: str, folder: Path) -> int:
        if self.trace:
            with open(self.trace, "a") as file:
                file.write(word)
        if word == self.die_at and self.trace and Path(self.trace).read_text().count(word) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        (folder / f"{self.words.index(word):03d}.txt").write_text(word)
        return len(word)


class Upper(Stage[Words]):
    """The words in capitals, each at most `limit` letters long."""

    shows = ("letters",)

    words: Words
    limit: int = Field(default=3, ge=1, description="letters kept of each word")

    def run(self, out: Words, ctx: Context) -> None:
        text = " ".join(word.upper()[: self.limit] for word in self.words.read())
        (out.path / "upper.txt").write_text(text)
        ctx.log(letters=len(text))


class Join(Stage[Words]):
    """The words of several artifacts in one file."""

    parts: tuple[Words, ...]

    def run(self, out: Words, ctx: Context) -> None:
        (out.path / "joined.txt").write_text(" ".join(word for part in self.parts for word in part.read()))


class Fails(Stage[Words]):
    """Fails: by a bug, or as a stage that knows what is wrong."""

    words: Words
    known: bool = Field(default=False, description="raise StageFailed instead of a bug")

    def run(self, out: Words, ctx: Context) -> None:
        if self.known:
            raise StageFailed("nothing is left", mend="give it more")
        raise ValueError("a bug")


def line(*, words: str = "one two", limit: int = 3) -> Dag:
    """Say, then Upper."""
    return Dag(Upper(words=Say(words=tuple(words.split())).out, limit=limit))


class Slow(Say):
    """Says its words one after the other, with a breath after each."""

    def _say(self, word: str, folder: Path) -> int:
        time.sleep(0.3)
        return super()._say(word, folder)


class Held(Say):
    """Says its first words, and the others once the file `gate` is there."""

    gate: str = Field(description="file that is waited for, five minutes at most")
    first: int = Field(default=1, description="how many it says before")

    def _say(self, word: str, folder: Path) -> int:
        for _ in range(30_000):
            if self.words.index(word) < self.first or Path(self.gate).exists():
                break
            time.sleep(0.01)
        return super()._say(word, folder)


class Silent(Stage[Words]):
    """Ends without writing anything."""

    def run(self, out: Words, ctx: Context) -> None:
        pass


class Full(Stage[Words]):
    """Writes to a device that is always full."""

    def run(self, out: Words, ctx: Context) -> None:
        with open("/dev/full", "w") as file:
            file.write("a")


class Fills(Stage[Words]):
    """Writes a file of so many bytes, after a small committed one."""

    size: int = Field(description="bytes")

    def run(self, out: Words, ctx: Context) -> None:
        ctx.map(self._small, [0])
        (out.path / "large.txt").write_bytes(b"x" * self.size)

    def _small(self, number: int, folder: Path) -> int:
        (folder / "small.txt").write_text("small")
        return number


class Breathes(Say):
    """Says its words one after the other, each after so many seconds, noting on the way how long it has waited."""

    seconds: tuple[float, ...] = Field(description="seconds before each word")

    def _say(self, word: str, folder: Path) -> int:
        value = super()._say(word, folder)
        for tenth in range(int(self.seconds[self.words.index(word)] * 10)):
            time.sleep(0.1)
            (folder / f"breathed-{tenth / 10}").touch()
        for breath in folder.glob("breathed-*"):
            breath.unlink()
        return value
