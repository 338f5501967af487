"""A model served on Modal: sent once, there only while somebody asks, at an address that answers as the service here does."""

from __future__ import annotations

import urllib.error
import urllib.request
import uuid

import modal
import pytest

from infra.modal_serving import app_name, sent, serve
from stages.service.client import Client
from stages.service.launch import read_launch
from tests.modal_servicer.service import Service
from tests.on_modal import why_not
from tests.tiny_llama import trained

pytestmark = [pytest.mark.slow, pytest.mark.elsewhere, pytest.mark.skipif(bool(why_not()), reason=why_not())]


def test_a_served_model_answers_and_no_container_is_there_before_or_after(
    modal_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORPUSMILL_MODAL_VOLUME", f"v{uuid.uuid4().hex[:10]}")
    folder, told = trained()[1], list[str]()
    before = len(modal_service.started())
    url = serve(folder, told.append, public=True, idle=2)
    assert "MiB, to the Volume" in told[0] and not modal_service.running
    client = Client(url)
    assert client.models() == [read_launch(folder).name]
    assert len(modal_service.started()) == before + 1
    told.clear()
    sent(folder, told.append)
    assert told == [], "it is there already"
    modal_service.wait(lambda: not modal_service.running)
    modal.App.lookup(app_name(read_launch(folder).name)).stop()


def test_an_address_is_for_who_has_a_proxy_token_unless_it_is_opened(
    modal_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORPUSMILL_MODAL_VOLUME", f"v{uuid.uuid4().hex[:10]}")
    url = serve(trained()[1], lambda line: None)
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{url}/v1/models")
    made = modal_service.asked("FunctionCreate")[-1].function
    assert (made.autoscaler_settings.min_containers, made.autoscaler_settings.scaledown_window) == (0, 300)
    assert not modal_service.running
