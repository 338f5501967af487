"""What the tests of the executors share: one Ray node of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.executors.node import Node, a_node, why_not


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A Ray node behind a wire, that shares no disk and no loopback with this machine."""
    if why := why_not():
        pytest.skip(why)
    with a_node(tmp_path_factory.mktemp("hidden")) as one:
        yield one
