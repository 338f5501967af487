"""A described run as a Dockerfile and its .dockerignore: pinned packages, an ordinary user, nothing copied that is not named."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import PurePosixPath

from infra.described import DAG_HOME, HOME, Described, opening
from infra.render_kuberay import USER

PARTS = ("constraints.txt", "pyproject.toml", "README.md", "LICENSE", "pipeline", "stages", "infra", "dags")
"""Of this project, all that a machine elsewhere needs."""

CONTEXT = "dag"
"""The name under which the build is given the folder of a dag of one's own."""


def dockerfile(described: Described) -> str:
    """The Dockerfile; it is built in the project's folder."""
    index = '${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"}'
    pip = "RUN python -m pip install --no-cache-dir -c constraints.txt"
    own = [
        line
        for source, target in _own(described)
        for line in ("# hadolint ignore=DL3022", f"COPY --from={CONTEXT} {source} {target}")
    ]
    lines = [
        f"FROM python:{described.python}-slim",
        "",
        "# KubeRay asks by wget whether Ray lives. Debian keeps no older versions that could be pinned.",
        "# hadolint ignore=DL3008",
        "RUN apt-get update && apt-get install -y --no-install-recommends wget \\",
        " && rm -rf /var/lib/apt/lists/* \\",
        f" && useradd --uid {USER} --user-group --create-home --home-dir /var/lib/mill mill",
        "",
        f"WORKDIR {HOME}",
        "COPY constraints.txt ./",
        "# An index of other builds of torch, for example of those for CPUs; without one, pip's own, which on Linux has CUDA.",
        f"ARG TORCH_INDEX={json.dumps(described.torch_index)}",
        f"{pip} {index} torch setuptools",
        "COPY pyproject.toml README.md LICENSE ./",
        *(f"COPY {part} ./{part}" for part in PARTS if "." not in part and part != "LICENSE"),
        f"{pip} --no-build-isolation -e '{described.requirement()}'",
        *(["", f"# The dag's own folder, given to the build as {CONTEXT}.", *own] if own else []),
        "",
        f"USER {USER}",
        "ENV PYTHONUNBUFFERED=1 RAY_USAGE_STATS_ENABLED=0",
        f"CMD {json.dumps(described.words(cluster=False))}",
    ]
    return _opening(described) + "\n".join(lines) + "\n"


def _opening(described: Described) -> str:
    named = f" --build-context {CONTEXT}={described.own_folder}" if described.own else ""
    said = [
        "In Corpusmill's folder, with BuildKit:",
        f"  docker build -t {described.image} -f THIS_FILE{named} .",
        "It holds no secret: a run gets each by name, docker run -e NAME.",
        *([] if described.store else ["Nor a store: docker run -e CORPUSMILL_STORE=s3://bucket/prefix"]),
    ]
    return opening(*said)


def _own(described: Described) -> list[tuple[str, str]]:
    """What is copied of the dag's folder: its Python files and its lock, folder by folder."""
    folders = sorted({str(PurePosixPath(file).parent) for file in described.own if file.endswith(".py")})
    found = [
        ("*.py", f"{DAG_HOME}/") if folder == "." else (f"{folder}/*.py", f"{DAG_HOME}/{folder}/") for folder in folders
    ]
    return [*found, *((file, f"{DAG_HOME}/{file}") for file in described.own if not file.endswith(".py"))]


def dockerignore(parts: Iterable[str] = PARTS) -> str:
    """All is left out but what the Dockerfile copies; and of that, what is no source."""
    lines = ["*", *(f"!{part}" for part in parts), "**/__pycache__", "**/.*", "**/*.pyc"]
    return opening() + "\n".join(lines) + "\n"
