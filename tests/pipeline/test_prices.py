"""A price is the stage's own, else the person's file's, else the table's; what nobody knows has none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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
