"""What `corpusmill doctor` asks of the machine itself: Python, cores, memory, disk, ports, clock."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

from infra.finding import Finding
from pipeline.errors import StoreError
from pipeline.machine import machine
from pipeline.tables import moment, size

LEAST_PYTHON = (3, 11)
LEAST_MEMORY_GIB = 4.0
"""For the demo: Ray, a worker that trains and a server."""
LITTLE_DISK, NO_DISK = 10e9, 1e9
PORTS = {8000: "corpusmill serve", 5000: "corpusmill ui"}
SKEW_SECONDS = 5.0


def python() -> list[Finding]:
    """The version of Python, and whether an environment of its own keeps packages apart."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < LEAST_PYTHON:
        return [Finding("python", "fail", version, "use Python 3.11 or newer: make PYTHON=python3.12 demo")]
    apart = sys.prefix != sys.base_prefix or bool(os.environ.get("CONDA_PREFIX")) or Path("/.dockerenv").exists()
    if apart:
        return [Finding("python", "ok", f"{version}, in {sys.prefix}")]
    return [
        Finding("python", "warn", f"{version}, the system's own", "make demo sets up .venv, apart from other packages")
    ]


def room() -> list[Finding]:
    """Cores, and the memory that is free now."""
    has, free = machine(), _free_memory()
    said = f"{has['cpus']} cores, {has['memory_gib']} GiB of memory" + (
        f", {free:.1f} free" if free is not None else ""
    )
    least = free if free is not None else float(has["memory_gib"])
    if least < LEAST_MEMORY_GIB:
        return [
            Finding(
                "machine",
                "warn",
                said,
                f"less than {LEAST_MEMORY_GIB:g} GiB may not do for the demo: end what else runs",
            )
        ]
    return [Finding("machine", "ok", said)]


def _free_memory() -> float | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()[0]) / 2**20
    return None


def disk(store: str) -> list[Finding]:
    """Free space where artifacts or their copies lie, and where Ray and pip work."""
    places = {"disk": _there(_local(store)), "disk, temporary": Path(tempfile.gettempdir())}
    found = []
    for name, place in places.items():
        free = shutil.disk_usage(place).free
        said = f"{size(free)} free at {place}"
        if free >= LITTLE_DISK:
            found.append(Finding(name, "ok", said))
        else:
            mend = "corpusmill gc shows what can go" if name == "disk" else "free some, or set TMPDIR to a larger disk"
            found.append(Finding(name, "fail" if free < NO_DISK else "warn", said, mend))
    return found


def _local(store: str) -> Path:
    from pipeline.files import open_root

    try:
        return open_root(store).local
    except StoreError:  # told by the check of the store
        return Path.cwd()


def _there(path: Path) -> Path:
    return next(one for one in (path, *path.parents) if one.exists())


def ports() -> list[Finding]:
    """Whether the ports that commands take by default are free."""
    taken = {port: command for port, command in PORTS.items() if not _is_free(port)}
    if not taken:
        return [Finding("ports", "ok", f"{' and '.join(map(str, PORTS))} are free")]
    said = ", ".join(f"{port} ({command}) is taken" for port, command in taken.items())
    return [Finding("ports", "warn", said, "name another there with --port")]


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def clock() -> list[Finding]:
    """Whether the clock agrees with that of the disk, which may be another machine's, and is not before what was made."""
    before = time.time()
    with tempfile.NamedTemporaryFile(dir="." if os.access(".", os.W_OK) else None) as probe:
        made, now = os.stat(probe.name).st_mtime, time.time()
    off = min(made - before, 0.0) + max(made - now, 0.0)  # to make a file takes a while on a busy machine
    said = f"{moment(now)} {time.strftime('%Z')}"
    if abs(off) > SKEW_SECONDS or now < Path(__file__).stat().st_mtime - 86_400:
        return [Finding("clock", "warn", f"{said}; files are {off:+.0f} s off", "set it: timedatectl set-ntp true")]
    return [Finding("clock", "ok", said)]
