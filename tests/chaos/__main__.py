"""`python -m tests.chaos KILLS SEED`: kill until so many kills have hit, print where, and fail unless most hit live work."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.report import LIVE_SHARE
from tests.chaos.storm import Storm


def main(kills: int, seed: int) -> int:
    """Exit code 0 where every case ended well and enough of the kills hit live work."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        storm = Storm(kills, seed, Path(folder))
        try:
            report = storm.rage()
        finally:
            storm.close()
    print("\n".join([*report.lines(), f"{time.monotonic() - began:.0f} s"]))
    return 0 if report.live >= LIVE_SHARE else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
