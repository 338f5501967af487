"""`corpusmill infra modal`: deploy, status and stop, and every lack told in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.modal_servicer.service import Service
from tests.on_modal import why_not

pytestmark = [pytest.mark.slow, pytest.mark.elsewhere, pytest.mark.skipif(bool(why_not()), reason=why_not())]
PLAIN = "from pipeline.cli import main; main()"


def said(*words: str, code: int = 0, **settings: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, "infra", "modal", *words],
        env={**os.environ, **settings}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout + done.stderr


def test_what_is_deployed_is_listed_until_it_is_stopped_whatever_is_wrong_with_the_store(
    modal_service: Service, tmp_path: Path
) -> None:
    volume = f"v{uuid.uuid4().hex[:10]}"
    told = said("deploy", CORPUSMILL_MODAL_VOLUME=volume)
    name = told.split()[1].rstrip(":")
    assert name.startswith("corpusmill-") and f"modal://{volume}/store" in told
    before = len(modal_service.asked("AppPublish"))
    said("deploy", CORPUSMILL_MODAL_VOLUME=volume)
    assert len(modal_service.asked("AppPublish")) == before, "the same code is there already"
    [app] = [app for app in json.loads(said("status", "--json")) if app["name"] == name]
    assert app["containers"] == 0
    (tmp_path / "file").touch()
    told = said("stop", "--idle", "--store", str(tmp_path / "file"))
    assert f"stopped {name}" in told and "warning: no run is written down as stopped: the store" in told
    assert "corpusmill infra modal status" in said("stop", name, code=2), "it is not listed any more"


def test_without_a_token_one_line_says_how_to_get_one(modal_service: Service) -> None:
    lacking = {"MODAL_TOKEN_ID": "", "MODAL_TOKEN_SECRET": ""}
    for words in (["status"], ["deploy"]):
        told = said(*words, code=2, **lacking)
        assert told.count("error:") == 1 and "modal setup" in told
