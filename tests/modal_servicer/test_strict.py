"""What the servicer does not model fails, so that no test can rest on it."""

from __future__ import annotations

import os
from types import ModuleType

import modal
import pytest

from tests.modal_servicer.fields import unmodelled
from tests.modal_servicer.service import Service, Unmodelled, servicer


def test_an_rpc_that_is_not_modelled_is_refused_and_raised_at_the_end() -> None:
    with pytest.raises(Unmodelled, match="QueueGetOrCreate"), servicer() as service, service.connected():  # noqa: SIM117
        with pytest.raises(modal.exception.Error):
            modal.Queue.from_name("q", create_if_missing=True).hydrate()


def test_a_field_that_is_not_modelled_is_refused_and_raised_at_the_end() -> None:
    app = modal.App("blocked")
    app.function(serialized=True, block_network=True)(len)
    with pytest.raises(Unmodelled, match=r"Function\.block_network"), servicer() as service, service.connected():  # noqa: SIM117
        with pytest.raises(modal.exception.Error):
            app.deploy()


def test_a_field_that_this_api_does_not_know_at_all_is_found() -> None:
    from modal_proto import api_pb2 as pb

    later = pb.AppListRequest.FromString(b"\xf2\x3f\x01x")  # field number 1022
    assert list(unmodelled(later)) == [
        "AppListRequest, field number 1022, which this version of modal_proto does not know"
    ]


def test_a_wrong_token_is_refused() -> None:
    with servicer() as service, service.connected():
        os.environ["MODAL_TOKEN_SECRET"] = "as-wrong"
        with pytest.raises(modal.exception.AuthError):
            modal.Client.from_env().hello()


@pytest.mark.parametrize(("gpu", "complaint"), [("H101", "Invalid GPU type"), ("H100:9", "at most 8")])
def test_a_gpu_that_modal_does_not_have_is_refused_by_the_server(service: Service, gpu: str, complaint: str) -> None:
    app = modal.App("wrong")
    app.function(serialized=True, gpu=gpu)(len)
    with pytest.raises(modal.exception.InvalidError, match=complaint):
        app.deploy()


def test_a_volume_of_the_first_version_is_not_modelled(shop: ModuleType) -> None:
    with pytest.raises(Unmodelled, match="version=2"), servicer() as service, service.connected():  # noqa: SIM117
        with pytest.raises(modal.exception.Error):
            modal.Volume.from_name("old", create_if_missing=True).hydrate()
