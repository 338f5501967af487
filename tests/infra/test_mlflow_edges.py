"""The MLflow tracker where it matters most that it is careful: secrets, repeats, broken databases, and its silence."""

from __future__ import annotations

import base64
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from infra.mlflow_fields import params
from infra.mlflow_tracker import MlflowTracker
from pipeline.errors import StoreError
from tests.executors.helpers import SECONDS
from tests.infra.told_runs import DAG, manifest, record, say, tell_whole


def test_no_secret_of_the_environment_reaches_mlflow(store: Path) -> None:
    for file in (store / ".mlflow").iterdir():
        assert not file.is_file() or b"verysecret" not in file.read_bytes()


def test_the_same_run_told_twice_leaves_one_record(tmp_path: Path) -> None:
    from mlflow.tracking.client import MlflowClient

    for _ in range(2):
        tell_whole(tmp_path)
    uri = f"sqlite:///{tmp_path}/.mlflow/mlflow.db"
    client = MlflowClient(uri, registry_uri=uri)
    runs = client.search_runs(["1"])
    assert sorted(run.info.run_name for run in runs) == sorted(["run-1", *DAG])
    assert all(run.info.status == "FINISHED" for run in runs)
    pretrain = next(run for run in runs if run.info.run_name == "Pretrain")
    assert len(client.get_metric_history(pretrain.info.run_id, "loss")) == 250
    assert len(client.search_model_versions("name = 'tales'")) == 1 and len(client.search_logged_models(["1"])) == 2


def test_a_database_that_cannot_be_written_is_one_error_at_once(tmp_path: Path) -> None:
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "mlflow.db").write_text("not a database " * 100)
    tracker = MlflowTracker(str(tmp_path))
    with pytest.raises(StoreError, match="cannot be written"):
        tracker.start(record("run-1", tmp_path))
    say(tracker, "Collect", "state", 1, state="started")  # and is silent afterwards
    tracker.stage("Collect", "finished", manifest("Collect", "run-1"))
    tracker.finish("finished")


def test_a_servers_password_is_used_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []

    class Refuses(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(str(self.headers["Authorization"]))
            self.send_error(403)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refuses)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:verysecret@127.0.0.1:{server.server_port}")
    with pytest.raises(Exception, match="403") as raised:
        MlflowTracker(str(tmp_path)).start(record("run-1", tmp_path))
    server.shutdown()
    server.server_close()
    assert "verysecret" not in str(raised.value)
    assert set(heard) == {"Basic " + base64.b64encode(b"me:verysecret").decode()}


def test_tracking_prints_nothing_and_imports_mlflow_only_at_its_start(tmp_path: Path) -> None:
    code = f"""
import sys
import infra.mlflow_tracker, infra.ui
assert "mlflow" not in sys.modules
from pathlib import Path
from tests.infra.told_runs import MlflowTracker, build, record
tracker = MlflowTracker({str(tmp_path)!r})
tracker.start(record("run-1", Path({str(tmp_path)!r})))
build(tracker, {{}}, "run-1")("Collect")
tracker.finish("finished")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_class_among_the_settings_is_a_param_like_any_other() -> None:
    settings = {"make": {"$class": "numpy:linspace", "settings": {"num": 3}}, "group": {"$": "Group", "rate": 0.5}}
    told = {"make": "numpy:linspace", "make.settings.num": "3", "group": "Group", "group.rate": "0.5"}
    assert params(settings) == told
