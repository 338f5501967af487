"""A described run as a SkyPilot task: any of several clouds, spot or not, the code by an allow-list, secrets by name."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from infra.described import Described, Machine, opening
from infra.yaml_text import dump

CODE = "~/corpusmill"
OWN = "~/dag"
ENVIRONMENT = "~/mill"
PORT = 6379
"""Of our own Ray's head; SkyPilot keeps one for itself at another."""
TOKEN = "RAY_AUTH_TOKEN"
NAMES = {"A100-40GB": "A100"}
"""Types of GPU that SkyPilot calls otherwise than we do."""


def skypilot(described: Described, root: str, parts: tuple[str, ...]) -> str:
    """The task for ``sky launch``; `parts` of the folder `root`, and the dag's own files, are all that leaves this machine."""
    machine = described.worker if described.workers else described.head
    secrets = [*described.secrets, *([TOKEN] if described.workers and TOKEN not in described.secrets else [])]
    mounts = {f"{CODE}/{part}": str(PurePosixPath(root) / part) for part in parts}
    mounts |= {f"{OWN}/{file}": str(PurePosixPath(described.own_folder) / file) for file in described.own}
    task: dict[str, Any] = {
        "name": described.name,
        "resources": _resources(described, machine),
        **({"num_nodes": described.workers + 1} if described.workers else {}),
        "file_mounts": mounts,
        **({"envs": dict(described.environment)} if described.environment else {}),
        **({"secrets": dict.fromkeys(secrets)} if secrets else {}),
        "setup": _setup(described),
        "run": _run(described),
    }
    return _opening(described, secrets) + dump(task)


def _opening(described: Described, secrets: list[str]) -> str:
    names = "".join(f" --secret {name}" for name in secrets)
    said = []
    if described.spot:
        said.append(f"A machine that is taken away is replaced, and goes on: sky jobs launch{names} FILE")
    else:
        said.append(f"sky launch --down{names} FILE")
    if secrets:
        said.append("Each --secret NAME takes its value from your environment at that moment; none is written here.")
    if TOKEN in secrets and TOKEN not in described.secrets:
        said.append(f"{TOKEN} is any long random word: export {TOKEN}=$(openssl rand -hex 32)")
    if not described.told:
        said.append("MLflow is told afterwards, from the store: corpusmill track --all --store " + described.store)
    return opening(*said)


def _resources(described: Described, machine: Machine) -> dict[str, Any]:
    found: dict[str, Any] = {"cpus": f"{machine.cpus}+", "memory": f"{machine.memory_gib}+"}
    if machine.gpus:
        found["accelerators"] = {NAMES.get(machine.gpu, machine.gpu): machine.gpus}
    if described.spot:
        found["use_spot"] = True
    found["autostop"] = {"idle_minutes": 5, "down": True}
    if described.places:
        found["any_of"] = [{"infra": str(place)} for place in described.places]
    return found


def _setup(described: Described) -> str:
    index = f' --extra-index-url "{described.torch_index}"' if described.torch_index else ""
    return "\n".join([
        "set -e",
        f"cd {CODE}",
        f"python{described.python} -m venv {ENVIRONMENT} 2>/dev/null || {{",
        "  python3 -m pip install --user --quiet uv",
        f"  python3 -m uv venv --seed --clear --python {described.python} {ENVIRONMENT}",
        "}",
        f". {ENVIRONMENT}/bin/activate",
        f"python -m pip install --quiet -c constraints.txt{index} torch setuptools",
        f"python -m pip install --quiet --no-build-isolation -c constraints.txt -e '{described.requirement()}'",
        "",
    ])  # fmt: skip


def _run(described: Described) -> str:
    """On one machine, our own local Ray; on several, a cluster whose head runs the dag and whose others end with it."""
    enter = ["set -e", f". {ENVIRONMENT}/bin/activate", f"cd {OWN if described.own else CODE}"]
    if not described.workers:
        return "\n".join([*enter, f"exec {described.line(cluster=False)}", ""])
    gpus = "--num-gpus=${SKYPILOT_NUM_GPUS_PER_NODE:-0} --disable-usage-stats"
    return "\n".join([
        *enter,
        "export RAY_AUTH_MODE=token",
        'head=$(echo "$SKYPILOT_NODE_IPS" | head -n 1)',
        'if [ "$SKYPILOT_NODE_RANK" != 0 ]; then',
        f'  for try in $(seq 120); do (exec 3<>"/dev/tcp/$head/{PORT}") 2>/dev/null && break; sleep 5; done',
        f'  ray start --block --address="$head:{PORT}" {gpus} || true',
        "  exit 0",
        "fi",
        f'ray start --head --block --node-ip-address="$head" --port={PORT} --include-dashboard=false {gpus} &',
        "ray=$!; trap 'kill $ray; wait $ray || true' EXIT  # never `ray stop`: it ends SkyPilot's own Ray as well",
        'for try in $(seq 120); do (exec 3<>"/dev/tcp/127.0.0.1/10001") 2>/dev/null && break; sleep 1; done',
        described.line(cluster=True),
        "",
    ])  # fmt: skip
