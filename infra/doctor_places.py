"""What `corpusmill doctor` asks of places: the store, MLflow, and credentials, which it names and never shows."""

from __future__ import annotations

import os
import sqlite3
import stat
import uuid
from base64 import b64encode
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from infra.finding import Finding
from infra.mlflow_home import Home, check_writable, connect, home, is_server, sign_in
from pipeline.errors import CorpusmillError
from pipeline.files import Files, open_root

PATIENCE = 5.0


def store(root: str) -> Iterator[Finding]:
    """Whether the store can be written, and of two writers of one record the first wins."""
    try:
        files = open_root(root)
        files.check()
        problem = _race(files)
    except CorpusmillError as fault:
        yield Finding("store", "fail", fault.message, fault.mend)
        return
    if problem:
        yield Finding(
            "store", "fail", f"{files.url}: {problem}", "use a file system with hard links, or s3://bucket/prefix"
        )
    else:
        yield Finding("store", "ok", f"{files.url}: writable, a record is put only if absent")


def _race(files: Files) -> str:
    """What is wrong with putting a record once; empty where nothing is. What did not exist before is gone again."""
    before = not files.remote and not files.local.exists()
    name = f".doctor-{uuid.uuid4().hex}"
    try:
        first, second = files.create(name, b"first"), files.create(name, b"second")
        kept = files.read(name)
    finally:
        files.remove(name)
        if before:
            files.local.rmdir()
    return "" if (first, second, kept) == (True, False, b"first") else "a record can be overwritten"


def mlflow(root: str, deep: bool) -> list[Finding]:
    """Whether the tracking server answers, or the database can be written."""
    if find_spec("mlflow") is None:
        return [
            Finding(
                "mlflow",
                "warn",
                "not installed; --tracker none runs without",
                "pip install -c constraints.txt -e '.[mlflow]'",
            )
        ]
    try:
        place = home(root)
        said = _answers(place) if is_server(place.uri) else _writes(place)
        if deep:
            connect(place).search_experiments(max_results=1)
    except (CorpusmillError, URLError, OSError, ValueError) as fault:
        mend = (
            getattr(fault, "mend", "")
            or "see MLFLOW_TRACKING_URI and the server; runs go on without, corpusmill track tells it later"
        )
        return [Finding("mlflow", "fail", f"{version('mlflow')}; {_why(fault)}", mend)]
    return [Finding("mlflow", "ok", f"{version('mlflow')}; {said}")]


def _why(fault: Exception) -> str:
    if isinstance(fault, HTTPError) and fault.code in (401, 403):
        return f"the server refuses ({fault.code}): MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
    reason = getattr(fault, "reason", fault)
    return getattr(fault, "message", "") or f"the server cannot be reached: {getattr(reason, 'strerror', '') or reason}"


def _answers(place: Home) -> str:
    """That the server at the tracking URI takes our credentials."""
    request = Request(f"{place.uri.rstrip('/')}/api/2.0/mlflow/experiments/search", b'{"max_results": 1}')
    request.add_header("Content-Type", "application/json")
    sign_in()
    user, token = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_TOKEN")
    if user:
        pair = f"{user}:{os.environ.get('MLFLOW_TRACKING_PASSWORD', '')}"
        request.add_header("Authorization", "Basic " + b64encode(pair.encode()).decode())
    elif token:
        request.add_header("Authorization", f"Bearer {token}")
    with urlopen(request, timeout=PATIENCE):
        return f"{place.uri} answers"


def _writes(place: Home) -> str:
    """That the database can be written; one that is not there yet is not made."""
    if place.database is None:
        return "a database that --deep asks"
    if place.database.exists():
        check_writable(place)
        return f"{place.database} is writable"
    there = next(one for one in place.database.parents if one.exists())
    if not os.access(there, os.W_OK):
        raise OSError(f"{there} is not writable")
    return f"{place.database} will be made (SQLite {sqlite3.sqlite_version})"


class Known(NamedTuple):
    """Credentials for one thing: the variables and the file in which they may stand, and what they are for."""

    check: str
    pairs: tuple[tuple[str, ...], ...]
    file: str
    purpose: str
    mend: str


KNOWN = (
    Known("aws", (("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), ("AWS_PROFILE",)), "~/.aws/credentials", "a store on S3",
          "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or give the machine a role"),
    Known("modal", (("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET"),), "~/.modal.toml", "GPUs on Modal", "modal token new"),
    Known("hugging face", (("HF_TOKEN",),), "~/.cache/huggingface/token", "gated models and data", "set HF_TOKEN"),
)  # fmt: skip


def credentials(root: str) -> Iterator[Finding]:
    """Which credentials are there, by name alone."""
    for one in KNOWN:
        needed = one.check == "aws" and root.startswith("s3://")
        half = [missing for pair in one.pairs if (missing := _missing(pair))]
        there = [name for pair in one.pairs for name in pair if os.environ.get(name)]
        file, check = Path(one.file).expanduser(), f"credentials, {one.check}"
        if half:
            yield Finding(check, "warn", f"{' and '.join(there)} is set, {' and '.join(half)} is not", one.mend)
        elif there:
            yield Finding(check, "ok", f"{', '.join(there)} set")
        elif file.is_file():
            yield _kept(check, file)
        else:
            said = f"none; only for {one.purpose}"
            yield Finding(check, "warn" if needed else "ok", said, one.mend)


def _missing(pair: tuple[str, ...]) -> str:
    """What lacks of a pair of which something is set."""
    absent = [name for name in pair if not os.environ.get(name)]
    return " and ".join(absent) if 0 < len(absent) < len(pair) else ""


def _kept(check: str, file: Path) -> Finding:
    open_to_all = stat.S_IMODE(file.stat().st_mode) & 0o077
    if open_to_all:
        return Finding(check, "warn", f"{file} can be read by others", f"chmod 600 {file}")
    return Finding(check, "ok", f"in {file}")
