"""Modal as the tests have it: the servicer on loopback, and an executor that talks to it with a Volume of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infra.modal_executor import ModalExecutor
    from pipeline.carrying import Carrier
    from pipeline.store import Store
    from tests.executors.helpers import Hand
    from tests.modal_servicer.service import Service
    from tests.modal_servicer.state import FunctionCall

SEEN_BY_ALL = Path("/dev/shm")
"""What a container of the servicer's has in common with this machine, in folders named cm-…: traces are written there."""
PLAIN = "from pipeline.cli import main; main()"


def why_not() -> str:
    """Why this machine can run no containers; empty where it can."""
    if not SEEN_BY_ALL.is_dir() or not shutil.which("unshare") or os.geteuid() != 0:
        return "rooms of their own need Linux, root and the command unshare"
    return ""


@contextmanager
def an_executor(volume: str = "") -> Iterator[ModalExecutor]:
    """An executor with a Volume of its own, closed at the end whatever it still does."""
    from infra.modal_executor import ModalExecutor

    before = dict(os.environ)
    os.environ["CORPUSMILL_MODAL_VOLUME"] = volume or f"v{uuid.uuid4().hex[:12]}"
    executor = ModalExecutor()
    try:
        yield executor
    finally:
        executor.close(cancel=True)
        put_back(before)


@contextmanager
def a_trace() -> Iterator[Path]:
    """A file that stages on Modal can write to, outside of anything that is carried."""
    home = SEEN_BY_ALL if SEEN_BY_ALL.is_dir() else Path(tempfile.gettempdir())
    folder = home / f"cm-{uuid.uuid4().hex[:12]}"
    folder.mkdir()
    try:
        yield folder / "trace"
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # who was cancelled may write there until it notices


def put_back(environment: dict[str, str]) -> None:
    """Make the environment what it was; what did not change is there all the time, for other threads read it."""
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)


def until(look: Callable[[], object], seconds: float = 240.0) -> None:
    """Wait until `look` is true of something that the servicer does not see change."""
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


def carrier_of(executor: ModalExecutor, hand: Hand) -> Carrier:
    """What carries for the store of `hand`."""
    from infra.modal_desk import HomeDesk

    desk = executor._hands._desk
    assert isinstance(desk, HomeDesk)
    found = desk.carrier(hand.store.url)
    assert found is not None
    return found


def drives(service: Service, function: str, app: str) -> bool:
    """Whether a function is that which drives the runs of an app."""
    one = service.state.functions[function]
    return service.state.apps[one.app].name == app and one.definition.function_name == "drive"


def drivers(service: Service, app: str) -> list[FunctionCall]:
    """The calls of the drivers of an app, in order."""
    return [call for call in service.state.function_calls.values() if drives(service, call.function.id, app)]


class Home:
    """A person's folder, with a dag in `mine.py`, and a Volume on Modal of its own; every command is a process of its own."""

    def __init__(self, folder: Path, service: Service, dag: str, **settings: str) -> None:
        self.folder = folder
        volume = f"v{uuid.uuid4().hex[:10]}"
        self.environment = {**os.environ, **service.environment, "CORPUSMILL_MODAL_VOLUME": volume, **settings}
        (folder / "mine.py").write_text(dag)

    @property
    def store(self) -> Store:
        from pipeline.store import Store

        return Store(str(self.folder / ".corpusmill"))

    def begin(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", PLAIN, *words], cwd=self.folder, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def said(self, *words: str, code: int = 0) -> str:
        """All that a command says, which ends with `code`."""
        process = self.begin(*words)
        out, err = process.communicate(timeout=600)
        assert process.returncode == code, out + err
        assert "Traceback" not in out + err
        return out + err

    def detached(self, dag: str, *words: str) -> str:
        """The id of a run of `dag` in mine.py that goes on by itself."""
        said = self.said("run", f"mine.py:{dag}", *words, "--on", "modal", "--detach", "--tracker", "none")
        found = re.search(r"corpusmill attach (\S+)", said)
        assert found, said
        return found[1]
