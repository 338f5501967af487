"""Eight small stages in a line beside DVC and Metaflow: first run, fully cached rerun, help; and a plan of 200 stages.

Goal, in CPU seconds: a cached rerun at most 0.65 and no more than DVC's, a first run in this process no more than DVC's, help at
most 0.45, a plan of 200 stages at most 1.5, built or not. Each peer does what its documentation shows, in its fastest setting: DVC
with shell commands, a plain local cache and neither git nor analytics; Metaflow with its local store, quiet and without pylint, its
`resume` for the rerun. All three must have made the same text before anything is timed. The peers live in virtual environments of
their own below the user's cache folder, made once by pip.

Expected before the first measurement: a rerun at 0.5, a first run level with DVC's, help a loss to DVC's. Measured on two busy cores:
first run 0.25 (DVC 0.73, Metaflow 2.30), rerun 0.22 (0.52, 0.34), help 0.10 (0.12, 0.24), plans of 200 stages 0.23 and 0.25. Importing
typer and pydantic and making one model is 0.16 of each: there is little left to go below.
"""

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.harness import Bench, beside, program
from pipeline.cache import cache_folder

LINKS = 8
MANY = 200
ROUNDS = 5
PEERS = {"dvc": "3.67.1", "metaflow": "2.19.39"}
LIMITS = {"cached rerun": 0.65, "--help": 0.45, "plan of 200, none built": 1.5, "plan of 200, all built": 1.5}
MADE = " ".join(str(number) for number in range(LINKS))

LINE = '''"""Stages in a line: each writes what the one before it wrote, and its number."""

from pipeline import Artifact, Context, Dag, Field, Stage


class Link(Stage[Artifact]):
    """Adds its number."""

    before: Artifact | None = Field(default=None, description="the link before")
    number: int = Field(default=0, description="its place")

    def run(self, out: Artifact, ctx: Context) -> None:
        before = (self.before.path / "text").read_text() + " " if self.before else ""
        (out.path / "text").write_text(f"{before}{self.number}")


def line(*, links: int = 8) -> Dag:
    """So many links."""
    link = Link(label="link-0")
    for number in range(1, links):
        link = Link(before=link.out, number=number, label=f"link-{number}")
    return Dag(link)
'''


DVC = {"DVC_NO_ANALYTICS": "1"}
METAFLOW = {"METAFLOW_DEFAULT_METADATA": "local", "METAFLOW_DEFAULT_DATASTORE": "local", "METAFLOW_USER": "bench"}

Rival = Callable[[], None]


def main() -> bool:
    """Measure, print, and tell whether every limit holds."""
    peers = {name: _peer(name, version) for name, version in PEERS.items()}
    folder = Path(tempfile.mkdtemp(prefix="bench-orchestration-"))
    try:
        return _measured(folder, peers)
    finally:
        shutil.rmtree(folder)


def _measured(folder: Path, peers: Mapping[str, Path]) -> bool:
    ours, dvc = _ours(folder), _dvc(folder, peers["dvc"] / "dvc")
    metaflow = _metaflow(folder, peers["metaflow"] / "python")
    bench = Bench(
        "orchestration",
        "CPU seconds: cached rerun ≤ 0.65 and ≤ DVC's, first run ≤ DVC's, help ≤ 0.45, plans of 200 ≤ 1.5",
    )
    rivals: dict[str, Rival] = {}
    for name in ours:
        rivals[name] = ours[name]
        rivals |= {
            f"{name}, {peer}": theirs[name] for peer, theirs in (("dvc", dvc), ("metaflow", metaflow)) if name in theirs
        }
    bench.by_turns(rivals, ROUNDS)
    ratios = {f"{mine}, to {theirs}": bench.ratio(mine, f"{mine}, {theirs}") for mine in dvc for theirs in PEERS}
    no_worse = all(ratios[f"{mine}, to dvc"]["median"] >= 1 for mine in ("first run", "cached rerun"))
    return bench.report(holds=no_worse and all(bench.cpu(name) <= most for name, most in LIMITS.items()), ratios=ratios)


