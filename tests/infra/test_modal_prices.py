"""Modal's own rates become the prices that plans are made with, dated and with their source; a person's own come first."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from grpclib import Status
from typer.testing import CliRunner

from infra.modal_commands import modal
from infra.modal_prices import FRESH_SECONDS, refresh
from pipeline import Resources
from pipeline.prices import LISTED, SOURCE, hourly, prices, told_file
from tests.modal_servicer.service import Service

RATES = {
    "cpu_hour_cost": "0.05000", "cpu_hour_cost_sandbox": "0.141900", "egress_gib_cost": "0.04",
    "gpu_hour_cost_a100_80gb": "2.60000", "gpu_hour_cost_a10g": "1.20000", "gpu_hour_cost_b300": "7.10000",
    "gpu_hour_cost_h100": "4.00000", "gpu_hour_cost_rtx6000": "3.03000", "mem_gib_hour_cost": "0.00900",
    "mem_gib_hour_cost_sandbox": "0.024000", "volume_storage_gib_month_cost": "0.09000",
}  # fmt: skip
"""Names as workspaces were answered in 2026; the figures are moved, so that they are told from the table's."""


@pytest.fixture
def rates(modal_service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    modal_service.settings(rates=RATES)
    prices.cache_clear()
    yield modal_service
    modal_service.settings(rates={})
    prices.cache_clear()


def said(code: int = 0) -> str:
    done = CliRunner().invoke(modal, ["prices"], catch_exceptions=False)
    assert done.exit_code == code, done.output
    prices.cache_clear()
    return done.output


def dollars(gpu: str) -> float:
    return hourly(Resources(gpu=gpu)) or 0


def test_what_modal_charges_is_what_plans_are_made_with(rates: Service) -> None:
    before, told = time.strftime("%Y-%m-%d"), said()
    assert prices().source in told
    assert prices().source.endswith((f"asked on {before}", f"asked on {time.strftime('%Y-%m-%d')}"))
    assert (dollars("H100"), dollars("A100-80GB"), dollars("A10"), dollars("RTX-PRO-6000")) == (4.0, 2.6, 1.2, 3.03)
    assert dollars("L4") == LISTED.gpu["L4"].dollars_per_hour, "what it does not tell is the table's"
    assert prices().gpu["H100"].flops == LISTED.gpu["H100"].flops and prices().gpu["RTX-PRO-6000"].on == "modal"
    assert hourly(Resources(cpus=2, memory_gib=10, on="modal")) == pytest.approx(2 * 0.05 + 10 * 0.009)


def test_a_name_that_is_not_known_is_shown_and_counts_for_nothing(rates: Service) -> None:
    told = said()
    for name in ("cpu_hour_cost_sandbox", "egress_gib_cost", "gpu_hour_cost_b300", "volume_storage_gib_month_cost"):
        assert f"# {name} = " in told
    assert hourly(Resources(gpu="B300")) is None


def test_a_persons_own_prices_come_first_and_are_never_touched(rates: Service, tmp_path: Path) -> None:
    own = tmp_path / "corpusmill" / "prices.toml"
    own.parent.mkdir()
    own.write_text("[gpu.H100]\ndollars_per_hour = 2\n")
    said()
    assert (dollars("H100"), dollars("A10")) == (2, 1.2) and own.read_text() == "[gpu.H100]\ndollars_per_hour = 2\n"


def test_who_speaks_to_modal_anyway_asks_once_a_day(rates: Service) -> None:
    before = len(rates.asked("WorkspaceBillingRates"))
    refresh()
    refresh()
    assert len(rates.asked("WorkspaceBillingRates")) == before + 1
    day_ago = time.time() - FRESH_SECONDS - 1
    os.utime(told_file(), (day_ago, day_ago))
    refresh()
    assert len(rates.asked("WorkspaceBillingRates")) == before + 2


def test_where_modal_does_not_tell_the_dated_table_stands_and_no_run_fails(rates: Service) -> None:
    rates.fail("WorkspaceBillingRates", Status.PERMISSION_DENIED)
    refresh()
    assert not told_file().exists() and prices().source == SOURCE
    rates.settings(rates={"something_new": "1"})
    refresh()
    assert not told_file().exists() and dollars("H100") == LISTED.gpu["H100"].dollars_per_hour
