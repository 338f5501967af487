"""The house style, where a machine can check it: sizes, names, docstrings, and what may be caught."""

import ast
import re

from tests.house import PACKAGES, ROOT, Function, documents, sources, stage_modules

EVERYTHING = (*PACKAGES, "tests", "bench")

MAY_CATCH_ALL = {
    "pipeline/executor.py": "a job's fault is handed on through its future",
    "pipeline/placed.py": "the same, where one executor hands over to another",
    "pipeline/job.py": "a stage may raise anything; it becomes StageFailed, the traceback goes to the log",
    "pipeline/elsewhere.py": "each library behind fsspec has exceptions of its own",
    "stages/checks/tokenizer.py": "the package tokenizers has no exception of its own",
    "pipeline/rendering.py": "a card that cannot be written never fails a stage",
    "pipeline/telling.py": "a tracker never fails a run",
    "pipeline/apart.py": "a tracker may raise anything; the run hears of it as a warning",
    "pipeline/cli_track.py": "one run that a tracker refuses keeps no other from being told",
    "pipeline/loading.py": "a user's file may raise anything as it is imported",
    "pipeline/cli.py": "the command line's edge",
    "infra/doctor.py": "a check that breaks is a line of its own, and keeps no other from being told",
    "infra/mlflow_pictures.py": "each place for artifacts has exceptions of its own; a picture stops no record",
    "infra/modal_hands.py": "part of the Modal executor",
    "infra/modal_functions.py": "part of the Modal executor",
    "infra/told.py": "a worker of the executors on Ray and Modal hands a fault on",
    "infra/ray_executor.py": "part of the Ray executor",
    "infra/ray_host.py": "part of the Ray executor",
    "infra/ray_jobs.py": "part of the Ray executor",
    "infra/serve_host.py": "the process that holds Ray Serve tells its driver why it could not start",
}
TAKEN = ("ray.py", "modal.py", "mlflow.py", "torch.py")
MACHINE_PATHS = re.compile(r"/(?:work|root|home)/\w")
REGISTRY_HOSTS = re.compile(
    r"(?:pypi|pythonhosted|npmjs|crates|debian|pytorch)\.(?:org|io|com)/?(?:whl|simple|packages|debian)?"
)


def test_no_file_is_over_300_lines() -> None:
    long = {source.name: len(source.text.splitlines()) for source in sources(*EVERYTHING)}
    assert {name: lines for name, lines in long.items() if lines > 300} == {}


def test_no_function_is_over_60_lines() -> None:
    long = [
        f"{source.name}:{function.lineno} {function.name}"
        for source in sources(*EVERYTHING)
        for function in source.functions()
        if (function.end_lineno or 0) - function.lineno + 1 > 60
    ]
    assert long == []


def test_every_module_says_what_it_is() -> None:
    silent = [source.name for source in sources(*EVERYTHING) if source.text and not ast.get_docstring(source.tree)]
    assert silent == []


def test_every_public_function_and_class_has_a_docstring() -> None:
    silent = [
        f"{source.name}:{node.lineno} {node.name}"
        for source in sources(*PACKAGES)
        for node in source.tree.body
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_") and not ast.get_docstring(node)
    ]
    assert silent == []


def test_every_signature_is_typed() -> None:
    untyped = [
        f"{source.name}:{function.lineno} {function.name}"
        for source in sources(*PACKAGES)
        for function in source.functions()
        if function.returns is None
        or any(
            one.annotation is None and one.arg not in ("self", "cls")
            for one in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
        )
    ]
    assert untyped == []


def test_only_executors_and_the_command_line_catch_everything() -> None:
    broad = {source.name: source for source in sources(*PACKAGES) if any(map(_catches_all, ast.walk(source.tree)))}
    assert sorted(set(broad) - set(MAY_CATCH_ALL)) == []


def _catches_all(node: ast.AST) -> bool:
    if isinstance(node, ast.ExceptHandler):
        caught = "BaseException" if node.type is None else ast.unparse(node.type)
        raised_again = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
        return re.search(r"\b(Base)?Exception\b", caught) is not None and not raised_again
    return isinstance(node, ast.Call) and ast.unparse(node) in ("suppress(Exception)", "contextlib.suppress(Exception)")


def test_no_file_takes_the_name_of_a_package_it_adapts() -> None:
    assert [source.name for source in sources(*EVERYTHING) if source.name.rsplit("/", 1)[-1] in TAKEN] == []


def test_no_line_names_a_machine_or_a_registry_host() -> None:
    files = [ROOT / source.name for source in sources(*EVERYTHING)] + list(documents())
    named = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in files
        if path.name != "test_house_style.py"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if MACHINE_PATHS.search(line) or REGISTRY_HOSTS.search(line)
    ]
    assert named == []


def test_every_stage_has_a_test_file() -> None:
    untested = [
        source.name
        for source in stage_modules()
        if not (ROOT / "tests" / "stages" / f"test_{source.module.removeprefix('stages.')}.py").is_file()
    ]
    assert untested == []
