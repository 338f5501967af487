"""What a person may get wrong in a dag ends in one error that names the place and the mend; nothing is started or written."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline import Dag, DagError
from pipeline.cli import main
from pipeline.plan import plan
from pipeline.store import Store
from tests.pipeline.toys import Join, Say, Upper

HEAD = "from pipeline import Dag\nfrom tests.pipeline.toys import Join, Say, Silent, Sums, Upper\n\n"
NUMBERS = itertools.count()


class Told(NamedTuple):
    code: int
    out: str
    err: str
    file: str


Command = Callable[..., Told]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command on a file of that text, of a name of its own each time, and tells how it ended."""

    def run(verb: str, text: str, *words: str) -> Told:
        file = f"bad_input_{next(NUMBERS)}.py"
        (tmp_path / file).write_text(text)
        store = str(tmp_path / "store")
        monkeypatch.setattr(sys, "argv", ["corpusmill", verb, f"{tmp_path}/{file}:own", "--store", store, *words])
        monkeypatch.setattr(sys, "path", [*sys.path])
        with pytest.raises(SystemExit) as end:
            main()
        monkeypatch.delitem(sys.modules, file[:-3], raising=False)
        read = capsys.readouterr()
        assert not (tmp_path / "store").exists() or verb == "run"
        return Told(int(end.value.code or 0), read.out, read.err, file)

    return run


OWN = (
    "from typing import Any\nfrom pipeline import Stage\nfrom tests.pipeline.toys import Words\n\n"
    "class Own(Stage[Words]):\n    rule: Any\n\n"
)
DAG = "def own(*, limit: int = 3) -> Dag:\n"
CIRCLE = DAG + (
    "    one = Upper(words=Say().out, label='one')\n    two = Upper(words=one.out, label='two')\n"
    "    object.__setattr__(one, 'words', two.out)\n    return Dag(two)\n"
)


@pytest.mark.parametrize(
    ("text", "words", "told"),
    [
        (
            HEAD + CIRCLE,
            (),
            "FILE:8: the dag goes round in a circle: two needs one needs two\n  → give one an input that does not need two",
        ),
        (
            HEAD + DAG + "    return Dag(Say(), Upper(words=Say().out))\n",
            (),
            "FILE:5: two stages are labelled 'say' (Say and Say)\n  → give one",
        ),
        (
            HEAD + DAG + "    return Dag(Upper(words=Sums('x')))\n",
            (),
            "FILE:5: Upper.words wants Words, but Sums('x') is Sums; give it",
        ),
        (
            HEAD + DAG + "    return Dag(Upper(words=Say().out, limt=limit))\n",
            (),
            "FILE:5: Upper has no setting 'limt'; did you mean 'limit'?",
        ),
        (
            HEAD + DAG + "    return Dag(Upper(words=Say()))\n",
            (),
            "FILE:5: Upper.words wants an artifact, but was given the stage 'say'; did you",
        ),
        (
            HEAD + DAG + "    return Dag(Upper(words=Say().out))\n",
            ("limti=3",),
            "own has no dial 'limti'; did you mean 'limit'?",
        ),
        (
            HEAD + DAG + "    return Dag(Upper(words=Say().out))\n",
            ("limit=many",),
            "own wants int, but was given 'many'\n  → its dials are: limit=3",
        ),
        (HEAD + DAG + "    Dag(Say())\n", (), "own returns None, not a Dag\n  → end it with return Dag(…)"),
        (HEAD + DAG + "    return Dag(Say(\n", (), "FILE:5: SyntaxError: '(' was never closed\n  → mend the file"),
        (
            "import no_such_package.inner\n",
            (),
            "FILE:1: there is no module 'no_such_package'\n  → install the package that brings",
        ),
        (
            HEAD + DAG + "    from no_such_package import x\n",
            (),
            "FILE:5: there is no module 'no_such_package'\n  → install",
        ),
        ("from pipeline import Dagg\n", (), "FILE:1: ImportError: cannot import name 'Dagg' from 'pipeline'"),
        (HEAD + "def won() -> Dag:\n    return Dag(Say())\n", (), "has no function 'own'\n  → did you mean 'won'?"),
        (HEAD + DAG + "    return Dag(Say(words=(limit,)))\n", (), "FILE:5: Say.words"),
        (HEAD + OWN + DAG + "    return Dag(Own(rule=lambda: limit))\n", (), "own.rule is "),
        (
            HEAD + OWN + DAG + "    return Dag(Own(rule={'a': object()}))\n",
            (),
            "own.rule.a is a builtins.object, which has",
        ),
        (HEAD + OWN + DAG + "    a = []\n    a.append(a)\n    return Dag(Own(rule=a))\n", (), "FILE:14: rule.0.0.0"),
        (HEAD + DAG + "    return Dag(Join(parts=(Say().out, None)))\n", (), "FILE:5: Join.parts"),
        (
            HEAD + DAG + "    from pipeline import Resources\n    return Dag(Say(resources=Resources(cpus=-1)))\n",
            (),
            "FILE:6: Resources.cpus = -1: Input should be greater than or equal to 0\n  → mend the file",
        ),
    ],
)
def test_a_mistake_in_a_dag_is_one_error_with_its_place_and_mend(
    command: Command, text: str, words: tuple[str, ...], told: str
) -> None:
    end = command("plan", text, *words)
    assert (end.code, end.out) == (2, "") and end.err.startswith("error: ")
    assert told.replace("FILE", end.file) in end.err
    assert "Traceback" not in end.err and end.err.count("error:") == 1


