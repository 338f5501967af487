"""Where a store's MLflow records stand, and a quiet client for them. Importing this module does not import MLflow."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlparse

from pipeline.errors import StoreError

if TYPE_CHECKING:
    from mlflow.tracking.client import MlflowClient

WORKFLOW = "workflowType=machine_learning"
"""MLflow's UI opens for agents and traces unless the address says otherwise; then it shows no runs."""

_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A server that is down costs seconds, not the four minutes of MLflow's own patience.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


class Home(NamedTuple):
    """The tracking URI, the database file where it is SQLite, and where artifacts go (None: the server decides).

    The URI of a server is without user and password; `connect` hands those on.
    """

    uri: str
    database: Path | None
    artifacts: Path | None


def home(store_root: str, environ: Mapping[str, str] = os.environ) -> Home:
    """The tracking URI of the environment, else a SQLite file in the store at ``<root>/.mlflow``.

    For a store elsewhere, the SQLite file lies beside what this machine has of it.
    """
    named = environ.get("MLFLOW_TRACKING_URI", "").strip()
    root = store_folder(store_root)
    if named:
        database = Path(named.removeprefix("sqlite:///")) if named.startswith("sqlite:///") else None
        artifacts = root / ".mlflow" / "artifacts" if database is not None and root is not None else None
        return Home(without_userinfo(named) if is_server(named) else named, database, artifacts)
    if root is None:
        from pipeline.files import open_root

        root = open_root(store_root).local
    database = root / ".mlflow" / "mlflow.db"
    return Home(f"sqlite:///{database}", database, root / ".mlflow" / "artifacts")


def store_folder(store_root: str) -> Path | None:
    """The local directory that `store_root` (a path or a ``file:`` URL) names, or None where it is remote."""
    if re.match(r"^[a-z][a-z0-9+.-]+://", store_root) and not store_root.startswith("file://"):
        return None
    return Path(store_root.removeprefix("file://")).expanduser().absolute()


def is_server(uri: str) -> bool:
    """Whether a tracking URI names an MLflow server rather than a database."""
    return urlparse(uri).scheme in ("http", "https")


def without_userinfo(text: str) -> str:
    """`text` with the ``user:password@`` of every URL in it left out."""
    return re.sub(r"(?<=://)[^/\s]*@", "", text)


def sign_in() -> None:
    """Hand the user and password of MLFLOW_TRACKING_URI on as MLflow reads them, so that no message shows its address."""
    address = urlparse(os.environ.get("MLFLOW_TRACKING_URI", "").strip())
    if address.scheme in ("http", "https") and address.username:
        os.environ.setdefault("MLFLOW_TRACKING_USERNAME", unquote(address.username))
        os.environ.setdefault("MLFLOW_TRACKING_PASSWORD", unquote(address.password or ""))


def environment() -> dict[str, str]:
    """This process's environment with MLflow's telemetry and chatter off, what the person set kept."""
    return {**_QUIET, **os.environ}


def connect(place: Home) -> MlflowClient:
    """A client of `place`. Costs about 5 CPU-seconds: MLflow's import, and the first time its 60 migrations.

    Raises StoreError at once where a SQLite file cannot be written: MLflow would try again for minutes.
    """
    check_writable(place)
    sign_in()
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    from mlflow.tracking.client import MlflowClient

    for name in ("mlflow", "alembic", "sqlalchemy"):  # after the import, which sets levels and handlers of its own
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    return MlflowClient(place.uri, registry_uri=os.environ.get("MLFLOW_REGISTRY_URI") or place.uri)


def check_writable(place: Home) -> None:
    """Raises StoreError where `place` is a SQLite file that cannot be written.

    Asking for write-ahead logging, with which the UI reads while a run writes, is the proof.
    """
    database = place.database
    if database is None:
        return
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(database, timeout=10)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
        finally:
            connection.close()
    except (OSError, sqlite3.Error) as fault:
        raise StoreError(
            f"MLflow's database {database} cannot be written: {fault}",
            mend="make it writable, move it away, or set MLFLOW_TRACKING_URI",
        ) from None
