"""The whole chain at its smallest, as a person runs it: on Ray, in a terminal, told to MLflow, killed and run again."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from pipeline.manifest import Manifest
from pipeline.store import Store
from tests.dags import walk
from tests.processes import below, left

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LABELS = (
    "collect-pydoc|filter-pages|collect-tales|filter-tales|dedup|train-tokenizer|encode|pretrain|collect-facts|sft|"
    "collect-preferences|dpo|quantize|serve|evaluate-base|evaluate-small"
)
OURS = (
    r"",
    r"stage +state +last +expected +why",
    rf"({LABELS}) +(run|runs|cached|drift) +(–|\d.*) +(–|unknown|\d.*?)( +\S.*)?",
    r"\d+ cached, \d+ to run.*",
    rf". ({LABELS}|starting) +.*\d+/(\d+|\?) ?.*:\d\d.*",  # a bar of the live progress
    rf"✓ ({LABELS}) +\d.*",
    rf"  ({LABELS}): goes on from where it was stopped",
    r"stage +ended +took +forecast +CPU",
    rf"({LABELS}) +finished +\d.* +unknown +[\d,.]+ s",
    r"in all +\d.* +unknown +[\d,.]+ s",
    r"smallest: done in .*",
    r"answered: \d of 1",
)
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Run(NamedTuple):
    """A run that has ended: its store, its code, and every line that the terminal was given."""

    store: Path
    code: int
    lines: list[str]


def command(store: Path, dag: str, *words: str) -> list[str]:
    corpusmill = str(Path(sys.executable).parent / "corpusmill")
    return [corpusmill, "run", f"{ROOT}/tests/dags/smallest.py:{dag}", "--store", str(store), *words]


def in_a_terminal(words: list[str], mark: str) -> tuple[int, str, int]:
    """Run `words`, marked, with a terminal of 160 columns for its three streams; exit code, all that was written, and how
    many marked processes were seen at once."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "160", "TERM": "xterm-256color", "CHAIN_MARK": mark}
    running = subprocess.Popen(words, cwd=ROOT, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    text, most, looked = b"", 0, time.monotonic()
    with contextlib.suppress(OSError):  # Linux ends a pty's stream with EIO
        while block := os.read(ours, 65536):
            text += block
            if time.monotonic() - looked > 2:
                most, looked = max(most, len(marked(mark))), time.monotonic()
    os.close(ours)
    return running.wait(), text.decode(), most


def marked(mark: str) -> list[str]:
    """The command of each living process that was given `mark` by its environment, however far below the run."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("CHAIN_MARK") == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    store = tmp_path_factory.mktemp("whole") / "store"
    code, text, most = in_a_terminal(command(store, "smallest"), str(store))
    assert most > 5 and marked(str(store)) == [], "processes were left behind"
    return Run(store, code, re.split(r"[\r\n]+", ESCAPES.sub("", text)))


HERE = ["--on", "inline", "--tracker", "none"]


def manifests(store: Path) -> dict[str, Manifest]:
    opened = Store(str(store))
    return {made.label: made for stage in opened.stages() for made in reversed(opened.of_stage(stage))}


def test_pages_and_tales_become_a_model_that_answers(whole: Run) -> None:
    assert whole.code == 0, "\n".join(whole.lines)
    assert "answered: 1 of 1" in whole.lines
    assert set(manifests(whole.store)) == set(LABELS.split("|"))


def test_every_line_on_the_terminal_is_ours(whole: Run) -> None:
    foreign = [line for line in whole.lines if not any(re.fullmatch(ours, line.rstrip()) for ours in OURS)]
    assert foreign == []


def test_a_second_run_ends_in_the_same_words_without_ray(whole: Run, tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise SystemExit('Ray is imported')")
    again = subprocess.run(
        command(whole.store, "smallest"), env=first_on_the_path(tmp_path), capture_output=True, text=True
    )
    assert (again.returncode, again.stderr) == (0, "")
    assert re.fullmatch(r"smallest: done in \d.* s \(16 cached\)\nanswered: 1 of 1\n", again.stdout)


def test_mlflow_holds_the_run_its_stages_and_the_champion(whole: Run) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{whole.store}/.mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("smallest")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    made = manifests(whole.store)
    assert set(made) < set(runs) and {run.info.status for run in runs.values()} == {"FINISHED"}
    inputs = {item.dataset.name for item in runs["dpo"].inputs.dataset_inputs}
    assert inputs == {"sft", "collect-preferences", "dpo"}, "its two inputs, and its own output"
    champion = client.get_model_version_by_alias("smallest", "champion")
    assert champion.tags["corpusmill.digest"] == made["quantize"].digest


def test_a_changed_dial_reruns_its_stage_and_what_its_bytes_change(whole: Run) -> None:
    done = subprocess.run(
        command(whole.store, "smallest", "threshold=0.81", *HERE), capture_output=True, text=True, check=True
    ).stdout
    assert re.search(r"dedup +run .*threshold 0.8 → 0.81", done)
    assert re.search(r"pretrain +runs .*unless", done)
    assert "1 finished, 15 cached" in done, "the same documents are unique at .81: nothing below may run"


@pytest.mark.skipif(not walk.browser(), reason="no Chromium is installed")
def test_a_person_clicks_from_the_champion_to_a_raw_source_and_back_down_to_the_model(
    whole: Run, tmp_path: Path
) -> None:
    with walk.served(str(whole.store)) as address:
        met = walk.walk(address, "smallest", tmp_path)
    *way, run, graph, funnel, loss = met
    assert way == ["Version 1", walk.SOURCE, *walk.DOWN] and walk.RUN.match(run)
    assert (graph, funnel, loss) == ("graph.svg", "funnel.svg", "loss.svg"), "the pictures on the page of the run"


STEPS = "steps=60"


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a run that nobody disturbs; inline, for where it ran is no part of what it made."""
    store = tmp_path_factory.mktemp("quiet") / "store"
    subprocess.run(command(store, "base", STEPS, *HERE), stdout=subprocess.DEVNULL, check=True)
    return store


def digests(store: Path) -> dict[str, str]:
    return {label: made.digest for label, made in manifests(store).items()}


@pytest.mark.parametrize("stage", ["dedup", "pretrain"])
def test_killed_inside_a_stage_on_ray_the_next_run_goes_on_where_it_was_even_without(
    stage: str, quiet: Path, tmp_path: Path
) -> None:
    store = shutil.copytree(quiet, tmp_path / "store")
    shutil.rmtree(store / stage)
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "sitecustomize.py").write_text(HELD)
    environment = first_on_the_path(tmp_path / "first") | {"CHAIN_HELD": f"/.partial/{stage}/"}
    words = command(store, "base", STEPS, "--tracker", "none")
    with tree_of(subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL)) as kill:
        until_committed(store, stage)
        kill()
    assert committed(store, stage), "the kill came before the first commit was read back"
    assert not (store / stage).exists(), "the stage had ended before the kill"
    again = subprocess.run(command(store, "base", STEPS, *HERE), capture_output=True, text=True, check=True).stdout
    assert f"{stage}: goes on from where it was stopped" in again
    assert digests(store) == digests(quiet)


