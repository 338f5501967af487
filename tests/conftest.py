"""What every test stands on: no store, tracker or cluster of the person who runs the tests is ever touched."""

import os

import pytest

FOREIGN = ("CORPUSMILL_", "MLFLOW_", "RAY_", "MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK", "LOCAL_RANK")

for _name in [name for name in os.environ if name.startswith(FOREIGN)]:
    del os.environ[_name]


@pytest.fixture
def unmeasured() -> dict[str, str]:
    """The environment of a subprocess whose CPU seconds or imports count: without coverage."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE_", "COV_"))}
