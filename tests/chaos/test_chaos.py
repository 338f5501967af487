"""Ten kills of `make chaos`, and what its report would not let pass."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.chaos.report import IDLE, LIVE_SHARE, Report
from tests.chaos.storm import Storm


@pytest.mark.elsewhere
@pytest.mark.slow
def test_ten_kills_over_drivers_workers_and_ray_end_in_the_digests_of_the_undisturbed_run(tmp_path: Path) -> None:
    storm = Storm(10, seed=7, folder=tmp_path)
    try:
        report = storm.rage()
    finally:
        storm.close()
    assert report.kills >= 10 and len(report.places) >= 3, report.lines()
    assert report.live >= LIVE_SHARE, "\n".join(report.lines())


def test_a_report_tells_idle_hits_from_live_ones() -> None:
    report = Report(seed=1)
    report.hit({"pretrain": 2.0, "dedup": 0.5}, "mid-write", "a local store")
    for _ in range(3):
        report.hit({}, "at a time drawn", "Ray")
    assert report.live == 0.25 < LIVE_SHARE and report.repeated == 2.0
    assert report.hits == Counter({("dedup", "mid-write"): 1, (IDLE, "at a time drawn"): 3})
    text = "\n".join(report.lines())
    assert "4 kills" in text and "25% inside live work" in text and "3 on Ray, 1 on a local store" in text
