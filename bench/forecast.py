"""How near the plan's forecast comes: quickstart at twice the steps, planned from one run at the usual number, then run.

Goal: stage time, and the wall time of the whole, within 30% of the forecast. Run it on an idle machine: about ten minutes.
"""

import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.harness import beside
from dags.quickstart import quickstart

ROOT = Path(__file__).parents[1]
WITHIN = 0.3


def main() -> bool:
    """Run, print, and tell whether the goal holds."""
    folder = Path(tempfile.mkdtemp(prefix="bench-forecast-"))
    try:
        return _measured(folder / "store")
    finally:
        shutil.rmtree(folder)


def _measured(store: Path) -> bool:
    if (ROOT / ".corpusmill").is_dir():
        subprocess.run(
            ["cp", "-al", ROOT / ".corpusmill", store], check=True
        )  # links: what is built need not be built again
    steps = quickstart.__kwdefaults__["steps"]
    _corpusmill("run", "quickstart", "--tracker", "none", store=store)
    plan: dict[str, Any] = json.loads(_corpusmill("plan", "quickstart", f"steps={2 * steps}", "--json", store=store))
    if not plan["totals"]["run"]:
        print(f"quickstart steps={2 * steps} is in the store already: nothing to forecast")
        return False
    began = time.time()
    _corpusmill("run", "quickstart", f"steps={2 * steps}", "--tracker", "none", store=store)
    wall = time.time() - began
    after: dict[str, Any] = json.loads(_corpusmill("plan", "quickstart", f"steps={2 * steps}", "--json", store=store))
    return _told(plan, after, wall)


def _corpusmill(*words: str, store: Path) -> str:
    command = [beside("corpusmill"), *words, "--store", str(store)]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def _told(plan: dict[str, Any], after: dict[str, Any], wall: float) -> bool:
    table = Table(
        "stage", "forecast s", "actual s", "forecast / actual", title="forecast of quickstart at twice the steps"
    )
    took = {entry["label"]: entry["last_cost"]["wall_seconds"] for entry in after["stages"]}
    forecast = actual = 0.0
    for entry in plan["stages"]:
        expected = entry["expected"]["seconds"]
        if entry["state"] != "cached":
            forecast, actual = forecast + expected, actual + took[entry["label"]]
            ratio = expected / took[entry["label"]]
            table.add_row(entry["label"], f"{expected:.1f}", f"{took[entry['label']]:.1f}", f"{ratio:.2f}")
    ratios = {"stage_time": forecast / actual, "wall": plan["totals"]["wall_seconds"] / wall}
    table.add_row("all stages", f"{forecast:.1f}", f"{actual:.1f}", f"{ratios['stage_time']:.2f}")
    table.add_row("wall", f"{plan['totals']['wall_seconds']:.1f}", f"{wall:.1f}", f"{ratios['wall']:.2f}")
    Console().print(table)
    holds = all(1 - WITHIN <= ratio <= 1 + WITHIN for ratio in ratios.values())
    figures = {name: round(ratio, 3) for name, ratio in ratios.items()}
    print(json.dumps({"bench": "forecast", "ratios": figures, "goal": f"within {WITHIN:.0%}", "holds": holds}))
    return holds
