"""The command line: instant where nothing runs, one clear error where something is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("ray", "torch", "mlflow", "modal", "transformers", "datatrove", "pyarrow", "numpy")

MINE = """
from pipeline import Dag
from tests.pipeline.toys import Fails, Say, Upper

def mine(*, words: str = "one two", limit: int = 3) -> Dag:
    return Dag(Upper(words=Say(words=tuple(words.split())).out, limit=limit), summary=told)

def told(outcome):
    return ["letters: %d" % outcome.manifests["upper"].metrics["letters"]]

def fails() -> Dag:
    return Dag(Fails(words=Say().out))
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "own_dags.py").write_text(MINE)
    return tmp_path


def corpusmill(home: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "CORPUSMILL_STORE": str(home / "store"), **environment}
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", *words]
    return subprocess.run(command, cwd=Path(__file__).parents[2], env=env, capture_output=True, text=True, check=False)


def run_mine(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return corpusmill(home, "run", f"{home}/own_dags.py:{words[0]}", "--on", "inline", "--tracker", "none", *words[1:])


def test_a_users_dag_in_a_folder_of_its_own_runs_and_shows_its_summary(home: Path) -> None:
    done = run_mine(home, "mine", "words=alpha beta")
    assert done.returncode == 0, done.stderr
    assert "never built" in done.stdout and "✓ upper" in done.stdout and done.stdout.endswith("letters: 7\n")
    again = run_mine(home, "mine", "words=alpha beta")
    assert again.stdout.splitlines()[0].startswith("mine: done in") and "2 cached" in again.stdout
    assert again.stdout.endswith("letters: 7\n")


def test_plan_prints_a_table_and_json(home: Path) -> None:
    table = corpusmill(home, "plan", f"{home}/own_dags.py:mine")
    assert table.returncode == 0 and "upper  run" in table.stdout
    rows = json.loads(corpusmill(home, "plan", f"{home}/own_dags.py:mine", "--json").stdout)
    assert [row["label"] for row in rows["stages"]] == ["say", "upper"]


def test_a_failed_stage_ends_in_exit_code_1_without_a_traceback(home: Path) -> None:
    failed = run_mine(home, "fails")
    assert failed.returncode == 1
    assert (
        "✗ fails: stage 'fails': ValueError: a bug" in failed.stdout
        and "Traceback" not in failed.stdout + failed.stderr
    )
    assert failed.stderr.startswith("error: some stages have no artifact")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("plan", "quickstat"), "did you mean 'quickstart'"),
        (("run", "quickstart", "stesp=3"), "quickstart has no dial 'stesp'; did you mean 'steps'?"),
        (("run", "quickstart", "steps=many"), "the dial steps of quickstart wants int, but was given 'many'"),
        (("run", "quickstart", "--only", "dedpu"), "did you mean 'dedup'"),
        (("run", "quickstart", "--on", "slurm"), "no executor is called 'slurm'; there are: inline, modal, ray"),
        (("plan", "nowhere.py:f"), "no such file: nowhere.py"),
    ],
)
def test_a_mistake_is_one_clear_error_and_nothing_is_written(home: Path, words: tuple[str, ...], message: str) -> None:
    done = corpusmill(home, *words)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
    assert not list((home / "store").glob("[a-z]*")) if (home / "store").exists() else True


def test_a_store_that_is_no_directory_is_one_clear_error(home: Path) -> None:
    (home / "store").write_text("")
    done = corpusmill(home, "plan", f"{home}/own_dags.py:mine")
    assert done.returncode == 1 and "cannot be made" in done.stderr and "--store" in done.stderr


def test_help_names_every_command_and_imports_nothing_heavy(home: Path) -> None:
    assert {"plan", "run", "ui", "serve", "chat"} <= set(corpusmill(home, "--help").stdout.split())
    assert heavy_imports(home, "--help", beside=("pydantic",)) == []


