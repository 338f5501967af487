"""Small real stages that make visible how an executor runs them."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from string import ascii_letters

from pipeline import Context, Field, Stage
from pipeline.errors import SourceError
from tests.pipeline.toys import Words

PATIENCE_SECONDS = 500.0


class Meets(Stage[Words]):
    """Ends only once every stage that shares its `place` has begun."""

    name: str = Field(default="a", description="its own name")
    place: str = Field(default="", description="folder in which all of them show themselves")
    number: int = Field(default=2, description="how many must meet")

    def run(self, out: Words, ctx: Context) -> None:
        (Path(self.place) / self.name).touch()
        _until(lambda: len(list(Path(self.place).iterdir())) >= self.number)
        (out.path / "met.txt").write_text(self.name)


class Maps(Stage[Words]):
    """Shards that take a moment each; with `together`, so many of them must run at the same time.

    With `gate`, all but the first `free` wait for that file; with `hurry`, they take no time once that file is there.
    """

    name: str = Field(default="a", description="its own name")
    shards: int = Field(default=4, description="how many")
    seconds: float = Field(default=0.2, description="that each takes")
    place: str = Field(default="", description="folder in which the running shards show themselves")
    together: int = Field(default=1, description="how many must run at once, once")
    trace: str = Field(default="", description="file to which each shard appends its letter as it begins")
    gate: str = Field(default="", description="file that shards wait for")
    free: int = Field(default=0, description="how many do not wait for it")
    hurry: str = Field(default="", description="file that ends the moment which each takes")

    def run(self, out: Words, ctx: Context) -> None:
        ctx.map(self._shard, list(range(self.shards)))

    def _shard(self, index: int, folder: Path) -> int:
        print(f"shard {index} of {self.name}")
        if self.trace:
            with open(self.trace, "a") as file:
                file.write(ascii_letters[index])
        if self.place:
            (Path(self.place) / f"{self.name}-{index}").touch()
            _until(lambda: len(list(Path(self.place).iterdir())) >= self.together)
        if index >= self.free:
            _wait_for(self.gate)
        _rest(self.seconds, self.hurry)
        (folder / f"{index:03d}.txt").write_text(self.name)
        return index


class Spreads(Stage[Words]):
    """A shard for each file of its input, which notes in `trace` the machine and its number, waits for `gate`, and takes a moment."""

    words: Words
    seconds: float = Field(default=0.5, description="that each takes")
    trace: str = Field(default="", description="file to which each shard appends a line")
    gate: str = Field(default="", description="file that shards wait for")

    def run(self, out: Words, ctx: Context) -> None:
        ctx.map(self._shard, [[number, path] for number, path in enumerate(sorted(self.words.path.iterdir()))])

    def _shard(self, item: tuple[int, Path], folder: Path) -> int:
        number, path = item
        if self.trace:
            import ray

            with open(self.trace, "a") as file:
                file.write(f"{ray.util.get_node_ip_address()} {number}\n")
        _wait_for(self.gate)
        time.sleep(self.seconds)
        (folder / f"{number:03d}.txt").write_text(path.read_text().upper())
        return number


class DiesBetween(Stage[Words]):
    """Two maps, between which the process of the stage itself is killed as often as `times` says."""

    trace: str = Field(default="", description="file to which each call appends its word")
    times: int = Field(default=1, description="how often it is killed")

    def run(self, out: Words, ctx: Context) -> None:
        ctx.map(self._first, ["a", "b"])
        with open(self.trace, "a") as file:
            file.write("|")
        if Path(self.trace).read_text().count("|") <= self.times:
            os.kill(os.getpid(), signal.SIGKILL)
            os._exit(137)  # the first process of a container does not die of its own signal
        ctx.map(self._second, ["c", "d"])

    def _first(self, word: str, folder: Path) -> int:
        return self._write(word, folder)

    def _second(self, word: str, folder: Path) -> int:
        return self._write(word, folder)

    def _write(self, word: str, folder: Path) -> int:
        with open(self.trace, "a") as file:
            file.write(word)
        (folder / f"{word}.txt").write_text(word)
        return 1


class Misses(Stage[Words]):
    """Cannot find its source: raised in the stage itself, or in one of its shards."""

    in_shard: bool = Field(default=False, description="raise it in a shard")
    bug: bool = Field(default=False, description="raise a bug instead")
    trace: str = Field(default="", description="file to which each call appends a letter")

    def run(self, out: Words, ctx: Context) -> None:
        if self.in_shard:
            ctx.map(self._miss, ["a"])
        self._miss("a", out.path)

    def _miss(self, word: str, folder: Path) -> int:
        if self.trace:
            with open(self.trace, "a") as file:
                file.write("x")
        (folder / "half.txt").write_text("half")
        if self.bug:
            raise ZeroDivisionError("by nought")
        raise SourceError("pages.html is not there", mend="fetch it first")


class Ganged(Stage[Words]):
    """Writes what each worker of a gang saw of torchrun's contract."""

    workers: int = Field(default=2, description="how many")

    def run(self, out: Words, ctx: Context) -> None:
        seen = ctx.gang(_rank, self.workers)
        (out.path / "seen.txt").write_text(" ".join(seen))


