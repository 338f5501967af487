"""What the tests of the executors share: one cluster of machines that share no disk."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.executors.bridge import why_not
from tests.executors.cluster import Cluster, a_cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A head and two workers behind a bridge, that share no disk and no loopback with this machine, nor among each other."""
    if why := why_not():
        pytest.skip(why)
    with a_cluster(tmp_path_factory.mktemp("hidden")) as one:
        yield one
