"""What every test stands on: no store, tracker or cluster of the person who runs the tests is ever touched."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from infra.modal_executor import ModalExecutor
    from infra.ray_executor import RayExecutor
    from tests.modal_servicer.service import Service
    from tests.s3 import S3

FOREIGN = (
    "AWS_",
    "MODAL_",
    "CORPUSMILL_",
    "MLFLOW_",
    "RAY_",
    "MASTER_ADDR",
    "MASTER_PORT",
    "WORLD_SIZE",
    "RANK",
    "LOCAL_RANK",
)

COVERAGE = ("COVERAGE_", "COV_")

for _name in [name for name in os.environ if name.startswith(FOREIGN)]:
    del os.environ[_name]

ROOT = Path(__file__).parents[1]

# A subprocess of a test finds the tests' own modules, and what flushes its coverage, as the test itself does.
_PATHS = [str(ROOT), str(ROOT / "tests" / "measure"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(path for path in _PATHS if path))


# Tests edit code and run it within a second, in which byte code of the same size would pass for new.
sys.dont_write_bytecode, os.environ["PYTHONDONTWRITEBYTECODE"] = True, "1"


# Tables are cut at the edge of a terminal: one width for all tests, wherever they run.
os.environ["COLUMNS"] = "140"

# A busy machine is no fault of what is tested.
hypothesis.settings.register_profile(
    "corpusmill", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("corpusmill")

# A shell starts what runs in its background deaf to Ctrl-C, and so would every process be that a test interrupts.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # and nohup, to a hang-up
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


NOT_BELOW = re.compile(r"/(test_documents|infra/test_(mlflow|serving|truth|ui)\w*)\.py$")
"""Tests whose subprocesses are many and run what others run and measure: there, coverage would take half as long again."""


LONGEST = (
    *(
        "test_nodes.py",
        "test_autoscaled.py",
        "test_chaos.py",
        "test_chain.py",
        "test_documents.py",
        "test_secrets.py",
        "test_contract.py",
    ),
    *(
        "test_modal_executor.py",
        "test_serving.py",
        "test_ray_executor.py",
        "test_ray_start.py",
        "test_ui.py",
        "test_doctor.py",
    ),
    *("test_mlflow_away.py", "test_mlflow_champion.py", "test_truth.py", "test_cancel.py", "test_extension.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest begin first: no process is left alone with one of them at the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="module", autouse=True)
def measured_where_it_tells_something(request: pytest.FixtureRequest) -> Iterator[None]:
    """Coverage follows a test into its subprocesses, save where NOT_BELOW says that it need not."""
    with pytest.MonkeyPatch.context() as patch:
        if NOT_BELOW.search(str(request.path)):
            for name in [name for name in os.environ if name.startswith(COVERAGE)]:
                patch.delenv(name)
        yield


@pytest.fixture
def unmeasured() -> dict[str, str]:
    """The environment of a subprocess whose CPU seconds or imports count: without coverage."""
    return {name: value for name, value in os.environ.items() if not name.startswith(COVERAGE)}


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    """One S3 server for the whole session; it takes a second or two to start."""
    from tests.s3 import S3

    server = S3()
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """The server, with the environment that leads to it in place."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture(scope="session")
def ray_executor() -> Iterator[RayExecutor]:
    """One Ray for all tests that need no more than an executor; it starts at the first submit."""
    from infra.ray_executor import RayExecutor

    executor = RayExecutor(cpus=2)
    yield executor
    executor.close(cancel=True)


@pytest.fixture(scope="session")
def _modal_workspace() -> Iterator[Service]:
    """One workspace of the servicer's for the whole session."""
    from tests.modal_servicer.service import servicer

    with servicer() as one:
        yield one


@pytest.fixture
def modal_service(_modal_workspace: Service) -> Iterator[Service]:
    """The workspace, with this process's client connected to it."""
    with _modal_workspace.connected():
        yield _modal_workspace
    _modal_workspace.check()


@pytest.fixture
def modal_executor(modal_service: Service) -> Iterator[ModalExecutor]:
    """An executor that takes the servicer for Modal, with a Volume of its own."""
    from tests.on_modal import an_executor, why_not

    if why := why_not():
        pytest.skip(why)
    with an_executor() as executor:
        yield executor
