"""A Ray node of its own: all that goes between it and the driver goes over the wire, through the store on S3."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import UsageError
from pipeline.executor import check_reach
from pipeline.store import Store
from tests.executors.helpers import Hand
from tests.executors.node import Node
from tests.executors.stages_for_tests import Sees

pytestmark = pytest.mark.slow

DAG = """
from pipeline import Dag
from tests.pipeline.toys import Say, Upper

def words() -> Dag:
    return Dag(Upper(words=Say(words=("over", "the", "wire")).out))
"""


def test_it_sees_no_folder_of_the_driver_and_the_driver_none_of_its_own(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in node.environment.items():
        monkeypatch.setenv(name, value)
    hand = Hand(node.executor, f"{node.s3.bucket()}/store")
    (node.hidden / "here").touch()
    seen, home = hand.text(hand.made(Sees(place=str(node.hidden)))).split()
    assert seen == "[]" and home != os.environ["HOME"]
    assert hand.store.local.is_relative_to(node.hidden), "what was read has come over the wire"


def test_the_command_line_names_it_by_its_address(node: Node, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(DAG)
    words = ["run", f"{tmp_path}/mine.py:words", "--executor", node.address, "--tracker", "none"]
    store = f"{node.s3.bucket()}/store"
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", *words, "--store", store]
    done = subprocess.run(command, env={**os.environ, **node.environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "words: done in" in done.stdout, done.stdout + done.stderr
    assert done.stderr == ""


def test_a_store_that_it_cannot_reach_is_refused(node: Node, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder of this machine, and the executor 'ray' works on others"):
        check_reach(node.executor, Store(str(tmp_path)).files)
