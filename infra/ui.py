"""The command `corpusmill ui`: MLflow's server on this store's records, started light, leaving no process behind."""

from __future__ import annotations

import signal
import socket
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from infra.kept import Kept
    from infra.mlflow_home import Home

DEFAULT_PORT = 5000
PATIENCE = 300.0  # seconds; MLflow's server takes 5 to 20 on two idle cores


def ui(
    store: Annotated[
        str, typer.Option("--store", envvar="CORPUSMILL_STORE", help="root of all artifacts")
    ] = ".corpusmill",
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65535, help="port; 5000, or a free one where that is taken; 0: any"),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="address to listen on; there is no password: think before you open it")
    ] = "127.0.0.1",
) -> None:
    """Open MLflow on what was run: stages, settings, metrics, lineage, the champion. Stops with Ctrl-C."""
    from infra.address import warn_if_open
    from infra.mlflow_home import check_writable, home, is_server
    from pipeline.errors import StoreError

    place = home(store)
    if is_server(place.uri):
        print(f"MLflow runs already: {place.uri}")
        return
    if place.database is not None and not place.database.exists():
        raise StoreError(f"MLflow has no records in {store} yet", mend="corpusmill run quickstart")
    check_writable(place)
    chosen = _port(host, port)
    warn_if_open(host, "MLflow")
    with _Server(place, host, chosen) as server:
        server.wait_ready()
        print(f"MLflow: {server.address()}\nCtrl-C stops it; its log is {server.log}", flush=True)
        server.wait()
    print("stopped")


def _port(host: str, asked: int | None) -> int:
    """The port to listen on. Raises UsageError for one that was asked for and is taken."""
    from pipeline.errors import UsageError

    try:
        return _free(host, DEFAULT_PORT if asked is None else asked)
    except OSError as fault:
        if asked is not None:
            raise UsageError(
                f"port {asked} on {host} cannot be used: {fault.strerror}",
                mend="name another with --port, or leave it out",
            ) from None
    chosen = _free(host, 0)
    print(f"port {DEFAULT_PORT} is taken; using {chosen}", flush=True)
    return chosen


def _free(host: str, port: int) -> int:
    with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        return int(probe.getsockname()[1])


class _Server:
    """MLflow's server below a keeper, for the time of a `with`: it ends even where this process is killed."""

    def __init__(self, place: Home, host: str, port: int) -> None:
        from infra.address import reachable

        self.place, self.host, self.port = place, host, port
        self.base = f"http://{reachable(host)}:{port}"
        self.own_log = place.artifacts is None
        self.log = _log_file(place)
        self.kept: Kept | None = None

    def __enter__(self) -> _Server:
        from infra.kept import Kept
        from infra.mlflow_home import environment

        signal.signal(signal.SIGTERM, _interrupt)
        # The database's address may hold a password: it goes by the environment, not by the command line.
        told = {"MLFLOW_BACKEND_STORE_URI": self.place.uri, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        listen = ["--host", self.host, "--port", str(self.port), "--workers", "1"]
        words = [sys.executable, "-m", "mlflow", "server", *listen]
        if self.place.artifacts is not None:
            words += ["--artifacts-destination", self.place.artifacts.as_uri()]
        self.kept = Kept(words, log=self.log, environment={**environment(), **told})
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        """End it and all that it started. Ctrl-C and SIGTERM are how it should end; else its log is kept."""
        if self.kept is not None:
            self.kept.close()
        if self.own_log and kind in (None, KeyboardInterrupt):
            self.log.unlink(missing_ok=True)
        return kind is KeyboardInterrupt

    def wait_ready(self) -> None:
        """Return once the server answers. Raises StoreError with the end of its log where it ends or never answers."""
        import time
        from urllib.error import URLError
        from urllib.request import urlopen

        from infra.mlflow_home import without_userinfo
        from pipeline.errors import StoreError

        began = time.monotonic()
        shown = sys.stderr.isatty()
        print("starting MLflow…", end="" if shown else "\n", file=sys.stderr, flush=True)
        while self.kept is not None and self.kept.process.poll() is None and time.monotonic() - began < PATIENCE:
            try:
                with urlopen(f"{self.base}/health", timeout=5) as answer:
                    if answer.status == 200:
                        print(f"\r{' ' * 40}\r" if shown else "", end="", file=sys.stderr, flush=True)
                        return
            except (URLError, OSError):
                time.sleep(0.3)
            if shown:
                print(f"\rstarting MLflow… {time.monotonic() - began:.0f} s", end="", file=sys.stderr, flush=True)
        tail = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        raise StoreError(without_userinfo("MLflow's server did not start: " + " ".join(tail)), mend=f"read {self.log}")

    def address(self) -> str:
        """The page of the runs of the experiment that was last written, for the kind of work that shows runs."""
        from infra.mlflow_home import WORKFLOW

        found = self._ask("experiments/search", {"max_results": 1, "order_by": ["last_update_time DESC"]}).get(
            "experiments"
        )
        below = f"/#/experiments/{found[0]['experiment_id']}/runs?{WORKFLOW}" if found else f"/#/experiments?{WORKFLOW}"
        return self.base + below

    def _ask(self, verb: str, body: dict[str, Any]) -> dict[str, Any]:
        import json
        from urllib.request import Request, urlopen

        request = Request(
            f"{self.base}/api/2.0/mlflow/{verb}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urlopen(request, timeout=PATIENCE) as answer:
            told: dict[str, Any] = json.load(answer)
            return told

    def wait(self) -> None:
        """Return when the server ends by itself."""
        if self.kept is not None:
            self.kept.process.wait()


def _log_file(place: Home) -> Path:
    """An empty file for the server's output: beside the artifacts, else a new one that no other user can read."""
    import os
    from pathlib import Path
    from tempfile import mkstemp

    from pipeline.errors import StoreError

    if place.artifacts is None:
        descriptor, name = mkstemp(prefix="corpusmill-mlflow-", suffix=".log")
        os.close(descriptor)
        return Path(name)
    log = place.artifacts.parent / "server.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")
    except OSError as fault:
        raise StoreError(f"{log} cannot be written: {fault.strerror}", mend="make its folder writable") from None
    return log


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
