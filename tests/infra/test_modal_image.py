"""What is shipped into a container: the code that a job imports, and nothing that is large, cached or secret."""

from __future__ import annotations

from pathlib import Path

from infra.modal_image import Shipped, packages
from infra.travels import PACKAGES, ROOT


def test_a_folder_of_the_users_is_shipped_whole_and_of_ours_only_what_is_named(tmp_path: Path) -> None:
    shipped = Shipped()
    shipped.add(str(tmp_path), ["mine"])
    shipped.add(str(ROOT), ["stages.dedup"])
    assert shipped.folders == {str(tmp_path): "/corpusmill/user/0"} and shipped.place(str(ROOT)) is None
    shipped.add(str(ROOT), ["tests.pipeline.toys"])
    assert shipped.folders[str(ROOT / "tests")] == f"{shipped.place(str(ROOT))}/tests"


def test_the_name_of_an_app_changes_with_the_code_alone(tmp_path: Path) -> None:
    def digest() -> str:
        shipped = Shipped()
        shipped.add(str(tmp_path), ["mine"])
        return shipped.digest()

    (tmp_path / "mine.py").write_text("one = 1")
    before = digest()
    (tmp_path / ".env").write_text("SECRET=1")
    (tmp_path / "weights.safetensors").write_text("1")
    assert digest() == before
    (tmp_path / "mine.py").write_text("one = 2")
    assert digest() != before


def test_the_image_has_what_stages_run_on_and_no_tracker_or_cluster() -> None:
    names = " ".join(packages())
    assert all(name in names for name in ("pydantic", "torch", "pyarrow", "s3fs", "tokenizers"))
    assert not any(name in names for name in ("mlflow", "ray[", "pytest"))
    assert set(PACKAGES) == {"pipeline", "stages", "infra", "dags"}
