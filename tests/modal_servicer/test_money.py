"""The billing API, as far as a test fills it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import modal
from modal_proto import api_pb2 as pb

from tests.modal_servicer.service import Service


def test_the_rates_and_costs_are_those_that_were_set(service: Service) -> None:
    cost = pb.WorkspaceBillingReportItem(object_id="ap-1", description="shop", environment_name="main", cost="1.25")
    cost.interval.FromSeconds(int(time.time()) - 3600)
    service.settings(rates={"gpu_hour_cost_h100": "3.95"}, costs=[cost])
    billing = modal.Workspace.from_context().billing
    assert dict(billing.rates()) == {"gpu_hour_cost_h100": Decimal("3.95")}
    (item,) = billing.report(start=datetime.now(UTC) - timedelta(days=1))
    assert (item.object_id, item.cost) == ("ap-1", Decimal("1.25"))