def test_a_stage_that_writes_nothing_fails_and_says_what_it_owes(command: Command) -> None:
    end = command("run", HEAD + DAG + "    return Dag(Silent())\n", "--on", "inline", "--tracker", "none")
    assert end.code == 1 and "Traceback" not in end.out + end.err
    assert (
        "stage 'silent' ended without writing a file\n  → tests.pipeline.toys:Silent.run must fill out.path" in end.out
    )


def circle(length: int) -> Dag:
    first: Say | Upper = Upper(words=Say().out, label="u0")
    last = first
    for number in range(1, length):
        last = Upper(words=last.out, label=f"u{number}")
    object.__setattr__(first, "words", last.out)
    return Dag(Join(parts=(Say().out, last.out)))


@pytest.mark.parametrize("length", [1, 2, 3000])
def test_a_circle_of_any_length_is_told_and_never_followed(length: int) -> None:
    with pytest.raises(DagError, match=rf"round in a circle: u{length - 1} needs .*u{length - 1}$"):
        try:
            circle(length)
        except DagError as fault:
            raise DagError(fault.message) from fault


def test_two_ways_to_one_stage_are_no_circle() -> None:
    say = Say()
    one = Upper(words=say.out, label="one")
    assert len(Dag(Join(parts=(one.out, say.out, one.out, Upper(words=one.out).out)), one, say).stages) == 4


def test_a_thousand_stages_in_a_line_are_planned(tmp_path: Path) -> None:
    last: Say | Upper = Say()
    for number in range(1000):
        last = Upper(words=last.out, label=f"u{number}")
    entries = plan(Dag(last), Store(str(tmp_path))).entries
    assert len(entries) == 1001 and {entry.state for entry in entries.values()} == {"run"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import broken_helper\n", "broken_helper.py:1: SyntaxError"),
        (HEAD + CIRCLE, "in a circle: two needs one needs two"),
    ],
)
def test_the_command_itself_shows_no_traceback(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "broken_helper.py").write_text("x = (\n")
    (tmp_path / "mine_alone.py").write_text(text)
    words = [str(Path(sys.executable).parent / "corpusmill"), "run", "mine_alone.py:own"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and told in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / ".corpusmill").exists()
