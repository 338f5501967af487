"""Calls: inputs queue, run, fail, are retried or cancelled; outputs wait until they are fetched."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

from tests.modal_servicer.state import Container, FunctionCall, Input, State, new_id, not_found

ASYNC = (pb.FUNCTION_CALL_INVOCATION_TYPE_ASYNC, pb.FUNCTION_CALL_INVOCATION_TYPE_ASYNC_LEGACY)
SUCCESS, FAILURE = pb.GenericResult.GENERIC_STATUS_SUCCESS, pb.GenericResult.GENERIC_STATUS_FAILURE
TERMINATED = pb.GenericResult.GENERIC_STATUS_TERMINATED


class Calls:
    """The client's side of calls; `kill` ends a container at once."""

    def __init__(self, state: State, kill: Callable[[Container, str], None]) -> None:
        self.state, self._kill = state, kill

    async def FunctionMap(self, request: pb.FunctionMapRequest, _: Container | None) -> pb.FunctionMapResponse:
        function = self.state.function(request.function_id)
        if self.state.app(function.app).stopped:
            raise GRPCError(Status.FAILED_PRECONDITION, f"App {function.app} is stopped")
        kind, invocation = request.function_call_type, request.function_call_invocation_type
        call = FunctionCall(new_id("fc"), function, kind, invocation)
        self.state.function_calls[call.id] = call
        return pb.FunctionMapResponse(
            function_call_id=call.id,
            pipelined_inputs=[self._add(call, item) for item in request.pipelined_inputs],
            retry_policy=function.definition.retry_policy,
            function_call_jwt=token(call=call.id),
            sync_client_retries_enabled=True,
            max_inputs_outstanding=1000,
        )

    async def FunctionPutInputs(
        self, request: pb.FunctionPutInputsRequest, _: Container | None
    ) -> pb.FunctionPutInputsResponse:
        call = self.state.call(request.function_call_id)
        return pb.FunctionPutInputsResponse(inputs=[self._add(call, item) for item in request.inputs])

    async def FunctionFinishInputs(self, request: pb.FunctionFinishInputsRequest, _: Container | None) -> Message:
        if len(self.state.call(request.function_call_id).inputs) != request.num_inputs:
            raise GRPCError(Status.FAILED_PRECONDITION, "other inputs came than were counted")
        return Empty()

    def _add(self, call: FunctionCall, item: pb.FunctionPutInputsItem) -> pb.FunctionPutInputsResponseItem:
        if item.idx not in call.inputs:  # a request that is repeated adds nothing
            one = Input(new_id("in"), item.idx, item.input, call)
            call.inputs[item.idx] = self.state.inputs[one.id] = one
            self.state.pulse.beat()
        one = call.inputs[item.idx]
        return pb.FunctionPutInputsResponseItem(
            idx=one.idx, input_id=one.id, input_jwt=token(input=one.id, idx=one.idx)
        )

    async def FunctionRetryInputs(
        self, request: pb.FunctionRetryInputsRequest, _: Container | None
    ) -> pb.FunctionRetryInputsResponse:
        tokens = []
        for item in request.inputs:
            one = self.state.inputs[str(payload(item.input_jwt)["input"])]
            if one.call.cancelled:
                raise GRPCError(Status.FAILED_PRECONDITION, f"the call {one.call.id} is cancelled")
            one.retry_count = item.retry_count or one.retry_count + 1
            one.payload, one.result, one.status = item.input, None, "queued"
            tokens.append(token(input=one.id, idx=one.idx))
        self.state.pulse.beat()
        return pb.FunctionRetryInputsResponse(input_jwts=tokens)

    async def FunctionGetOutputs(
        self, request: pb.FunctionGetOutputsRequest, _: Container | None
    ) -> pb.FunctionGetOutputsResponse:
        call = self.state.call(request.function_call_id)
        seen = int(request.last_entry_id.partition("-")[0] or 0)

        def ready() -> list[pb.FunctionGetOutputsItem]:
            if request.HasField("start_idx"):
                asked = [call.inputs.get(idx) for idx in range(request.start_idx, request.end_idx + 1)]
                return [one.result for one in asked if one is not None and one.result is not None]
            return call.entries[seen:]

        outputs = [] if request.clear_on_success and not request.timeout else ready()
        if not outputs and request.timeout > 0:
            outputs = await self.state.pulse.until(ready, request.timeout)
        return pb.FunctionGetOutputsResponse(
            outputs=outputs,
            last_entry_id=f"{len(call.entries)}-0",
            num_unfinished_inputs=sum(one.status != "done" for one in call.inputs.values()),
        )

    async def FunctionCallFromId(
        self, request: pb.FunctionCallFromIdRequest, _: Container | None
    ) -> pb.FunctionCallFromIdResponse:
        call = self.state.call(request.function_call_id)
        metadata = pb.FunctionCallHandleMetadata(app_id=call.function.app, function_id=call.function.id)
        return pb.FunctionCallFromIdResponse(function_call_id=call.id, num_inputs=len(call.inputs), metadata=metadata)

    async def FunctionCallCancel(self, request: pb.FunctionCallCancelRequest, _: Container | None) -> Message:
        self.cancel(self.state.call(request.function_call_id), request.terminate_containers)
        return Empty()

    def cancel(self, call: FunctionCall, terminate: bool) -> None:
        """Queued inputs end now; running ones are told through the heartbeat, or lose their container."""
        call.cancelled = True
        for one in call.inputs.values():
            if one.status in ("queued", "waiting"):
                self.finish(one, pb.GenericResult(status=TERMINATED, exception="Input was cancelled by user"))
            elif one.status == "running" and one.container is not None:
                if terminate:
                    self._kill(one.container, "cancelled")
                else:
                    one.container.cancel.append(one.id)
        self.state.pulse.beat()

    async def FunctionCallGetDataOut(
        self, request: pb.FunctionCallGetDataRequest, _: Container | None
    ) -> AsyncIterator[pb.DataChunk]:
        async for chunk in self.stream(self.state.call(request.function_call_id), "data_out", request.last_index):
            yield chunk

    async def FunctionCallGetDataIn(
        self, request: pb.FunctionCallGetDataRequest, _: Container | None
    ) -> AsyncIterator[pb.DataChunk]:
        async for chunk in self.stream(self.state.call(request.function_call_id), "data_in", request.last_index):
            yield chunk

    async def stream(self, call: FunctionCall, name: str, after: int) -> AsyncIterator[pb.DataChunk]:
        """Chunks as they come, until the call is over."""
        chunks: list[pb.DataChunk] = getattr(call, name)
        while True:
            over = await self.state.pulse.until(lambda: len(chunks) > after or done(call), 50)  # noqa: B023
            while len(chunks) > after:
                yield chunks[after]
                after += 1
            if not over or (done(call) and len(chunks) <= after):
                return

    def output(self, one: Input, item: pb.FunctionPutOutputsItem, container: str) -> None:
        """A container gave an output: final, or the ground for a retry that the server makes (spawned calls)."""
        if one.status != "running" or item.retry_count != one.retry_count:
            return  # of an attempt that is over
        self.finish(one, item.result, item, container)

    def finish(
        self,
        one: Input,
        result: pb.GenericResult,
        item: pb.FunctionPutOutputsItem | None = None,
        container: str = "",
    ) -> None:
        """End an attempt: keep its output, or queue the next attempt after the policy's delay."""
        if one.timer:
            one.timer.cancel()
        policy = one.call.function.definition.retry_policy
        again = result.status not in (SUCCESS, TERMINATED) and one.retry_count < policy.retries
        if one.call.invocation in ASYNC and again and not one.call.cancelled:
            one.retry_count += 1
            delay = policy.initial_delay_ms * policy.backoff_coefficient ** (one.retry_count - 1)
            one.status, one.container = "waiting", None
            limit = policy.max_delay_ms or delay
            asyncio.get_running_loop().call_later(min(delay, limit) / 1000, self.requeue, one)
            return
        one.status, one.container = "done", None
        one.result = pb.FunctionGetOutputsItem(
            result=result, idx=one.idx, input_id=one.id, task_id=container, retry_count=one.retry_count
        )
        if item is not None:
            one.result.data_format = item.data_format
            one.result.input_started_at, one.result.output_created_at = item.input_started_at, item.output_created_at
        else:
            one.result.output_created_at = time.time()
        one.call.entries.append(one.result)
        self.state.pulse.beat()

    def requeue(self, one: Input) -> None:
        """Let an input run (again)."""
        if one.status in ("waiting", "running"):
            one.status, one.container = "queued", None
            self.state.pulse.beat()


def done(call: FunctionCall) -> bool:
    """True when no input of a call is left to run."""
    return bool(call.inputs) and all(one.status == "done" for one in call.inputs.values())


def token(**fields: object) -> str:
    """A JWT that nobody signed: the client reads the index of an input from it."""
    parts = [{"alg": "none", "typ": "JWT"}, fields]
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts) + "."


def payload(jwt: str) -> dict[str, object]:
    """What such a token says."""
    try:
        body = jwt.split(".")[1]
        fields: dict[str, object] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (IndexError, ValueError):
        raise not_found("the input of that token") from None
    return fields
