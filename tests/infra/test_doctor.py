"""`corpusmill doctor`: each fault is told with its mend, what is well is told as well, no value of a credential is ever shown."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from typer.testing import CliRunner

from infra import doctor_machine, doctor_packages, doctor_places
from infra.doctor import doctor, examine, lines
from infra.finding import Finding
from pipeline.errors import StoreError
from tests.s3 import S3

COMMAND = Path(sys.executable).parent / "corpusmill"


def told(*words: str) -> tuple[dict[str, dict[str, Any]], int]:
    """What the command says as JSON, by check, and its exit code."""
    import typer

    app = typer.Typer()
    app.command()(doctor)
    done = CliRunner().invoke(app, ["--json", *words])
    whole = json.loads(done.stdout)
    assert whole["ok"] is (done.exit_code == 0)
    return {one["check"]: one for one in whole["checks"]}, done.exit_code


def test_a_machine_that_is_well_is_told_in_a_few_cpu_seconds(tmp_path: Path, unmeasured: dict[str, str]) -> None:
    (tmp_path / "here").mkdir()
    imports = {"PYTHONPROFILEIMPORTTIME": "1"}  # told on stderr, but for those of processes below
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        command = subprocess.Popen(
            [COMMAND, "doctor"], cwd=tmp_path / "here", env=unmeasured | imports, stdout=out, stderr=err
        )
        _, status, used = os.wait4(command.pid, 0)
        command.returncode = os.waitstatus_to_exitcode(status)
    said, imported = (tmp_path / "out").read_text(), (tmp_path / "err").read_text()
    assert command.returncode == 0, said + imported
    assert said.startswith("check") and "fail" not in said
    names = set(re.findall(r"\| +(\w+)$", imported, re.MULTILINE))
    assert "typer" in names and not names & {"torch", "ray", "mlflow"}
    assert used.ru_utime + used.ru_stime < 12, "3 on an idle machine, with its processes"
    assert list((tmp_path / "here").iterdir()) == [], "it leaves nothing behind"


ALL = (
    "python",
    "packages, train",
    "torch",
    "ray",
    "mlflow",
    "store",
    "credentials, aws",
    "machine",
    "disk",
    "ports",
    "clock",
)


def test_a_store_that_cannot_be_is_a_failure_with_its_mend_and_all_else_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found, code = told("--store", str(tmp_path / "file" / "store"))
    assert code == 1
    assert found["store"]["state"] == "fail" and "--store" in found["store"]["mend"]
    assert all(found[check]["said"] for check in ALL)


def test_a_store_on_s3_is_tried_with_two_writers(s3: S3) -> None:
    store = f"{s3.bucket()}/mill"
    [finding] = doctor_places.store(store)
    assert finding.state == "ok" and "only if absent" in finding.said
    from pipeline.files import open_root

    assert open_root(store).children("") == [".writable"]


def test_a_server_that_is_not_there_is_told_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:planted@127.0.0.1:9")
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):  # which it sets from the address
        monkeypatch.setenv(name, "planted")
    [finding] = doctor_places.mlflow(str(tmp_path), deep=False)
    assert finding.state == "fail" and "cannot be reached" in finding.said
    assert "planted" not in repr(finding)


def test_a_server_that_answers_is_well_and_one_that_refuses_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            right = self.headers["Authorization"] == "Basic bWU6cmlnaHQ="
            self.send_response(200 if right else 401)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    monkeypatch.setattr(doctor_places, "PATIENCE", 60.0)
    server = HTTPServer(("127.0.0.1", 0), Answer)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    try:
        for password, state in (("right", "ok"), ("wrong", "fail")):
            monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
            [finding] = doctor_places.mlflow(str(tmp_path), deep=False)
            assert finding.state == state, finding
            assert password not in finding.said
    finally:
        server.shutdown()


def test_credentials_are_named_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "planted-key")
    monkeypatch.setenv("HF_TOKEN", "planted-token")
    (tmp_path / ".modal.toml").write_text('token_secret = "planted-modal"')
    (tmp_path / ".modal.toml").chmod(0o644)
    aws, modal, hugging = doctor_places.credentials("s3://bucket")
    assert aws.state == "warn" and "AWS_SECRET_ACCESS_KEY is not" in aws.said
    assert modal.state == "warn" and modal.mend.startswith("chmod 600")
    assert hugging == Finding("credentials, hugging face", "ok", "HF_TOKEN set")
    assert "planted" not in repr((aws, modal, hugging))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert next(doctor_places.credentials("s3://bucket")).state == "warn", "a store on S3 needs some"
    assert next(doctor_places.credentials(".corpusmill")).state == "ok"


def test_another_version_and_a_missing_package_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pins = {**doctor_packages._pins(), "numpy": "1.0"}
    monkeypatch.setattr(doctor_packages, "_pins", lambda: pins)
    monkeypatch.setattr(
        doctor_packages,
        "_extras",
        lambda: {"data": ["numpy"], "serve": ["no-such-package"], "modal": ["no-such-package"]},
    )
    found = {one.check: one for one in doctor_packages.packages(".corpusmill")}
    assert found["packages, data"].state == "warn" and "tested with 1.0" in found["packages, data"].said
    assert found["packages, serve"] == Finding(
        "packages, serve", "warn", "no-such-package not installed", "pip install -c constraints.txt -e '.[serve]'"
    )
    assert found["packages, modal"].state == "ok" and found["packages, modal"].said.endswith("only for GPUs on Modal")


def test_the_extras_and_pins_are_read_as_they_are_written() -> None:
    extras = doctor_packages._extras()
    assert "mlflow" in extras["mlflow"] and "pyarrow" in extras["data"] and "corpusmill" not in extras.get("all", ())
    assert doctor_packages._pins()["fasttext-predict"]


def test_gpus_that_torch_cannot_reach_are_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert [one.said for one in doctor_packages._devices([], 2)] == ["2 GPUs, but torch sees none"]
    well, broken = doctor_packages._devices([["H100", 85e9, 256.0], ["H100", 85e9, 0.0]], 2)
    assert (well.state, broken.state) == ("ok", "fail") and "85.0 GB" in well.said
    about = tmp_path / "version.py"
    about.write_text(
        "from typing import Optional\n__version__ = '2.13.0+cu130'\ncuda: Optional[str] = '13.0'\nhip = None\n"
    )
    assert doctor_packages._built_for(about) == "13.0"
    about.write_text("cuda: Optional[str] = None\n")
    assert doctor_packages._built_for(about) == ""


def test_a_port_that_is_taken_and_a_full_disk_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(doctor_machine, "PORTS", {port: "corpusmill ui"})
        assert doctor_machine.ports()[0].said == f"{port} (corpusmill ui) is taken"
    monkeypatch.setattr(
        doctor_machine.shutil, "disk_usage", lambda _: os.terminal_size((0, 0)) and type("Use", (), {"free": 5e8})()
    )
    assert [one.state for one in doctor_machine.disk(str(tmp_path))] == ["fail", "fail"]


@pytest.mark.parametrize(("made", "asked", "state"), [(-10, 0, "ok"), (60, 60, "warn"), (-60, -60, "warn")])
def test_a_clock_that_is_off_is_told_and_a_file_that_takes_a_while_to_make_is_not(
    monkeypatch: pytest.MonkeyPatch, made: float, asked: float, state: str
) -> None:
    class Clock:
        """Is off by so many seconds before the file is made, and after."""

        off = iter((made, asked))
        strftime = staticmethod(time.strftime)

        def time(self) -> float:
            return time.time() + next(self.off)

    monkeypatch.setattr(doctor_machine, "time", Clock())
    assert [one.state for one in doctor_machine.clock()] == [state]


def test_a_narrow_terminal_cuts_nothing_of_what_is_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    said = "the server cannot be reached, for it is at the other end of the world"
    shown = lines([Finding("mlflow", "fail", said, "go there"), Finding("torch", "ok", said)], colour=False)
    assert f"  {said}" in shown and shown.index(f"  {said}") == shown.index("  → go there") - 1
    assert sum(said in line for line in shown) == 1


def test_a_check_that_breaks_is_a_line_and_keeps_no_other_from_being_told() -> None:
    def broken() -> list[Finding]:
        raise ZeroDivisionError("division by zero\nand more")

    def refused() -> list[Finding]:
        raise StoreError("no", mend="do this")

    found = list(examine({"one": broken, "two": refused, "three": lambda: [Finding("three", "ok", "well")]}))
    assert found[0] == Finding("one", "fail", "cannot be checked: division by zero")
    shown = lines(found, colour=False)
    assert shown[3:] == ["  → do this", "three  ok    well", "1 well, 2 to mend"]


@pytest.mark.slow
def test_deep_it_starts_ray_torch_and_mlflow(tmp_path: Path) -> None:
    found, code = told("--deep", "--store", str(tmp_path))
    assert code == 0, found
    assert "ran a stage" in found["ray"]["said"]