class Sleeps(Stage[Words]):
    """Takes its time."""

    seconds: float = Field(default=60.0, description="how long")
    begun: str = Field(default="", description="file that shows it has begun")

    def run(self, out: Words, ctx: Context) -> None:
        if self.begun:
            Path(self.begun).write_text(str(os.getpid()))
        time.sleep(self.seconds)
        (out.path / "slept.txt").write_text("slept")


class Spans(Stage[Words]):
    """Notes when it begins, and, after giving another the time to do the same, when it ends."""

    name: str = Field(default="a", description="its own name")
    trace: str = Field(default="", description="file to which it appends")
    seconds: float = Field(default=1.0, description="that it gives another")

    def run(self, out: Words, ctx: Context) -> None:
        self._note("begins")
        deadline = time.monotonic() + self.seconds
        while Path(self.trace).read_text().split().count("begins") < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        self._note("ends")
        (out.path / "spanned.txt").write_text(self.name)

    def _note(self, word: str) -> None:
        with open(self.trace, "a") as file:
            file.write(f"{word} ")


class Stuck(Stage[Words]):
    """Commits a file, then never comes back from C code, where no signal reaches it: in itself or in a shard."""

    in_shard: bool = Field(default=False, description="be stuck in a shard")

    def run(self, out: Words, ctx: Context) -> None:
        # Its limit is not to cut the commit short, however slow the disk is.
        alarm = signal.signal(signal.SIGALRM, signal.SIG_IGN)
        (ctx.scratch / "kept").write_text("kept")
        ctx.commit(ctx.scratch / "kept")
        signal.signal(signal.SIGALRM, alarm)
        if self.in_shard:
            ctx.map(self._stay, ["a"])
        self._stay("a", out.path)

    def _stay(self, word: str, folder: Path) -> int:
        deque(itertools.count(), maxlen=0)
        return 1


class Stubborn(Stage[Words]):
    """Commits a shard, then waits, and goes on waiting whatever is raised."""

    trace: str = Field(default="", description="file to which its first shard appends")
    seconds: float = Field(default=600.0, description="how long it waits")

    def run(self, out: Words, ctx: Context) -> None:
        ctx.map(self._first, ["first"])
        while self.seconds:
            with contextlib.suppress(Exception):
                time.sleep(self.seconds)

    def _first(self, word: str, folder: Path) -> int:
        with open(self.trace, "a") as file:
            file.write(word)
        (folder / "first.txt").write_text(word)
        return 1


class Sees(Stage[Words]):
    """Writes what it sees in a folder, and its home."""

    place: str = Field(default="", description="the folder")

    def run(self, out: Words, ctx: Context) -> None:
        (out.path / "seen.txt").write_text(f"{os.listdir(self.place)} {os.environ['HOME']}")


class Sits(Stage[Words]):
    """Writes which types of accelerators the machine of the cluster has that it is on, and stays there until `gate` is there."""

    seed: str = Field(default="", description="tells two of them apart")
    gate: str = Field(default="", description="file that it waits for")

    def run(self, out: Words, ctx: Context) -> None:
        import ray

        here = ray.get_runtime_context().get_node_id()
        (has,) = [node["Resources"] for node in ray.nodes() if node["NodeID"] == here]
        _wait_for(self.gate)
        (out.path / "has.txt").write_text(" ".join(sorted(name for name in has if name.startswith("accelerator_type"))))


class Tells(Stage[Words]):
    """Writes where it runs: its folder, its threads, whether its output is a terminal."""

    seed: int = Field(default=0, description="tells two of them apart")

    def run(self, out: Words, ctx: Context) -> None:
        print("to stdout")
        print("to stderr", file=sys.stderr)
        os.write(2, b"below Python\n")
        (out.path / "told.txt").write_text(f"{Path.cwd()} {os.environ.get('OMP_NUM_THREADS')}")


class Timed(Maps):
    """Shards that write how many seconds each took."""

    def _shard(self, index: int, folder: Path) -> int:
        began = time.monotonic()
        super()._shard(index, folder)
        (folder / f"{index:03d}.txt").write_text(f"{time.monotonic() - began:.3f}")
        return index


def _rank() -> str:
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR")
    assert int(os.environ["MASTER_PORT"]) > 0
    return ":".join(os.environ[name] for name in names)


def _wait_for(gate: str) -> None:
    _until(lambda: not gate or Path(gate).exists())


def _rest(seconds: float, hurry: str) -> None:
    """Let so many seconds pass, or what is left of them when the file `hurry` is there."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0 and not (hurry and Path(hurry).exists()):
        time.sleep(min(left, 0.02) if hurry else left)


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError("the others did not come")
        time.sleep(0.02)
