"""CPU seconds of the command line: help, a plan, a run that is all cached; the libraries' bare import is the floor.

Goal: help at most 0.5, `plan quickstart` at most 1.0, a cached run at most 1.2 CPU seconds.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.harness import Bench, beside, program

LIMITS = {"--help": 0.5, "plan quickstart": 1.0, "cached run": 1.2, "cached run of quickstart": 1.2}

ROOT = Path(__file__).parents[1]

CHAIN = '''"""A chain of eight small stages."""

from pipeline import Artifact, Context, Dag, Field, Stage


class Link(Stage[Artifact]):
    """Writes its number, and reads the link before it."""

    before: Artifact | None = Field(default=None, description="the link before")
    number: int = Field(default=0, description="its place")

    def run(self, out: Artifact, ctx: Context) -> None:
        (out.path / "number").write_text(str(self.number))


def chain() -> Dag:
    """Eight links in a line."""
    link = Link(label="link-0")
    for number in range(1, 8):
        link = Link(before=link.out, number=number, label=f"link-{number}")
    return Dag(link)
'''


def main() -> bool:
    """Measure, print, and tell whether every limit holds."""
    folder = Path(tempfile.mkdtemp(prefix="bench-cli-"))
    try:
        return _measured(folder)
    finally:
        shutil.rmtree(folder)


def _measured(folder: Path) -> bool:
    corpusmill = beside("corpusmill")
    (folder / "chain.py").write_text(CHAIN, encoding="utf-8")
    run = [corpusmill, "run", "chain.py:chain", "--tracker", "none"]
    subprocess.run([*run, "--on", "inline"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    bench = Bench("cli", "CPU seconds: help ≤ 0.5, plan quickstart ≤ 1.0, a cached run ≤ 1.2")
    rivals = {
        "import typer, rich, pydantic": program([sys.executable, "-c", "import typer, rich, pydantic"]),
        "--help": program([corpusmill, "--help"]),
        "plan quickstart": program([corpusmill, "plan", "quickstart"], folder),
        "cached run": program([corpusmill, "run", "chain.py:chain"], folder),
    }
    if _quickstart_is_cached(corpusmill):
        rivals["cached run of quickstart"] = program([corpusmill, "run", "quickstart"], ROOT)
    else:
        print("quickstart is not cached here: `make demo` first, to measure its cached run too")
    bench.by_turns(rivals)
    return bench.report(holds=all(bench.cpu(rival) <= LIMITS[rival] for rival in rivals if rival in LIMITS))


def _quickstart_is_cached(corpusmill: str) -> bool:
    plan = subprocess.run([corpusmill, "plan", "quickstart", "--json"], cwd=ROOT, capture_output=True, check=True)
    return all(entry["state"] == "cached" for entry in json.loads(plan.stdout)["stages"])