HELD = """
import os, sys, time
if any(word.endswith("default_worker.py") for word in sys.orig_argv):
    from pipeline.workspace import Workspace
    record = Workspace._record
    def held(self, *given):
        record(self, *given)
        if os.environ["CHAIN_HELD"] in str(self.folder):
            time.sleep(3600)
    Workspace._record = held
"""
"""In Ray's workers a stage stops at its first commit, or it might have ended before it is killed."""


def first_on_the_path(folder: Path) -> dict[str, str]:
    """The environment of a command, and of all below it, in which Python looks into `folder` first."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), os.environ["PYTHONPATH"]))}


def committed(store: Path, stage: str) -> list[Path]:
    return list(store.glob(f".partial/{stage}/*/*/commits/*.json"))


def until_committed(store: Path, stage: str) -> None:
    deadline = time.monotonic() + 300
    while not committed(store, stage):
        assert time.monotonic() < deadline, f"{stage} committed nothing"
        time.sleep(0.02)


@contextlib.contextmanager
def tree_of(running: subprocess.Popen[bytes]) -> Iterator[object]:
    """Gives a function that kills the process and all below it, -9, those that moved to another session too."""

    def kill() -> None:
        tree = [psutil.Process(running.pid), *below(running.pid)]
        for process in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        assert left(tree, 60) == []

    try:
        yield kill
    finally:
        running.kill()
        running.wait()