def test_plan_and_a_cached_run_import_nothing_heavy(home: Path) -> None:
    assert run_mine(home, "mine").returncode == 0
    assert heavy_imports(home, "plan", "quickstart") == []
    assert heavy_imports(home, "plan", "quickstart", "--on", "modal", "--places", beside=("infra.modal_prices",)) == []
    assert heavy_imports(home, "run", f"{home}/own_dags.py:mine") == []


def heavy_imports(home: Path, *words: str, beside: tuple[str, ...] = ()) -> list[str]:
    """The heavy packages, and those named beside them, that the command has in sys.modules when it ends."""
    code = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print('HEAVY', *[m for m in {[*HEAVY, *beside]!r} if m in sys.modules]))\n"
        "from pipeline.cli import main; main()"
    )
    env = {**os.environ, "CORPUSMILL_STORE": str(home / "store")}
    done = subprocess.run([sys.executable, "-c", code, *words], env=env, capture_output=True, text=True, check=True)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("HEAVY")]
    return line.split()[1:]


def test_a_command_whose_package_is_missing_says_what_to_install(home: Path) -> None:
    folder = home / "moonshine-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: moonshine\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[corpusmill.commands]\nmoon = no_such_package_at_all:moon\n")
    paths = os.pathsep.join([str(home), os.environ.get("PYTHONPATH", "")])
    done = corpusmill(home, "moon", PYTHONPATH=paths)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: moon needs the package 'no_such_package_at_all'")
    assert "(needs the package no_such_package_at_all)" in corpusmill(home, "--help", PYTHONPATH=paths).stdout


def test_an_unknown_executor_is_one_error_and_nothing_is_started(home: Path) -> None:
    done = corpusmill(home, "run", f"{home}/own_dags.py:mine", "--on", "rey", "--tracker", "none")
    assert done.returncode == 2 and "error: no executor is called 'rey'; there are: " in done.stderr
    assert "Traceback" not in done.stderr and not (home / "store" / ".runs").exists()


@pytest.mark.parametrize("words", [["plan", "mine"], ["plan", "mine", "--json"], ["run", "mine", "--on", "inline"]])
def test_a_reader_that_has_gone_is_no_traceback(home: Path, words: list[str]) -> None:
    command = [
        sys.executable,
        "-c",
        "from pipeline.cli import main; main()",
        words[0],
        f"{home}/own_dags.py:{words[1]}",
    ]
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone:
        done = subprocess.run(
            [*command, *words[2:], *(["--tracker", "none"] if words[0] == "run" else [])], stdout=gone,
            stderr=subprocess.PIPE, text=True, env={**os.environ, "CORPUSMILL_STORE": str(home / "store")}, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")


DEAR = """
from pipeline import Dag, Resources
from tests.pipeline.toys import Slow

def dear(*, dollars: float = 3600.0):
    words = tuple(f"w{number}" for number in range(20))
    return Dag(Slow(words=words, resources=Resources(dollars_per_hour=dollars)))
"""


def test_a_decision_is_asked_for_with_exit_code_3_and_the_ways_on(home: Path) -> None:
    (home / "dear.py").write_text(DEAR)
    words = ["run", f"{home}/dear.py:dear", "--on", "inline", "--tracker", "none"]
    stopped = corpusmill(home, *words, "--max-cost", "0.5")
    assert stopped.returncode == 3 and "Traceback" not in stopped.stderr
    assert "were spent, and --max-cost is $0.50; what was committed is kept" in stopped.stderr
    assert "→ raise the limit, then run again: corpusmill run" in stopped.stderr
    assert "slow   stopped" in stopped.stdout and "0 cached, 1 to run" in stopped.stdout
    assert corpusmill(home, *words).returncode == 0
    planned = corpusmill(home, "plan", *words[1:2], "--rebuild", "slow")
    assert "$" in planned.stdout.splitlines()[1], "a priced stage shows its dollars"
    refused = corpusmill(home, *words, "--rebuild", "slow", "--max-cost", "0.5")
    assert refused.returncode == 3 and "expected to cost $" in refused.stderr
