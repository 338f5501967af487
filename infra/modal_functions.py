"""What runs in containers on Modal: the job of a stage. It raises nothing that is a person's to read: ends travel as text."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.ends import ended, failed, manifest_in
from infra.modal_files import MOUNTS, Mount, VolumeFileSystem
from infra.modal_names import BUSY, MOUNT, ONWARD
from infra.one_machine import OneMachine
from infra.since import began
from pipeline.errors import CorpusmillError, StageFailed
from pipeline.job import Job
from pipeline.lease import Busy
from pipeline.limits import HandedOver


class Paid:
    """Since when this container has been paid for without working: from its start, then from the end of each job."""

    since = began()

    @classmethod
    def idle(cls) -> float:
        """Seconds for which it was until now."""
        return max(time.time() - cls.since, 0.0)


def execute(text: str, parents: Sequence[str], how: Mapping[str, Any]) -> str:
    """The end of the job in `text`, made in this container; a job that was here before goes on from its commits.

    `how` names the Volume that is mounted, and the seconds after which the job is handed over at its next commit.
    """
    until = time.monotonic() + float(how.get("seconds") or "inf")
    try:
        enter(str(how.get("volume") or ""))
        job = Job.model_validate_json(text)
        inputs, backend = [manifest_in(end) for end in parents], OneMachine(job, until)
        return ended(job.execute(inputs, executor="modal", backend=backend, since=Paid.since))
    except Busy:
        return BUSY
    except HandedOver:
        return ONWARD
    except CorpusmillError as fault:
        return failed(fault)
    except Exception as fault:  # a stage's module that cannot be imported here, above all
        label = job.label if "job" in locals() else "?"
        return failed(StageFailed(f"stage {label!r} cannot be opened on Modal: {type(fault).__name__}: {fault}"))
    finally:
        Paid.since = time.time()


def enter(volume: str) -> None:
    """Let stores at ``modal://`` be opened here, the one on the mounted Volume through its mount, as it is now."""
    import fsspec
    import modal

    fsspec.register_implementation("modal", VolumeFileSystem, clobber=True)
    if not volume:
        return
    if volume not in MOUNTS:
        MOUNTS[volume] = Mount(Path(MOUNT), modal.Volume.from_name(volume))
    MOUNTS[volume].reload()
