"""The command that resumes pays for nothing twice, and is one that can be given."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.resuming import command

CHAIN = """
from pathlib import Path
from pipeline import Artifact, Dag, Stage

def said(text):
    return text + ONCE

ONCE = "!"

class First(Stage[Artifact]):
    trace: str
    def run(self, out, ctx):
        with open(self.trace, "a") as file:
            file.write("1")
        (out.path / "said.txt").write_text(said(Path(self.trace).read_text()))

class Second(Stage[Artifact]):
    first: Artifact
    trace: str
    def run(self, out, ctx):
        with open(self.trace, "a") as file:
            file.write("2")
        if not Path("mended").exists():
            raise ValueError("not yet")
        (out.path / "said.txt").write_text("2")

def chain(*, trace: str = "trace") -> Dag:
    return Dag(Second(first=First(trace=trace).out, trace=trace))
"""
ALONE = "import sys; sys.path.insert(0, {root!r}); from pipeline.cli import main; main()"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "chains.py").write_text(CHAIN)
    return tmp_path


def corpusmill(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    code = ALONE.format(root=str(Path(__file__).parents[2]))
    return subprocess.run([sys.executable, "-c", code, *words], cwd=home, capture_output=True, text=True, check=False)


def run(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    plain = ("--on", "inline", "--tracker", "none", "--store", "store")
    return corpusmill(home, "run", "chains.py:chain", *plain, *words)


@pytest.mark.parametrize("asked", [["--rebuild", "first"], ["--from=First"]])
def test_what_was_built_again_before_a_failure_is_not_built_once_more(home: Path, asked: list[str]) -> None:
    (home / "mended").touch()
    run(home)
    (home / "mended").unlink()
    failed = run(home, *asked)
    assert failed.returncode == 1 and (home / "trace").read_text() == "1212", failed.stderr
    (home / "mended").touch()
    again = shlex.split(failed.stderr.partition("run again: ")[2])
    gone_on = corpusmill(home, *again[1:])
    assert gone_on.returncode == 0 and (home / "trace").read_text() == "12122", gone_on.stderr


def test_what_was_accepted_before_a_failure_may_be_accepted_once_more(home: Path) -> None:
    run(home)
    (home / "chains.py").write_text(CHAIN.replace('ONCE = "!"', 'ONCE = "?"'))
    failed = run(home, "--accept", "first")
    assert failed.returncode == 1
    (home / "mended").touch()
    gone_on = corpusmill(home, *shlex.split(failed.stderr.partition("run again: ")[2])[1:])
    assert gone_on.returncode == 0 and (home / "trace").read_text() == "1222", gone_on.stderr


def test_what_is_left_to_do_stays_in_the_command() -> None:
    asked = ["run", "mine.py:mine", "text=a b", "--rebuild", "First", "--rebuild=second", "--from", "first"]
    assert command(asked) == "corpusmill run mine.py:mine 'text=a b' --rebuild First --rebuild=second --from first"
    assert command(asked, {"first"}, ["second"]) == (
        "corpusmill run mine.py:mine 'text=a b' --rebuild=second --from second"
    )
    assert command(asked[-2:], {"first"}, ["left", "right"]) == "corpusmill --from first", "either may be below it"
