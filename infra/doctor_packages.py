"""What `corpusmill doctor` asks of packages: the pins and extras, torch with CUDA, Ray. Little is imported unless asked to."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from infra.finding import Finding
from pipeline.errors import CorpusmillError
from pipeline.machine_load import gpu_count
from pipeline.tables import duration, size

CONSTRAINTS = Path(__file__).resolve().parents[1] / "constraints.txt"
DEMO = ("data", "train", "serve", "ray", "mlflow")
"""The extras that `make demo` installs."""
ELSEWHERE = {"s3": "a store on S3", "modal": "GPUs on Modal"}
PATIENCE = 120
LITTLE_SHARED = 200e6

TORCH = """
import json, torch
found = {"devices": []}
for number in range(torch.cuda.device_count()):
    about = torch.cuda.get_device_properties(number)
    square = torch.ones(256, 256, device=f"cuda:{number}")
    found["devices"].append([about.name, about.total_memory, float((square @ square)[0, 0])])
square = torch.ones(256, 256)
found["here"] = float((square @ square)[0, 0])
print(json.dumps(found))
"""
"""Runs in a process of its own: a broken driver may hang it or take it down."""


def packages(store: str) -> Iterator[Finding]:
    """Each extra: what is missing of it, and what has another version than the one that is tested."""
    wanted = _extras()
    for extra in DEMO:
        yield _extra(extra, wanted.get(extra, []), f"pip install -c constraints.txt -e '.[{extra}]'", True)
    for extra, purpose in ELSEWHERE.items():
        needed = extra == "s3" and store.startswith("s3://")
        finding = _extra(extra, wanted.get(extra, []), f"pip install -c constraints.txt -e '.[{extra}]'", needed)
        optional = finding.state == "ok" and finding.mend
        yield finding._replace(said=f"{finding.said}; only for {purpose}") if optional else finding


def _extra(extra: str, names: list[str], mend: str, needed: bool) -> Finding:
    check, installed = f"packages, {extra}", {name: _version(name) for name in names}
    missing = [name for name, found in installed.items() if not found]
    if missing:
        return Finding(check, "warn" if needed else "ok", f"{', '.join(missing)} not installed", mend)
    pins = _pins()
    others = [
        f"{name} {found}, tested with {pins[name]}"
        for name, found in installed.items()
        if pins.get(name, found) != found
    ]
    if others:
        return Finding(check, "warn", "; ".join(others), mend)
    return Finding(check, "ok", f"{', '.join(names[:3])}{', …' if len(names) > 3 else ''} as pinned")


@cache
def _extras() -> dict[str, list[str]]:
    """The packages of each extra, by the names that pins have."""
    found: dict[str, list[str]] = {}
    for line in requires("corpusmill") or []:
        named = re.match(r"([A-Za-z0-9._-]+).*extra == ['\"](\w+)['\"]", line)
        if named and named.group(1) != "corpusmill":
            found.setdefault(named.group(2), []).append(_form(named.group(1)))
    return found


@cache
def _pins() -> dict[str, str]:
    if not CONSTRAINTS.is_file():
        return {}
    lines = (line.split("==") for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines() if "==" in line)
    return {_form(name): pinned for name, pinned in lines}


def _form(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _version(name: str) -> str:
    """The installed version without its local part (``+cpu``); empty where it is missing."""
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return ""


def torch(deep: bool) -> list[Finding]:
    """The build of torch, and whether it reaches the GPUs that are there, each with a product that it must get right."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return [Finding("torch", "warn", "not installed", "pip install -c constraints.txt torch")]
    cards = gpu_count()
    cuda = _built_for(Path(spec.origin).with_name("version.py"))
    said = f"{version('torch')}, built for " + (f"CUDA {cuda}" if cuda else "CPUs")
    if not cards and not deep:
        return [Finding("torch", "ok", f"{said}; no NVIDIA GPU here")]
    if cards and not cuda:
        return [
            Finding(
                "torch",
                "fail",
                f"{said}, but there are {cards} GPUs",
                "pip install torch from an index with CUDA builds",
            )
        ]
    try:
        tried = _tried()
    except (OSError, subprocess.SubprocessError, ValueError) as fault:
        return [
            Finding(
                "torch",
                "fail",
                f"{said}; it does not start: {_last(fault)}",
                "pip install --force-reinstall -c constraints.txt torch",
            )
        ]
    if tried["here"] != 256:
        return [
            Finding("torch", "fail", f"{said}; a product of matrices is wrong", "see OPENBLAS_CORETYPE and the like")
        ]
    return [Finding("torch", "ok", said), *_devices(tried["devices"], cards)]


def _devices(devices: list[list[Any]], cards: int) -> Iterator[Finding]:
    if cards and not devices:
        mend = "see nvidia-smi: the driver may be older than this CUDA needs, or CUDA_VISIBLE_DEVICES hides them"
        yield Finding("cuda", "fail", f"{cards} GPUs, but torch sees none", mend)
    for name, memory, product in devices:
        right = product == 256
        said = f"{name}, {size(memory)}, " + ("multiplies" if right else f"256 came out as {product}")
        yield Finding("cuda", "ok" if right else "fail", said, "" if right else "use another GPU: this one is broken")


def _tried() -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-c", TORCH], capture_output=True, text=True, timeout=PATIENCE, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _last(fault: Exception) -> str:
    said = str(getattr(fault, "stderr", "") or fault).strip().splitlines()
    return said[-1] if said else type(fault).__name__


def _built_for(about: Path) -> str:
    """The CUDA that this torch was built for, read rather than imported; empty for none."""
    found = re.search(r"^cuda(?::[^=]*)? = '([^']+)'", about.read_text(encoding="utf-8"), re.MULTILINE)
    return found.group(1) if found else ""


def ray(deep: bool) -> Iterator[Finding]:
    """Whether Ray can be imported, has shared memory, and, where asked to, runs a stage."""
    if find_spec("ray") is None:
        yield Finding(
            "ray", "warn", "not installed; --on inline runs without", "pip install -c constraints.txt -e '.[ray]'"
        )
        return
    done = subprocess.run([sys.executable, "-c", "import ray"], capture_output=True, text=True, timeout=PATIENCE)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
        yield Finding(
            "ray", "fail", f"it cannot be imported: {said}", "pip install --force-reinstall -c constraints.txt ray"
        )
        return
    shared = shutil.disk_usage("/dev/shm").free if Path("/dev/shm").is_dir() else None
    if shared is not None and shared < LITTLE_SHARED:
        yield Finding(
            "ray", "warn", f"{_version('ray')}; only {size(shared)} of shared memory", "docker run --shm-size=1g"
        )
    elif deep:
        yield _ran()
    else:
        yield Finding("ray", "ok", f"{_version('ray')}; --deep starts it")


def _ran() -> Finding:
    from infra.doctor_probe import Probe
    from infra.ray_executor import RayExecutor
    from pipeline.dag import Dag
    from pipeline.run import run
    from pipeline.store import Store

    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="corpusmill-doctor-") as folder:
        try:
            ended = run(Dag(Probe()), Store(folder), name="doctor", dials={}, executor=lambda: RayExecutor(cpus=1))
        except CorpusmillError as fault:
            return Finding("ray", "fail", fault.message, fault.mend)
        if not ended.ok:
            return Finding(
                "ray",
                "fail",
                str(next(iter(ended.faults.values()))).splitlines()[0],
                "run again with --on inline",
            )
    return Finding(
        "ray", "ok", f"{_version('ray')}; started, ran a stage and stopped in {duration(time.monotonic() - began)}"
    )
