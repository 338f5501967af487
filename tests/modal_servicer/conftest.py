"""A workspace of its own for each test, with the shop's app loaded anew, as a user's file is."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import modal
import pytest

from tests.modal_servicer.room import why_not
from tests.modal_servicer.service import Service, servicer

SHOP = Path(__file__).with_name("shop.py")


@contextmanager
def connected() -> Iterator[Service]:
    """A servicer that this process's client talks to, where the machine can give containers their rooms."""
    if reason := why_not():
        pytest.skip(reason)
    with servicer() as one, one.connected():
        yield one


@contextmanager
def loaded() -> Iterator[ModuleType]:
    """The shop's app, not yet known to any servicer."""
    spec = importlib.util.spec_from_file_location("shop", SHOP)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["shop"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["shop"]


def deploy(shop: ModuleType) -> ModuleType:
    """The app, deployed, with the secret that one of its functions names."""
    modal.Secret.objects.create("planted", {"PLANTED": "s3cr3t-value"})
    shop.app.deploy()
    return shop


@pytest.fixture
def service() -> Iterator[Service]:
    """The servicer; the test fails if something was asked that it does not model."""
    with connected() as one:
        yield one


@pytest.fixture
def shop() -> Iterator[ModuleType]:
    """The app, not yet deployed."""
    with loaded() as module:
        yield module


@pytest.fixture
def deployed(service: Service, shop: ModuleType) -> ModuleType:
    """The app, deployed."""
    return deploy(shop)
