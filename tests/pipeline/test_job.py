"""A job as a worker meets it: JSON in, a manifest out, and faults that a person can read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline import Stage, StageFailed, StoreError
from pipeline.artifact import Artifact
from pipeline.context import Serial
from pipeline.job import Job
from pipeline.manifest import Manifest
from pipeline.wire import named, opened, plain
from tests.pipeline.toys import Full, Say, Silent, Upper, Words


def job(stage: Stage[Any], root: Path, *parents: Stage[Any], force: bool = False) -> Job:
    """The job as it arrives at a worker."""
    made = Job.of(stage, parents, run="r", store=str(root), force=force)
    return Job.model_validate_json(made.model_dump_json())


def made(root: Path) -> tuple[Say, Manifest]:
    say = Say()
    return say, job(say, root).execute([], executor="inline")


def test_a_job_travels_as_json_and_finds_its_inputs_by_their_manifests(tmp_path: Path) -> None:
    say, said = made(tmp_path)
    upper = job(Upper(words=say.out, limit=1), tmp_path, say)
    manifest = upper.execute([said], executor="inline")
    assert manifest.inputs["words"].digest == said.digest and manifest.settings["limit"] == 1
    assert upper.resolve([said]) == manifest == upper.execute([said], executor="inline")


def test_a_job_is_resolved_only_by_an_attempt_in_force(tmp_path: Path) -> None:
    say = Say()
    assert job(say, tmp_path).resolve([]) is None
    manifest = made(tmp_path)[1]
    assert job(say, tmp_path).resolve([]) == manifest
    assert job(say, tmp_path, force=True).resolve([]) is None
    assert job(say, tmp_path, force=True).execute([], executor="inline").attempt != manifest.attempt


def test_a_stage_that_writes_nothing_has_failed(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="'silent' ended without writing a file"):
        job(Silent(), tmp_path).execute([], executor="inline")
    assert not list(tmp_path.glob("silent/*/*/manifest.json"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="'full': no space left on the disk of .*\n.*free some space"):
        job(Full(), tmp_path).execute([], executor="inline")
    assert "No space left" in (tmp_path / ".runs" / "r" / "logs" / "full.txt").read_text()


def test_settings_and_inputs_come_back_as_they_went() -> None:
    value = {"inner": ({"words": Words("place")}, [1, "a"]), "paths": Path("a/b"), "names": frozenset({"x"})}
    sent = plain(value)
    assert sent == {"inner": [{"words": {"$artifact": "place"}}, [1, "a"]], "paths": "a/b", "names": ["x"]}
    found = Artifact("elsewhere")
    back = opened(sent, {"place": found})
    assert back["inner"][0]["words"] is found and back["inner"][1] == (1, "a")


def test_what_is_no_class_is_refused() -> None:
    assert named("tests.pipeline.toys:Say") is Say
    with pytest.raises(StageFailed, match="tests.pipeline.toys:line is not a class"):
        named("tests.pipeline.toys:line")


def test_an_executor_of_one_process_refuses_a_gang_of_more() -> None:
    assert Serial().gang(lambda: 3, 1) == [3]
    with pytest.raises(ValueError, match="runs one worker; use the ray executor"):
        Serial().gang(lambda: 3, 2)
