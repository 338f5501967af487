"""Apps through the command line and the client: deployed, run, detached, stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import httpx
import modal
import pytest

from tests.modal_servicer.conftest import SHOP
from tests.modal_servicer.service import Service

pytestmark = pytest.mark.elsewhere


def command(service: Service, *words: str) -> str:
    """Modal's own command line, in a process that knows nothing but the servicer's address and token."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MODAL_", "COV", "PYTHONPATH"))}
    patient = {"MODAL_LOGS_TIMEOUT": "120"}  # it waits for the last output of an app for 10 s only
    done = subprocess.run(
        [sys.executable, "-m", "modal", *words],
        env=plain | service.environment | patient,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_modals_command_line_deploys_lists_and_stops(service: Service) -> None:
    modal.Secret.objects.create("planted", {"PLANTED": "s3cr3t-value"})
    assert "App deployed" in command(service, "deploy", str(SHOP))
    (app,) = json.loads(command(service, "app", "list", "--json"))
    assert (app["description"], app["state"]) == ("shop", "deployed")
    command(service, "app", "stop", "--yes", "shop")
    with pytest.raises(modal.exception.NotFoundError):
        modal.Function.from_name("shop", "square").hydrate()


def test_an_ephemeral_app_ends_with_its_client_and_shows_its_output(service: Service) -> None:
    modal.Secret.objects.create("planted", {"PLANTED": "s3cr3t-value"})
    shown = command(service, "run", f"{SHOP}::square", "--number", "7")
    assert "squaring 7" in shown and "App completed" in shown
    service.wait(lambda: not service.running)  # a container that was stopped takes its time to end
    assert all(app.stopped for app in service.state.apps.values())


def test_a_detached_app_survives_its_client_and_an_ephemeral_one_does_not(service: Service, shop: ModuleType) -> None:
    modal.Secret.objects.create("planted", {"PLANTED": "s3cr3t-value"})
    with shop.app.run(detach=True):
        call = shop.train.spawn(3)
        service.wait(lambda: service.running)
        service.lose_client()
    assert call.get(timeout=120) == [0, 1, 2]
    with shop.app.run():
        shop.idle.spawn("ephemeral")
        service.wait(lambda: service.running)
        service.settings(heartbeat_timeout=0)  # a client that was killed says nothing either
        service.wait(lambda: not service.running)


def test_a_web_function_is_served_on_demand_and_scales_to_zero(service: Service, deployed: ModuleType) -> None:
    url = deployed.site.get_web_url()
    assert httpx.get(url, timeout=60).status_code == 401 and not service.started("site")

    def asked(_: int) -> httpx.Response:
        return httpx.post(f"{url}/v1/models", content=b"hello", headers=service.proxy_headers, timeout=180)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(asked, range(2))  # neither is answered before both have come
    (container,) = service.started("site")
    assert first.status_code == 203 and first.headers["x-made-by"] == "shop" and first.text == second.text
    assert first.text.split() == ["POST", "/v1/models", "hello", "from", container.id]
    service.wait(lambda: not service.running)
