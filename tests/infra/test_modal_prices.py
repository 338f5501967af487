"""Modal's own rates become the prices that plans are made with."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from pathlib import Path

import pytest

from infra.modal_prices import asked, write, written
from pipeline.errors import UsageError
from pipeline.prices import Prices
from tests.modal_servicer.service import Service

RATES = {
    "gpu_hour_cost_a100_80gb": "2.5",
    "gpu_hour_cost_h100": "3.95",
    "cpu_hour_cost": "0.0473",
    "mem_hour_cost": "0.008",
    "disk": "1",
}


def test_rates_are_asked_of_the_workspace(modal_service: Service) -> None:
    modal_service.settings(rates=RATES)
    assert asked() == {name: Decimal(rate) for name, rate in RATES.items()}


def test_what_is_known_of_them_is_a_price_file_and_the_rest_a_comment() -> None:
    text = written({name: Decimal(rate) for name, rate in RATES.items()})
    found = Prices.model_validate(tomllib.loads(text))
    assert {name: gpu.dollars_per_hour for name, gpu in found.gpu.items()} == {"A100-80GB": 2.5, "H100": 3.95}
    assert (found.place["modal"].core_dollars_per_hour, found.place["modal"].gib_dollars_per_hour) == (0.0473, 0.008)
    assert "# disk = 1" in text


def test_a_price_file_of_ones_own_is_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    write(written({}), file)
    write(written({}), file)
    file.write_text("[gpu.H100]\ndollars_per_hour = 2\n")
    with pytest.raises(UsageError, match="prices of your own"):
        write(written({}), file)
