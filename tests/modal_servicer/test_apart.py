"""A container is apart: it has what was declared, and nothing of the machine that runs the tests."""

from __future__ import annotations

from types import ModuleType

import pytest

from tests.modal_servicer.room import interpreter
from tests.modal_servicer.service import Service

pytestmark = pytest.mark.elsewhere

MODAL_SETS = {
    *("PATH", "HOME", "LANG", "PYTHONPATH", "PYTHONUNBUFFERED"),
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
    *("MODAL_IS_REMOTE", "MODAL_CLOUD_PROVIDER", "MODAL_REGION", "MODAL_ENVIRONMENT", "MODAL_IMAGE_ID"),
    *("MODAL_TASK_ID", "MODAL_SERVER_URL", "MODAL_CONTAINER_ARGUMENTS_PATH"),
}


def test_a_job_sees_only_its_declared_files_and_environment(
    service: Service, deployed: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_TESTER", "not for the job")
    seen = deployed.surroundings.remote()
    assert set(seen["environment"]) - {"LC_CTYPE"} == MODAL_SETS
    assert seen["imports"] == {"pipeline": False, "stages": False, "tests": False, "shop": True, "modal": True}
    on_the_way = {
        part for path in interpreter() for part in path.parts
    }  # it may lie below /tmp or a home, as everywhere
    assert (
        seen["directory"],
        [name for name in seen["tmp"] if not name.startswith("cm-") and name not in on_the_way],
    ) == ("/root", [])
    assert [name for name in seen["home"] if name not in {"__pycache__", *on_the_way}] == ["shop.py"]
    assert seen["processes"] == [1]


def test_a_secret_is_named_by_the_app_and_held_only_where_it_is_declared(
    service: Service, deployed: ModuleType
) -> None:
    told = deployed.told.remote()
    assert (told["PLANTED"], told["DECLARED"], told["directory"]) == ("s3cr3t-value", "by the image", "/srv")
    (container,) = service.started("told")
    assert container.environment["PLANTED"] == "s3cr3t-value"
    carried = [call.name for call in service.calls if b"s3cr3t-value" in call.request.SerializeToString()]
    assert carried == ["SecretGetOrCreate", "FunctionPutOutputs"]  # as it was made, and as the job gave it away itself
    assert not any("s3cr3t-value" in " ".join(image.commands) for image in service.objects.images.values())
