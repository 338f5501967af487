"""The billing API: the rates and the costs that a test puts there; nothing is invented."""

from __future__ import annotations

from collections.abc import AsyncIterator

from modal_proto import api_pb2 as pb

from tests.modal_servicer.state import Container, State


class Money:
    """Rates (`settings["rates"]`: resource → dollars, as text) and cost items (`settings["costs"]`)."""

    def __init__(self, state: State) -> None:
        self.state = state

    async def WorkspaceBillingRates(
        self, _request: pb.WorkspaceBillingRatesRequest, _: Container | None
    ) -> pb.WorkspaceBillingRatesResponse:
        return pb.WorkspaceBillingRatesResponse(rates=self.state.settings.get("rates", {}))

    async def WorkspaceBillingReport(
        self, request: pb.WorkspaceBillingReportRequest, _: Container | None
    ) -> AsyncIterator[pb.WorkspaceBillingReportItem]:
        since, until = request.start_timestamp.seconds, request.end_timestamp.seconds
        costs: list[pb.WorkspaceBillingReportItem] = self.state.settings.get("costs", [])
        for item in costs:
            if since <= item.interval.seconds < until:
                yield item
