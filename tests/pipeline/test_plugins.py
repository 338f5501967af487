"""What packages bring is found by name; a name that is wrong, or a package that is missing, is one error with its mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import plugins
from pipeline.errors import UsageError

POINTS = """
[corpusmill.executors]
moon = no_such_package_at_all:Moon
half = half_installed:Half

[corpusmill.toys]
say = tests.pipeline.toys:Say
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution that brings entry points, installed as pip would leave it."""
    folder = tmp_path / "moonshine-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: moonshine\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(POINTS)
    (tmp_path / "half_installed.py").write_text("import another_missing_package.deep\nclass Half: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("installed")
def test_what_a_package_brings_is_loaded_by_its_name() -> None:
    from tests.pipeline.toys import Say

    assert plugins.load("toys", "say") is Say
    assert {"ray", "moon"} <= set(plugins.named("executors"))


@pytest.mark.usefixtures("installed")
def test_an_unknown_name_is_one_error_that_lists_the_others() -> None:
    with pytest.raises(UsageError, match="no executor is called 'rey'; there are: half, modal, moon, ray"):
        plugins.load("executors", "rey")
    with pytest.raises(UsageError, match="no rocket is called 'x'; there are: none"):
        plugins.load("rockets", "x")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("name", "missing"), [("moon", "no_such_package_at_all"), ("half", "another_missing_package")])
def test_a_missing_package_is_one_error_that_says_what_to_install(name: str, missing: str) -> None:
    with pytest.raises(UsageError, match=f"{name} needs the package '{missing}") as fault:
        plugins.load("executors", name)
    assert f"pip install 'corpusmill[{name}]'" in str(fault.value)


def test_naming_what_there_is_imports_none_of_it() -> None:
    assert plugins.named("trackers")["mlflow"].value == "infra.mlflow_tracker:MlflowTracker"
