"""A container is apart: it has what was declared, and nothing of the machine that runs the tests."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from tests.modal_servicer import packages
from tests.modal_servicer.objects import BUILDER
from tests.modal_servicer.room import interpreter, libraries
from tests.modal_servicer.service import Service, Unmodelled

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
    there = {name for name, found in seen["imports"].items() if found}
    assert there == {"shop", "modal", "pip"}, "no package that its image does not name"
    on_the_way = {
        part for path in interpreter() for part in path.parts
    }  # it may lie below /tmp or a home, as everywhere
    assert (
        seen["directory"],
        [name for name in seen["tmp"] if not name.startswith("cm-") and name not in on_the_way],
    ) == ("/root", [])
    assert [name for name in seen["home"] if name not in {"__pycache__", *on_the_way}] == ["shop.py"]
    assert seen["processes"] == [1]


def test_an_image_brings_what_it_names_with_all_that_this_needs_and_nothing_that_is_not_to_be_had() -> None:
    commands = [
        "RUN pip install --upgrade pip wheel uv",
        "RUN /.uv/uv pip install --python $(command -v python) 'tokenizers>=0.1'",
    ]
    brought = packages.seen(tuple(commands), BUILDER)
    assert {"tokenizers", "huggingface_hub", "modal", "pip"} <= set(brought) and not {"torch", "ray"} & set(brought)
    for missing in ("tokenizers>=99", "no-such-package-of-ours"):
        with pytest.raises(ValueError, match=missing):
            packages.seen((f"RUN pip install {missing}",), BUILDER)
    with pytest.raises(Unmodelled, match="--index-url"):
        packages.seen(("RUN pip install --index-url x tokenizers",), BUILDER)


def test_a_package_that_ray_brings_for_itself_alone_is_not_the_one_that_an_image_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "psutil-7.2.2.dist-info"
    own.mkdir()
    (own / "METADATA").write_text("Metadata-Version: 2.1\nName: psutil\nVersion: 7.2.2\n")
    (own / "RECORD").write_text("psutil/__init__.py,,\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    brought = packages.seen(("RUN pip install psutil>=7",), BUILDER)
    assert brought["psutil"].parent in libraries(), "as a container has it"


def test_a_secret_is_named_by_the_app_and_held_only_where_it_is_declared(
    service: Service, deployed: ModuleType
) -> None:
    told = deployed.told.remote()
    assert (told["PLANTED"], told["DECLARED"], told["directory"]) == ("s3cr3t-value", "by the image", "/srv")
    (container,) = service.started("told")
    assert container.environment["PLANTED"] == "s3cr3t-value"
    carried = [call.name for call in service.calls if b"s3cr3t-value" in call.request.SerializeToString()]
    assert list(dict.fromkeys(carried)) == [
        "SecretGetOrCreate",
        "FunctionPutOutputs",
    ]  # as it was made, and as the job gave it away itself
    assert not any("s3cr3t-value" in " ".join(image.commands) for image in service.objects.images.values())
