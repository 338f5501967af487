"""Volumes: who sees what, and when."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from types import ModuleType

import modal
import pytest

from tests.modal_servicer.service import Service
from tests.modal_servicer.trees import marked, read

pytestmark = pytest.mark.elsewhere


def test_what_is_not_committed_is_seen_by_nobody_and_lost_with_its_machine(
    service: Service, deployed: ModuleType
) -> None:
    call = deployed.writer.spawn()
    service.wait(lambda: "both written" in service.logs())
    assert deployed.listed.remote() == ["committed"]
    call.cancel(terminate_containers=True)
    service.wait(lambda: not service.running)
    assert deployed.listed.remote() == ["committed"]


def test_a_container_sees_a_commit_after_its_reload_which_open_files_prevent(
    service: Service, deployed: ModuleType
) -> None:
    volume = modal.Volume.from_name("store")
    upload(volume, "first")
    call = deployed.reader.spawn()
    service.wait(lambda: "looking" in service.logs())
    upload(volume, "second")
    before, refusal, after = call.get(timeout=120)
    assert before == ["first"] and after == ["first", "second"]
    assert "open files preventing the operation" in refusal and "first" in refusal


def test_a_commit_in_the_background_shows_what_no_job_committed(service: Service, deployed: ModuleType) -> None:
    service.settings(background_commits=0.1)
    deployed.writer.spawn()
    service.wait(lambda: "uncommitted" in getattr(service.volumes.named("store"), "tree", {}))


def test_an_interrupted_container_commits_what_it_wrote_in_its_grace(service: Service, deployed: ModuleType) -> None:
    call = deployed.patient.spawn()
    service.wait(lambda: "patient" in service.logs())
    assert service.preempt("patient", graceful=True) == 1
    assert call.get(timeout=120) == "in its grace"


def test_files_are_put_in_blocks_listed_copied_read_and_removed(service: Service) -> None:
    volume = modal.Volume.from_name("models", create_if_missing=True, version=2)
    large = b"\1" * (8 << 20) + b"\2" * 5 + b"\0" * 7
    with volume.batch_upload() as batch:
        batch.put_file(io.BytesIO(large), "/a/weights")
        batch.put_file(io.BytesIO(b""), "/a/empty")
    assert b"".join(volume.read_file("a/weights")) == large
    volume.copy_files(["a/weights"], "b")
    volume.remove_file("a", recursive=True)
    assert [(entry.path, entry.size) for entry in volume.listdir("/", recursive=True)] == [("b", len(large))]
    with pytest.raises(FileNotFoundError):
        list(volume.read_file("a/weights"))
    with pytest.raises(FileExistsError), volume.batch_upload() as batch:
        batch.put_file(io.BytesIO(b"x"), "/b")


def test_a_file_that_changes_twice_within_one_tick_of_the_clock_is_read_twice(tmp_path: Path) -> None:
    step, ahead = tmp_path / "step", time.time_ns() + 3600 * 10**9  # of just now, however long this test takes
    step.write_text("1")
    os.utime(step, ns=(ahead, ahead))
    marks, first = marked(tmp_path), read(tmp_path, {}, {}, Path.read_text)
    with step.open("r+") as file:
        file.write("2")
    os.utime(step, ns=(ahead, ahead))
    assert read(tmp_path, first, marks, Path.read_text)["step"].content == "2"


def upload(volume: modal.Volume, name: str) -> None:
    with volume.batch_upload() as batch:
        batch.put_file(io.BytesIO(b"1"), f"/{name}")
