"""What may import what, where the import contracts cannot see it: cycles, pickle, bare machines, and instant imports."""

import graphlib
import importlib
import json
import re
import subprocess
import sys
import tomllib
import typing
from importlib.metadata import packages_distributions

import pytest
from pydantic.fields import FieldInfo

from pipeline import Artifact, Settings, Stage
from tests.house import PACKAGES, ROOT, Source, sources, stage_modules

HEAVY = ("torch", "numpy", "pyarrow", "ray", "mlflow", "transformers", "datatrove", "datasketch", "trl", "tokenizers")
RUNS_CODE_FROM_DATA = {"pickle", "cloudpickle", "dill", "shelve", "marshal", "joblib"}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_import_cycle(package: str) -> None:
    known = {source.module for source in sources(package)}
    graph = {source.module: _imported(source, known) - {source.module} for source in sources(package)}
    try:
        tuple(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as fault:
        pytest.fail(" → ".join(fault.args[1]))


def _imported(source: Source, known: set[str]) -> set[str]:
    found = set()
    for module, names in source.imports():
        inner = {f"{module}.{name}" for name in names} & known
        found |= inner or ({module} & known)
    return found


def test_pickle_is_imported_by_no_stage_nor_the_core() -> None:
    found = {
        source.name: module
        for source in sources("pipeline", "stages")
        for module, _ in source.imports()
        if module.split(".")[0] in RUNS_CODE_FROM_DATA
    }
    assert found == {}


def test_model_and_train_import_torch_numpy_and_the_standard_library_alone() -> None:
    allowed = {"torch", "numpy", "stages", *sys.stdlib_module_names}
    found = {
        f"{source.name}: {module}"
        for source in sources("stages/model", "stages/train")
        for module, _ in source.imports()
        if module.split(".")[0] not in allowed
        or (module.startswith("stages") and not module.startswith(("stages.model", "stages.train")))
    }
    assert found == set()


def test_stages_plan_without_the_libraries_they_run_on() -> None:
    modules = [source.module for source in stage_modules()]
    script = f"""
import importlib, json, sys
for name in {modules!r}:
    importlib.import_module(name)
print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("module", [source.module for source in stage_modules()])
def test_every_setting_of_a_stage_is_described(module: str) -> None:
    described = [value for value in vars(importlib.import_module(module)).values() if isinstance(value, type)]
    fields = [
        (f"{owner.__name__}.{name}", field)
        for owner in described
        if issubclass(owner, Stage | Settings) and owner.__module__ == module
        for name, field in owner.model_fields.items()
    ]
    assert fields
    assert [name for name, field in fields if not field.description and not _is_input(field)] == []


def _is_input(field: FieldInfo) -> bool:
    pending = [field.annotation]
    while pending:
        one = pending.pop()
        if isinstance(one, type) and issubclass(typing.get_origin(one) or one, Artifact):
            return True
        pending.extend(typing.get_args(one))
    return False


def test_every_library_that_is_imported_is_a_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    written = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    declared = {re.split(r"[\[><=~ ]", one)[0].lower().replace("_", "-") for one in written}
    brings = packages_distributions()
    undeclared = {
        f"{source.name}: {top}"
        for source in sources(*PACKAGES, "bench")
        for top in {module.split(".")[0] for module, _ in source.imports()}
        if top not in (*sys.stdlib_module_names, *PACKAGES, "bench", "pydantic_core")
        and not {name.lower().replace("_", "-") for name in brings.get(top, [top])} & declared
    }
    assert undeclared == set()


def test_every_declared_dependency_is_pinned() -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower().replace("_", "-")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    written = [*project["dependencies"], *(one for name in extras if name != "modal" for one in extras[name])]
    names = {re.split(r"[\[><=~ ]", one)[0].lower().replace("_", "-") for one in written} - {"corpusmill"}
    assert {name for name in names if f"\n{name}==" not in pins} == set()
