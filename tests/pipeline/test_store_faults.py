"""Whatever goes wrong with a store's disk ends in one error that names the place and the mend, never in a traceback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline import StoreError
from pipeline.executor import Inline
from pipeline.outcome import Outcome
from pipeline.plan import plan
from pipeline.run import run
from pipeline.store import Store
from tests.house import ROOT
from tests.pipeline.toys import line

NOBODY = 65534


@pytest.fixture
def root() -> Iterator[Path]:
    """The root of a store that every user reaches, with one run in it."""
    home = Path(tempfile.mkdtemp())
    home.chmod(0o777)
    execute(home / "store")
    yield home / "store"
    shutil.rmtree(home)


def execute(root: Path, limit: int = 3) -> Outcome:
    return run(line(limit=limit), Store(str(root)), name="toys", dials={}, executor=Inline)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without the rights of root, if it is root that tests."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


def told(root: Path) -> str:
    """What a run with a changed setting says of its store."""
    try:
        with as_nobody():
            outcome = execute(root, limit=2)
    except StoreError as fault:
        return str(fault)
    assert isinstance(outcome.faults["upper"], StoreError), outcome.faults
    return str(outcome.faults["upper"])


def test_a_store_that_may_only_be_read_is_planned_and_not_run(root: Path) -> None:
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        folder.chmod(0o555)
    with as_nobody():
        assert plan(line(), Store(str(root))).complete
    assert "is not writable" in told(root)


@pytest.mark.parametrize("folder", [".runs", ".partial", "upper"])
def test_a_folder_that_refuses_access_is_one_error(root: Path, folder: str) -> None:
    for path in [root, *root.rglob("*")]:
        path.chmod(0o777)
    (root / folder).chmod(0)
    said = told(root)
    assert f"the store {root}" in said and f"refuses access (Permission denied): {root / folder}" in said
    assert "change the permissions there" in said


def test_an_input_that_may_not_be_read_is_one_error(root: Path) -> None:
    for path in [root, *root.rglob("*")]:
        path.chmod(0o777)
    shutil.copytree(root, root.with_name("copy"))  # no digest is remembered of a copy
    made = next(root.with_name("copy").glob("say/*/*/data/000.txt"))
    made.chmod(0)
    assert f"refuses access (Permission denied): {made}" in told(root.with_name("copy"))


@pytest.mark.parametrize("folder", [".runs", ".partial", "upper"])
def test_a_file_in_place_of_a_folder_is_one_error(root: Path, folder: str) -> None:
    shutil.rmtree(root / folder)
    (root / folder).touch()
    for path in [root, *root.rglob("*")]:
        path.chmod(0o777)
    said = told(root)
    assert f"{root / folder}" in said and "in the way" in said and "move that away" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system of one megabyte")
@pytest.mark.parametrize("free", [0, 4096, 8192, 16384, 32768])
def test_a_disk_that_fills_at_any_record_is_one_error_and_no_traceback(tmp_path: Path, free: int) -> None:
    root = tmp_path / "store"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(root)], check=True)
    try:
        with (root / "ballast").open("wb") as file:
            file.write(b"x" * (2**20 - free))
        toys = ROOT / "tests" / "pipeline" / "toys.py"
        words = ["run", f"{toys}:line", "--store", str(root), "--on", "inline", "--tracker", "none"]
        done = subprocess.run(
            [Path(sys.executable).parent / "corpusmill", *words], capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr
        assert (
            "no space left on the disk of" in done.stdout + done.stderr
            and "free some space" in done.stdout + done.stderr
        )
        (root / "ballast").unlink()
        assert execute(root).ok
    finally:
        subprocess.run(["umount", "-l", str(root)], check=True)
