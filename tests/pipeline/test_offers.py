"""Places beside each other, before anything is rented: what nobody knows is unknown, never nothing, and never a yes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import Artifact, Context, Dag, Resources, Stage
from pipeline.executor import Inline
from pipeline.machine import machine
from pipeline.offers import Offer, offer_lines, offers
from pipeline.places import Places
from pipeline.plan import Plan
from pipeline.prices import LISTED, prices
from pipeline.request import Request
from pipeline.run import run
from pipeline.selection import select
from pipeline.stage import UTILIZATION
from pipeline.store import Store
from tests.executors.far import Far
from tests.pipeline.toys import Say, Words


class Trains(Stage[Artifact]):
    """Declares its work, and what it needs of a GPU."""

    words: Words
    work: float = 1e18
    needs: float = 0
    """GiB; 0: not known."""

    def flops(self) -> float:
        return self.work

    def gpu_memory(self) -> float | None:
        return self.needs * 2**30 if self.needs else None

    def run(self, out: Artifact, ctx: Context) -> None:
        (out.path / "done").write_text("done")


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    prices.cache_clear()
    yield tmp_path / "settings"
    prices.cache_clear()


SAY = Say()


def compared(root: Path, *stages: Stage[Artifact]) -> tuple[dict[str, Offer], Plan, Dag]:
    dag, store = Dag(*stages), Store(str(root / "store"))
    dag, plan = select(dag, store, Request(on="inline"), Places(lambda place: Far()))
    return {one.called: one for one in offers(plan, dag, store)}, plan, dag


def trains(**given: float | str | Resources) -> Trains:
    return Trains(words=SAY.out, **given)


def test_each_type_of_gpu_has_a_time_a_price_and_says_whether_the_stage_fits(tmp_path: Path) -> None:
    found, _, _ = compared(tmp_path, trains(needs=70))
    assert list(found) == ["here", *(f"{name} on modal" for name in LISTED.gpu)]
    h100, listed = found["H100 on modal"], LISTED.gpu["H100"].dollars_per_hour or 0
    assert h100.seconds == pytest.approx(1e18 / (989e12 * UTILIZATION))
    rent = LISTED.place["modal"].core_dollars_per_hour
    assert h100.dollars == pytest.approx((h100.seconds or 0) / 3600 * (listed + rent))
    assert (h100.fits, h100.room) == (True, "yes")
    assert found["A100-40GB on modal"].room == "no: trains needs 71 of 39 GiB", "a GiB is the driver's"


def test_what_nobody_knows_is_unknown_and_no_yes(tmp_path: Path) -> None:
    found, plan, _ = compared(tmp_path, trains())
    assert found["here"].seconds is None and found["here"].dollars is None and found["H100 on modal"].fits is None
    lines = offer_lines(list(found.values()), plan, colour=False)
    assert lines[0].split() == ["place", "expected", "dollars", "fits"]
    assert lines[1].split() == ["here", "unknown", "unknown", "unknown", "of", "trains"]
    assert lines[-3] == "compared: trains; 1 other stays where it is (time unknown)"
    assert "the share of its peak in bfloat16" in lines[-1]


def test_of_several_stages_the_sum_is_told_and_the_one_that_does_not_fit(tmp_path: Path) -> None:
    one, large = trains(needs=10, label="one"), trains(needs=50, work=3e18, label="large")
    found, _, _ = compared(tmp_path, one, large)
    assert found["H100 on modal"].seconds == pytest.approx(4e18 / (989e12 * UTILIZATION))
    assert found["L40S on modal"].room == "no: large needs 51 of 44 GiB"
    unsaid, _, _ = compared(tmp_path, one, trains(label="other"))
    assert unsaid["H100 on modal"].room == "unknown of other" and unsaid["H100 on modal"].fits is None


def test_here_a_stage_takes_what_it_took_and_needs_the_memory_of_this_machine(tmp_path: Path) -> None:
    stage = trains(needs=1e6)
    past = run(Dag(stage), Store(str(tmp_path / "store")), name="toys", dials={}, executor=Inline).manifests["trains"]
    found, _, _ = compared(tmp_path, trains(needs=1e6, work=2e18))
    assert found["here"].seconds == pytest.approx(2 * past.cost.wall_seconds)
    assert found["here"].room == f"no: trains needs 1,000,000 of {machine()['memory_gib']:,.0f} GiB"


def test_a_persons_own_gpus_stand_beside_those_for_rent(tmp_path: Path, settings: Path) -> None:
    (settings / "corpusmill").mkdir(parents=True)
    (settings / "corpusmill" / "prices.toml").write_text(
        '[gpu.RTX4090]\ndollars_per_hour = 0.4\nflops = 165e12\nmemory_gib = 23\non = "ray://box:10001"\n[gpu.Z80]\nmemory_gib = 1\n'
    )
    prices.cache_clear()
    found, _, _ = compared(tmp_path, trains(needs=20))
    own = found["RTX4090 on ray://box:10001"]
    assert own.dollars == pytest.approx(1e18 / (165e12 * UTILIZATION) / 3600 * 0.4) and own.fits
    assert found["Z80"].seconds is None and found["Z80"].fits is False, "of which only the memory is known"


def test_a_stage_asks_for_as_many_gpus_everywhere_and_each_holds_all_of_it(tmp_path: Path) -> None:
    found, _, _ = compared(tmp_path, trains(needs=70, resources=Resources(gpu="A10", gpus=4)))
    assert found["H100 on modal"].seconds == pytest.approx(1e18 / (4 * 989e12 * UTILIZATION))
    assert found["A10 on modal"].fits is False
    assert found["here"].fits is None, "it asks for GPUs of this machine: whatever they are"


def test_where_nothing_could_use_a_gpu_there_is_nothing_to_compare(tmp_path: Path) -> None:
    found, plan, _ = compared(tmp_path, Say())
    assert found == {} and "nothing to compare" in offer_lines([], plan, colour=False)[0]


def test_machines_read_the_same(tmp_path: Path) -> None:
    found, _, _ = compared(tmp_path, trains(needs=70))
    told = json.loads(json.dumps([one.as_json() for one in found.values()]))
    assert told[0]["place"] == "here" and told[0]["seconds"] is None
    assert told[-1]["gpu"] == "B200" and told[-1]["fits"] is True and told[-1]["stages"]["trains"]["needs_gib"] == 71
