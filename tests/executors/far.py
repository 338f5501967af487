"""An executor as those of rented machines are: each job in a process that outlives the driver, checked before it is rented."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

from infra.ends import ended, failed, manifest_in
from pipeline import CorpusmillError, Resources, UsageError
from pipeline.executor import NO_ROOM
from pipeline.job import Job
from pipeline.manifest import Manifest

PLUGIN = "[corpusmill.executors]\nfar = tests.executors.far:Far\n"


def installed(folder: Path) -> Path:
    """A folder that, on PYTHONPATH, brings the executor `far` as an installed package would."""
    info = folder / "far-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: far\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(PLUGIN)
    return folder


class Far:
    """Runs each job in a process of a session of its own, which nothing but the job itself ends. It carries the store."""

    name = "far"
    remote = carries = True
    room = NO_ROOM

    def __init__(self, address: str = "") -> None:
        self.address, self.took = address, list[str]()

    def check(self, label: str, resources: Resources) -> None:
        if resources.gpu == "Z80":
            raise UsageError(
                f"stage {label!r} asks for a Z80, of which there are none far away", mend="ask for an H100"
            )

    def submit(self, job: Job, after: Sequence[Future[Manifest]]) -> Future[Manifest]:
        self.took.append(job.label)
        future: Future[Manifest] = Future()

        def work() -> None:
            try:
                parents = [ended(parent.result()) for parent in after]
                asked = json.dumps({"job": job.model_dump_json(), "after": parents, "since": time.time()})
                command = [sys.executable, "-m", "tests.executors.far"]
                done = subprocess.run(
                    command, input=asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True,
                    start_new_session=True,
                )  # fmt: skip
                future.set_result(manifest_in(done.stdout))
            except Exception as fault:  # handed on through the future, as every executor does
                future.set_exception(fault)

        threading.Thread(target=work, daemon=True).start()
        return future

    def close(self, *, cancel: bool = False) -> None:
        pass


def main() -> None:
    """Run the job on standard input; its end is written to standard output."""
    asked = json.loads(sys.stdin.read())
    job = Job.model_validate_json(asked["job"])
    out, sys.stdout = sys.stdout, sys.stderr
    try:
        parents = [manifest_in(parent) for parent in asked["after"]]
        made = job.execute(parents, executor="far", since=asked["since"])
        print(ended(made), file=out)
    except CorpusmillError as fault:
        print(failed(fault), file=out)


if __name__ == "__main__":
    main()
