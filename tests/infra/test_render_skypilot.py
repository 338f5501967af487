"""The SkyPilot task, as SkyPilot's own parser reads it; its scripts as a shell does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.render_docker import PARTS
from pipeline.errors import UsageError
from tests.house import ROOT
from tests.infra.rendering import document, own_dag, render

SKYPILOT = Path(sys.prefix) / "skypilot"
"""Where `make test` puts what tests/skypilot.txt lists."""
STORE = ("--store", "s3://corpus/mill")


def read(folder: Path, *texts: str) -> list[dict[str, Any]]:
    """What SkyPilot makes of each task."""
    assert (SKYPILOT / "sky").is_dir(), "make test installs tests/skypilot.txt there"
    path = os.pathsep.join([str(SKYPILOT), os.environ["PYTHONPATH"]])
    own = {"PYTHONPATH": path, "HOME": str(folder), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.infra.read_skypilot"],
        cwd=ROOT, env={**os.environ, **own}, input=json.dumps(texts), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_skypilot_reads_it_as_it_is_meant_and_refuses_an_unknown_field(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    own = own_dag(tmp_path / "own")
    clouds = ["--cloud", "aws/us-east-1", "--cloud", "gcp", "--spot"]
    several = render(
        "skypilot", own, *STORE, "--workers", "2", *clouds, "--secret", "HF_TOKEN", "--env", "AWS_REGION=us-east-1"
    )
    one = render("skypilot", "quickstart", *STORE)
    wrong = several.replace("use_spot:", "use_spots:")
    first, second, refused = read(tmp_path, several, one, wrong)
    assert (first["nodes"], second["nodes"]) == (3, 1)
    machines = sorted(first["resources"], key=lambda one: one["cloud"])
    assert [(one["cloud"], one["region"]) for one in machines] == [("AWS", "us-east-1"), ("GCP", None)]
    assert all(one["gpus"] == {"H100": 2} and one["spot"] and one["down"] and one["cpus"] == "8+" for one in machines)
    assert second["resources"][0]["gpus"] is None and not second["resources"][0]["spot"]
    assert first["secrets"] == ["HF_TOKEN", "RAY_AUTH_TOKEN"] and first["envs"]["AWS_REGION"] == "us-east-1"
    assert "use_spots" in refused["error"]


def test_only_our_folders_and_the_dags_own_sources_leave_this_machine(tmp_path: Path) -> None:
    task = document(render("skypilot", own_dag(tmp_path), *STORE))
    mounts = task["file_mounts"]
    assert {name for name in mounts if name.startswith("~/corpusmill/")} == {f"~/corpusmill/{part}" for part in PARTS}
    assert {name: mounts[name] for name in mounts if name.startswith("~/dag/")} == {
        f"~/dag/{name}": f"{tmp_path}/{name}" for name in ("words.py", "helpers/text.py", "helpers/__init__.py")
    }
    assert all(Path(place).exists() for place in mounts.values()) and "workdir" not in task


def test_one_machine_runs_our_command_and_several_make_a_cluster_first(tmp_path: Path) -> None:
    one = document(render("skypilot", "quickstart", "steps=800", *STORE, "--max-cost", "5"))
    assert (
        one["run"].splitlines()[-1]
        == "exec corpusmill run quickstart steps=800 --store s3://corpus/mill --tracker none --max-cost 5"
    )
    several = document(render("skypilot", own_dag(tmp_path), *STORE, "--workers", "1"))
    assert several["num_nodes"] == 2 and several["secrets"] == {"RAY_AUTH_TOKEN": None}
    assert "corpusmill run words.py:words --store s3://corpus/mill --on ray://127.0.0.1:10001" in several["run"]
    assert "ray stop" not in several["run"].replace("never `ray stop`", ""), "it would end SkyPilot's own Ray"
    for script in (one["setup"], one["run"], several["run"]):
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_a_gpu_without_a_type_and_too_odd_a_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a cloud rents GPUs by type"):
        render("skypilot", "quickstart", *STORE, "--gpus", "1")
    name = own_dag(tmp_path)
    (tmp_path / "helpers" / "a b.py").write_text("")
    with pytest.raises(UsageError, match=r"cannot name 'helpers/a b\.py'"):
        render("skypilot", name, *STORE)
