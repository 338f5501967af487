"""`python -m stages.train.first FOLDER`: the first minutes on a machine: train, kill, go on, generate; versions and figures at the end.

It trains on what is there, Python's own source, byte by byte, and needs torch and numpy alone.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from stages.train.bytewise import pack

GPU = {"depth": 12, "sequence": 1024, "batch": 32, "rate": 1e-3, "precision": "bfloat16"}
CPU = {"depth": 4, "sequence": 128, "batch": 16, "rate": 3e-3, "precision": "float32"}
TRIAL = 40
"""Updates that tell how many fit into the minutes."""
SHARE = 0.7
"""Of the minutes, for the training itself; the rest is for starts, the kill and the scores."""
PATIENCE = 3600


def main(words: Sequence[str]) -> int:
    """Run; the status is that of the training."""
    parser = argparse.ArgumentParser(prog="python -m stages.train.first", description=__doc__, allow_abbrev=False)
    parser.add_argument("folder", type=Path, help="for tokens, checkpoints and the model")
    parser.add_argument("--minutes", type=float, default=5.0, help="%(default)s")
    parser.add_argument("--steps", type=int, default=0, help="updates; 0: as many as the minutes allow")
    parser.add_argument("--megabytes", type=float, default=20.0, help="of text; %(default)s")
    parser.add_argument("--depth", type=int, default=0, help="blocks; 0: 12 on a GPU, 4 on CPUs")
    parser.add_argument("--threads", type=int, default=2, help="%(default)s")
    asked = parser.parse_args(words)
    if not (0 < asked.minutes <= 600 and 0.01 <= asked.megabytes <= 10_000 and asked.steps >= 0 and asked.depth >= 0):
        parser.error("minutes, megabytes, steps and depth are positive")
    if (asked.folder / "run").exists():
        parser.error(f"{asked.folder} has a run already: name another folder")
    began = time.perf_counter()
    settings: dict[str, Any] = {**(GPU if torch.cuda.is_available() else CPU), "threads": asked.threads}
    settings |= {"depth": asked.depth} if asked.depth else {}
    tokens, tokenizer = asked.folder / "tokens", asked.folder / "tokenizer"
    source = Path(sysconfig.get_path("stdlib"))
    files = (path for path in sorted(source.rglob("*.py")) if "site-packages" not in path.parts)
    read = pack(files, tokens, tokenizer, int(asked.megabytes * 1e6))
    print(f"{read:,} bytes of Python's own source", flush=True)
    steps = asked.steps or _steps(asked.folder, settings, asked.minutes)
    figures = _trained(asked.folder, {**settings, "steps": steps})
    print(
        json.dumps({**figures, **settings, "steps": steps, "seconds": round(time.perf_counter() - began, 1)}),
        flush=True,
    )
    return 0


def _words(folder: Path, out: str, settings: dict[str, Any]) -> list[str]:
    options = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    places = ["--tokens", str(folder / "tokens"), "--tokenizer", str(folder / "tokenizer"), "--out", str(folder / out)]
    return [sys.executable, "-m", "stages.train", *places, *options]


def _steps(folder: Path, settings: dict[str, Any], minutes: float) -> int:
    """How many updates fit, by the speed of a short trial."""
    words = _words(folder, f"trial-{int(time.time())}", {**settings, "steps": TRIAL, "checkpoint_every": 0})
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    speed = json.loads(done.stdout.splitlines()[-1])["tokens_per_second"]
    print(f"trial: {speed:,} tokens/s", flush=True)
    return max(TRIAL, int(minutes * 60 * SHARE * speed / (settings["batch"] * settings["sequence"])))


def _trained(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Train until a checkpoint is there, kill -9, go on to the end, generate."""
    words = _words(folder, "run", {**settings, "checkpoint_every": max(1, settings["steps"] // 5), "sample": 120})
    print("$ " + " ".join(["python", *words[1:]]), flush=True)
    lost = _killed(words, folder / "run")
    print(f"$ kill -9, {lost}; the same command again", flush=True)
    lines = []
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as going:
        for line in going.stdout or ():
            lines.append(line)
            print("  " + line, end="", flush=True)
    if going.returncode:
        raise SystemExit(going.returncode)
    figures: dict[str, Any] = json.loads(lines[-1])
    return figures


def _killed(words: Sequence[str], run: Path) -> str:
    """Start it and kill it once it has trained on beyond its first checkpoint; how it stood."""
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as going:
        deadline = time.monotonic() + PATIENCE
        while not (saved := sorted(run.glob("step-*.pt"))) and going.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        if not saved:
            going.kill()
            raise SystemExit("error: the training came to no checkpoint")
        time.sleep(0.5)
        going.send_signal(signal.SIGKILL)
    return f"the last checkpoint is {saved[-1].stem}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
