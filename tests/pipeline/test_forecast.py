"""What a stage is expected to take follows from what was measured, scaled by what is known; the rest is unknown, never zero."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline import Artifact, Context, Dag, Resources, Stage
from pipeline.accounts import plan_lines
from pipeline.executor import Inline
from pipeline.forecast import forecast, makespan
from pipeline.manifest import Cost, Manifest
from pipeline.plan import plan
from pipeline.prices import prices
from pipeline.run import run
from pipeline.spent import Session
from pipeline.stage import UTILIZATION
from pipeline.store import Store
from tests.pipeline.toys import Say, Upper, Words


class Trains(Stage[Artifact]):
    """Declares its work: a hundred operations for each step."""

    steps: int = 10
    words: Words | None = None

    def flops(self) -> float:
        return 100.0 * self.steps

    def run(self, out: Artifact, ctx: Context) -> None:
        (out.path / "steps").write_text(str(self.steps))


@pytest.fixture(autouse=True)
def no_prices_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    prices.cache_clear()


def built(stage: Stage[Artifact], root: Path, **changed: object) -> Manifest:
    """The manifest of `stage`, built, and then changed to a past that this machine did not have."""
    made = run(Dag(stage), Store(str(root)), name="toys", dials={}, executor=Inline).manifests[stage.label]
    return made.model_copy(update=changed)


def test_time_grows_with_the_declared_work(tmp_path: Path) -> None:
    past = built(Trains(steps=10), tmp_path, cost=Cost(wall_seconds=60))
    assert past.flops == 1000
    found = forecast(Trains(steps=20), [past], {})
    assert found.seconds == pytest.approx(120) and found.basis == "last run × 2 work" and found.dollars is None


def test_what_was_lost_to_failures_is_not_expected_again(tmp_path: Path) -> None:
    past = built(Trains(), tmp_path, cost=Cost(wall_seconds=60), lost=Cost(wall_seconds=15))
    assert forecast(Trains(), [past], {}).seconds == pytest.approx(45)


def test_what_shards_held_beyond_the_stages_own_is_expected_to_be_paid_for_again(tmp_path: Path) -> None:
    lost = Cost(cpu_seconds=100, beyond_cpu_seconds=100)
    made = built(Trains(steps=10), tmp_path, cost=Cost(wall_seconds=100, beyond_cpu_seconds=400), lost=lost)
    again = Trains(steps=20, resources=Resources(dollars_per_hour=36))
    assert forecast(again, [made], {}).dollars == pytest.approx(2.0 + 6.0), (
        "three CPUs beside its own, and one that was lost"
    )
    assert forecast(again, [made], {}, done=100).dollars == pytest.approx(4.0)
    on_a_gpu = again.model_copy(update={"resources": Resources(gpu="H100", dollars_per_hour=36)})
    rented = made.model_copy(update={"resources": on_a_gpu.resources.model_dump()})
    assert forecast(on_a_gpu, [rented], {}).dollars == pytest.approx(2.0), "a machine with GPUs is paid for whole"


def test_without_declared_work_time_grows_with_the_bytes_of_the_inputs(tmp_path: Path) -> None:
    upper = Upper(words=Say(words=("ab", "cd")).out)
    past = built(upper, tmp_path, cost=Cost(wall_seconds=10))
    assert past.inputs["words"].size == 4
    assert forecast(upper, [past], {"words": 12}).seconds == pytest.approx(30)
    assert forecast(upper, [past], {"words": None}).seconds == pytest.approx(10), "of unknown size: as the last time"


def test_part_of_the_work_takes_a_part_of_the_time(tmp_path: Path) -> None:
    past = built(Trains(), tmp_path, cost=Cost(wall_seconds=40))
    assert forecast(Trains(), [past], {}, share=0.25).seconds == pytest.approx(10)


def test_a_gpu_stage_that_never_ran_is_expected_to_take_its_work_at_a_share_of_the_peak() -> None:
    stage = Trains(steps=10**16, resources=Resources(gpu="H100", gpus=2))
    found = forecast(stage, [], {})
    assert found.seconds == pytest.approx(1e18 / (2 * 989e12 * UTILIZATION))
    assert found.dollars == pytest.approx((found.seconds or 0) / 3600 * 2 * 3.9492)
    assert "H100" in found.basis


@pytest.mark.parametrize("gpu", ["H100", "Z80", ""])
def test_what_a_rented_gpu_will_cost_is_unknown_in_the_table_not_left_out(tmp_path: Path, gpu: str) -> None:
    dag = Dag(Say(resources=Resources(gpu=gpu, gpus=1)))
    head, row, total = plan_lines(plan(dag, Store(str(tmp_path))), colour=False)
    assert head.split()[4] == "dollars" and row.split()[3:5] == ["unknown", "unknown"]
    assert total == "0 cached, 1 to run: time unknown, dollars unknown"
    other = Dag(*dag.targets, Trains(steps=10**16, resources=Resources(gpu="H100", gpus=1)))
    assert re.search(
        r", \$2\.77 and 1 of unknown cost$", plan_lines(plan(other, Store(str(tmp_path))), colour=False)[-1]
    )


def test_a_run_on_another_kind_of_machine_is_nothing_to_go_by(tmp_path: Path) -> None:
    past = built(Trains(), tmp_path, cost=Cost(wall_seconds=1000))
    on_gpu = Trains(resources=Resources(gpu="Z80", gpus=1))
    assert forecast(on_gpu, [past], {}).seconds is None and forecast(on_gpu, [past], {}).dollars is None


def test_capitals_in_the_name_of_a_gpu_do_not_hide_a_run_on_it(tmp_path: Path) -> None:
    past = built(Trains(), tmp_path, cost=Cost(wall_seconds=60), resources={"gpu": "h100", "gpus": 1})
    assert forecast(Trains(resources=Resources(gpu="H100")), [past], {}).seconds == pytest.approx(60)


def test_what_is_committed_of_a_stage_that_was_cut_short_is_not_expected_again(tmp_path: Path) -> None:
    stage = Say(words=("a", "b", "c"), label="cut")
    past = built(Say(label="cut"), tmp_path, cost=Cost(wall_seconds=60))
    store, code = Store(str(tmp_path)), past.code.digest
    other = Say(words=("a", "b", "c", "d"), label="cut")
    (key,) = [one.key for one in plan(Dag(other), store).entries.values() if one.key]
    folder = tmp_path / ".partial" / "say" / key / f"20260101T000000-abcdef-{code[:12]}" / "spent"
    folder.mkdir(parents=True)
    for name, wall, kept in (("1", 30.0, 20.0), ("2", 9.0, 5.0)):
        session = Session(session=name, cost=Cost(wall_seconds=wall), committed=Cost(wall_seconds=kept))
        (folder / f"{name}.json").write_text(session.model_dump_json())
    entry = plan(Dag(other), store).entries["cut"]
    assert entry.reason.endswith("; goes on from 25 s of committed work") and entry.done == 25
    full = plan(Dag(Say(words=("a", "z"), label="cut")), store).entries["cut"].forecast.seconds
    assert full is not None and entry.forecast.seconds == pytest.approx(max(full - 25, 0))
    found = forecast(stage, [past], {}, done=25)
    assert found.seconds == pytest.approx(35) and found.basis == "last run, less 25 s that are committed"
    assert forecast(stage, [past], {}, done=70).seconds == 0


def test_the_attempt_of_the_same_label_is_gone_by_first(tmp_path: Path) -> None:
    other = built(Trains(label="other"), tmp_path, cost=Cost(wall_seconds=5))
    own = built(Trains(label="own", steps=11), tmp_path, cost=Cost(wall_seconds=11))
    assert forecast(Trains(label="own", steps=11), [other, own], {}).seconds == pytest.approx(11)


def test_a_stage_nobody_knows_is_unknown_and_makes_the_total_unknown(tmp_path: Path) -> None:
    planned = plan(Dag(Upper(words=Say().out)), Store(str(tmp_path)))
    assert planned.seconds is None and planned.dollars is None and planned.wall_seconds is None
    assert planned.as_json()["totals"] == {"run": 2, "seconds": None, "wall_seconds": None, "dollars": None}


def test_branches_share_the_cores_of_the_machine() -> None:
    seconds = {"a": 4.0, "b": 3.0, "c": 2.0, "end": 1.0}
    parents = {"a": [], "b": [], "c": ["b"], "end": ["a", "c"]}
    one = dict.fromkeys(seconds, 1.0)
    assert makespan(seconds, parents, one, 2) == 6, "b and c beside a"
    assert makespan(seconds, parents, one, 1) == 10
    assert makespan(seconds, parents, {**one, "a": 2.0}, 2) == 10, "a needs the whole machine"
    assert makespan(seconds, parents, {**one, "a": 8.0}, 2) == 10, "more cores than there are hold all of them"


def test_what_was_built_before_need_not_be_waited_for() -> None:
    assert makespan({"end": 2.0}, {"end": ["cached"]}, {"end": 1.0}, 2) == 2
