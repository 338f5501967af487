"""How Ray begins, and what a person reads where it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.kept import RayHost
from infra.ray_executor import RayExecutor
from pipeline import Resources, StageFailed
from tests.executors.helpers import Hand
from tests.pipeline.toys import Say


@pytest.mark.parametrize("first", ["never ready", "a raylet that dies"])
def test_a_ray_that_does_not_come_up_is_started_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    answers: list[str] = []
    answer, begin = RayHost.answer, RayHost.__init__

    def begun(self: RayHost, module: str, **room: Any) -> None:
        dies = not answers and first == "a raylet that dies"
        begin(self, "tests.infra.host_without_raylet" if dies else module, **room)

    def not_at_first(self: RayHost, seconds: float) -> dict[str, Any]:
        found = answer(self, 0.1 if not answers and first == "never ready" else seconds)
        answers.append(found.get("lost", "ready"))
        return found

    monkeypatch.setattr(RayHost, "__init__", begun)
    monkeypatch.setattr(RayHost, "answer", not_at_first)
    hand = Hand(RayExecutor(cpus=1), tmp_path / "store")
    try:
        assert hand.text(hand.made(Say(words=("one",)))) == "one"
        assert answers == ["not ready within 0 s" if first == "never ready" else _DIED, "ready"]
    finally:
        hand.executor.close(cancel=True)


_DIED = "Ray did not start: its raylet died as it started"


def test_a_cluster_of_other_versions_is_told_with_both() -> None:
    from ray._private.utils import check_version_info

    from infra.ray_start import why_not

    with pytest.raises(RuntimeError) as raised:
        check_version_info({"ray_version": "2.0.0", "python_version": "3.9.1"}, "Ray Client", True, "minor")
    told = why_not(raised.value, "ray://head:10001")
    assert told["lost"].startswith(
        "the cluster at ray://head:10001 has Ray 2.0.0 and Python 3.9.1, and this machine Ray "
    )
    assert "constraints.txt" in told["mend"] and not told.get("again")


def test_an_address_where_no_cluster_is_is_told_with_what_to_look_for(tmp_path: Path) -> None:
    executor = RayExecutor(address="ray://127.0.0.1:1")
    with pytest.raises(StageFailed, match=r"answers at ray://127.0.0.1:1 \(Connection refused\)") as raised:
        Hand(executor, tmp_path / "store").made(Say())
    assert "ray start --head --ray-client-server-port" in raised.value.mend
    executor.close(cancel=True)


def test_what_no_living_machine_of_a_cluster_has_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from infra.ray_room import lacking

    has = {"CPU": 8.0, "GPU": 2.0, "accelerator_type:A100": 1.0, "memory": 32.0 * 2**30}
    nodes = [
        {"NodeID": "1", "Alive": True, "Resources": has},
        {"NodeID": "2", "Alive": False, "Resources": {**has, "CPU": 64.0}},
    ]
    monkeypatch.setattr("ray.nodes", lambda: nodes)
    assert lacking(Resources(cpus=8, gpu="A100-80GB", memory_gib=32)) == ""
    assert lacking(Resources(cpus=16)) == "a machine with 16 CPU cores"
    assert lacking(Resources(gpu="H100")) == "a machine with 1 H100 GPU (its GPUs are A100)"
    assert lacking(Resources(gpus=4, memory_gib=64)) == "a machine with 4 GPUs and 64 GiB of memory"


@pytest.mark.parametrize(
    ("ours", "rays"),
    [
        ("H100", ["H100"]), ("h100", ["H100"]), ("H100!", ["H100"]), ("B200+", ["B200"]), ("A100", ["A100"]),
        ("A100-80GB", ["A100-80G", "A100"]), ("A100-40GB", ["A100-40G", "A100"]), ("L40S", ["L40S"]), ("A10", ["A10"]),
        ("A10G", ["A10G"]), ("T4", ["T4"]), ("RTX-PRO-6000", ["RTX-PRO-6000"]), ("GeForce-RTX-5090", ["GeForce-RTX-5090"]),
        ("amd-instinct-mi300x-oam", ["AMD-Instinct-MI300X-OAM"]),
    ],
)  # fmt: skip
def test_a_type_of_gpu_is_asked_for_as_ray_calls_it(ours: str, rays: list[str]) -> None:
    from infra.ray_room import types

    assert types(ours) == rays


def test_rays_own_names_are_what_ray_makes_of_the_names_of_the_devices() -> None:
    from ray._private.accelerators.nvidia_gpu import NvidiaGPUAcceleratorManager as Nvidia

    from infra.ray_room import types

    devices = {
        "NVIDIA H100 80GB HBM3": "H100!", "NVIDIA A100-SXM4-80GB": "A100-80GB", "NVIDIA A100-PCIE-40GB": "A100-40GB", "Tesla T4": "T4",
        "NVIDIA L4": "L4", "NVIDIA A10G": "A10G", "NVIDIA A10": "A10", "NVIDIA L40S": "L40S", "NVIDIA H200": "H200", "NVIDIA B200": "B200+",
        "NVIDIA RTX PRO 6000 Blackwell Server Edition": "RTX-PRO-6000",
    }  # fmt: skip
    assert {device: Nvidia._gpu_name_to_accelerator_type(device) for device in devices} == {
        device: types(ours)[-1] for device, ours in devices.items()
    }


def test_a_size_is_asked_for_where_a_machine_declares_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from infra.ray_room import lacking, options

    nodes = [{"NodeID": "1", "Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0, "accelerator_type:A100": 1.0}}]
    monkeypatch.setattr("ray.nodes", lambda: nodes)
    asked = Resources(gpu="A100-80GB")
    assert options(asked, True)["accelerator_type"] == "A100" and lacking(asked) == ""
    nodes[0]["Resources"]["accelerator_type:A100-80G"] = 1.0
    assert options(asked, True)["accelerator_type"] == "A100-80G" and lacking(asked) == ""
    assert options(Resources(gpu="A100-40GB"), True)["accelerator_type"] == "A100"
    assert "accelerator_type" not in options(asked, False), "a private cluster has the GPUs of this machine"