def _ours(folder: Path) -> dict[str, Rival]:
    corpusmill = beside("corpusmill")
    folder = folder / "ours"
    folder.mkdir()
    (folder / "line.py").write_text(LINE, encoding="utf-8")
    fresh = (f"store-{number}" for number in itertools.count())
    first = ["--on", "inline", "--tracker", "none"]

    def run(store: str, *words: str) -> Rival:
        return program([corpusmill, "run", "line.py:line", "--store", store, *words], folder)

    run("warm", *first)()
    _same(max((path.read_text() for path in folder.glob("warm/link/*/*/data/text")), key=len), "Corpusmill")
    run("many", *first, f"links={MANY}")()
    plan = [corpusmill, "plan", "line.py:line", f"links={MANY}", "--store"]
    return {
        "first run": lambda: run(next(fresh), *first)(),
        "cached rerun": run("warm"),
        "--help": program([corpusmill, "--help"]),
        "plan of 200, none built": program([*plan, "none"], folder),
        "plan of 200, all built": program([*plan, "many"], folder),
    }


def _same(text: str, peer: str) -> None:
    if text != MADE:
        raise SystemExit(f"{peer} made {text!r} where {MADE!r} was asked for: nothing to compare")


def _dvc(folder: Path, dvc: Path) -> dict[str, Rival]:
    first = {"cmd": "printf 0 > text-0", "outs": ["text-0"]}
    links = [
        {"cmd": f"{{ cat text-{n - 1}; printf ' {n}'; }} > text-{n}", "deps": [f"text-{n - 1}"], "outs": [f"text-{n}"]}
        for n in range(1, LINKS)
    ]
    stages = {f"link-{number}": link for number, link in enumerate([first, *links])}
    folders = [folder / f"dvc-{number}" for number in range(ROUNDS + 1)]
    for one in folders:
        one.mkdir()
        for words in (
            ["init", "--no-scm", "-q"],
            ["config", "core.analytics", "false"],
            ["config", "core.check_update", "false"],
        ):
            program([str(dvc), *words], one, DVC)()
        (one / "dvc.yaml").write_text(json.dumps({"stages": stages}), encoding="utf-8")  # JSON is YAML
    fresh, repro = iter(folders), [str(dvc), "repro", "-q"]
    warm = next(fresh)
    program(repro, warm, DVC)()
    _same((warm / f"text-{LINKS - 1}").read_text(), "DVC")
    return {
        "first run": lambda: program(repro, next(fresh), DVC)(),
        "cached rerun": program(repro, warm, DVC),
        "--help": program([str(dvc), "--help"], warm, DVC),
    }


def _metaflow(folder: Path, python: Path) -> dict[str, Rival]:
    names = ["start", *(f"link_{number}" for number in range(1, LINKS - 1)), "end"]
    lines = ["from metaflow import FlowSpec, step", "", "", "class Line(FlowSpec):"]
    for number, name in enumerate(names):
        lines += [
            "    @step",
            f"    def {name}(self):",
            f"        self.text = {'self.text + ' if number else ''}'{' ' * bool(number)}{number}'",
        ]
        lines += [f"        self.next(self.{names[number + 1]})", ""] if name != "end" else ["", ""]
    lines += ["if __name__ == '__main__':", "    Line()"]
    folder = folder / "metaflow"
    folder.mkdir()
    (folder / "line.py").write_text("\n".join(lines) + "\n", encoding="utf-8")
    flow = [str(python), "line.py", "--quiet", "--no-pylint"]
    program([*flow, "run"], folder, METAFLOW)()
    ask = "from metaflow import Flow, namespace; namespace(None); print(Flow('Line').latest_successful_run.data.text, end='')"
    told = subprocess.run(
        [str(python), "-c", ask], cwd=folder, env={**os.environ, **METAFLOW}, check=True, capture_output=True, text=True
    )
    _same(told.stdout, "Metaflow")
    return {
        "first run": program([*flow, "run"], folder, METAFLOW),
        "cached rerun": program([*flow, "resume"], folder, METAFLOW),
        "--help": program([*flow, "--help"], folder, METAFLOW),
    }


def _peer(name: str, version: str) -> Path:
    """The folder of the programs of a peer at its version, in a virtual environment of its own, made where it is missing."""
    home = cache_folder() / "bench" / f"{name}-{version}"
    if not (home / "complete").exists():
        print(f"installing {name} {version} into {home}", file=sys.stderr)
        shutil.rmtree(home, ignore_errors=True)
        program([sys.executable, "-m", "venv", str(home)])()
        program([str(home / "bin" / "python"), "-m", "pip", "install", "-q", f"{name}=={version}"])()
        (home / "complete").touch()
    return home / "bin"
