"""A price is the stage's own, else the person's file's, else the table's; what nobody knows has none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline import Resources, UsageError
from pipeline.prices import LISTED, hourly, peak_flops, prices


@pytest.fixture(autouse=True)
def asked_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    prices.cache_clear()
    yield
    prices.cache_clear()


def own(tmp_path: Path, text: str) -> None:
    file = tmp_path / "settings" / "corpusmill" / "prices.toml"
    file.parent.mkdir(parents=True)
    file.write_text(text)


def test_a_gpu_costs_what_the_table_says_times_their_number() -> None:
    listed = LISTED.gpu["H100"].dollars_per_hour
    assert hourly(Resources(gpu="H100", gpus=8)) == pytest.approx(8 * (listed or 0))
    assert peak_flops(Resources(gpu="H100", gpus=2)) == 2 * 989e12


def test_the_price_on_a_stage_comes_first() -> None:
    assert hourly(Resources(gpu="H100", dollars_per_hour=1.5)) == 1.5
    assert hourly(Resources(gpu="H100", dollars_per_hour=0)) == 0, "free is a price, and not an unknown one"


def test_what_nobody_priced_has_no_price() -> None:
    assert hourly(Resources(cpus=2)) is None
    assert hourly(Resources(gpus=1)) is None, "a GPU of this machine, of no type that is for rent"
    assert hourly(Resources(gpu="Z80")) is None and peak_flops(Resources(gpu="Z80")) is None


def test_a_persons_file_overrides_a_price_and_keeps_the_rest(tmp_path: Path) -> None:
    own(
        tmp_path,
        "[gpu.H100]\ndollars_per_hour = 2\n[gpu.MI300]\ndollars_per_hour = 3\n[cpu]\ndollars_per_hour = 0.05\n",
    )
    assert hourly(Resources(gpu="H100")) == 2 and peak_flops(Resources(gpu="H100")) == 989e12
    assert hourly(Resources(gpu="MI300")) == 3 and peak_flops(Resources(gpu="MI300")) is None
    assert hourly(Resources(cpus=4)) == pytest.approx(0.2)
    assert hourly(Resources(gpu="L4")) == LISTED.gpu["L4"].dollars_per_hour


def test_where_a_place_takes_rent_cores_and_memory_cost_beside_the_gpu(tmp_path: Path) -> None:
    listed, rent = LISTED.gpu["H100"].dollars_per_hour or 0, LISTED.place["modal"]
    held = Resources(cpus=4, memory_gib=16, on="modal")
    assert hourly(held) == pytest.approx(4 * rent.core_dollars_per_hour + 16 * rent.gib_dollars_per_hour)
    with_gpu = Resources(cpus=4, memory_gib=16, gpu="H100", gpus=2, on="modal")
    assert hourly(with_gpu) == pytest.approx(2 * listed + (hourly(held) or 0))
    assert hourly(Resources(cpus=4, on="ray")) is None, "a machine of one's own has no price that nobody said"


def test_a_person_prices_a_place_of_their_own_and_what_is_listed_of_another(tmp_path: Path) -> None:
    own(
        tmp_path,
        '[gpu.RTX4090]\ndollars_per_hour = 0.4\nmemory_gib = 23\non = "ray://box:10001"\n'
        "[place.ray]\ncore_dollars_per_hour = 0.1\n[place.modal]\ncore_dollars_per_hour = 0.02\n",
    )
    assert prices().gpu["RTX4090"].on == "ray://box:10001" and prices().gpu["H100"].on == "modal"
    assert hourly(Resources(cpus=2, on="ray://box:10001")) == pytest.approx(0.2)
    gib = LISTED.place["modal"].gib_dollars_per_hour
    assert hourly(Resources(cpus=2, memory_gib=1, on="modal")) == pytest.approx(0.04 + gib), "the rest stays as listed"


def test_a_type_of_gpu_is_one_gpu_unless_it_is_said_to_be_more() -> None:
    assert Resources(gpu="H100").gpus == 1 and Resources(gpu="H100", gpus=4).gpus == 4 and Resources().gpus == 0
    with pytest.raises(ValidationError, match="gpu='H100' names a type, but gpus is 0: leave gpus out for one"):
        Resources(gpu="H100", gpus=0)


def test_capitals_in_the_name_of_a_gpu_do_not_count(tmp_path: Path) -> None:
    own(tmp_path, "[gpu.h100]\ndollars_per_hour = 2\n")
    assert hourly(Resources(gpu="H100")) == hourly(Resources(gpu="h100")) == 2
    assert peak_flops(Resources(gpu="h100")) == 989e12


@pytest.mark.parametrize(
    "text",
    [
        "[gpu.H100]\ndollars = 2\n",
        "[gpu.H100\n",
        "[cpu]\ndollars_per_hour = -1\n",
        "[gpu.H100]\ndollars_per_hour = inf\n",
    ],
)
def test_a_price_file_that_cannot_be_read_is_one_error(tmp_path: Path, text: str) -> None:
    own(tmp_path, text)
    with pytest.raises(UsageError, match=r"the price file .*prices.toml"):
        prices()


def test_a_price_file_that_was_named_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORPUSMILL_PRICES", str(tmp_path / "none.toml"))
    with pytest.raises(UsageError, match=r"none.toml is not there"):
        prices()
