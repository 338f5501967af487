"""The container's side of the API: it says hello, beats, takes inputs, gives outputs, and says when it cannot start."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

from tests.modal_servicer.calls import Calls
from tests.modal_servicer.containers import Containers
from tests.modal_servicer.state import Container, Input, State, not_found

BEAT = 14.0  # seconds that a heartbeat is held, so that a cancellation arrives at once; the client sends one in 15


class Worker:
    """What containers may ask; `started` is told of each input that begins."""

    def __init__(self, state: State, containers: Containers, started: Callable[[Container, Input], None]) -> None:
        self.state, self.containers, self._started = state, containers, started
        self.calls: Calls = containers.calls

    async def ContainerHello(self, _request: Message, by: Container | None) -> Message:
        inside(by).greeted = True
        return Empty()

    async def ContainerHeartbeat(
        self, _request: pb.ContainerHeartbeatRequest, by: Container | None
    ) -> pb.ContainerHeartbeatResponse:
        container = inside(by)
        await self.state.pulse.until(lambda: container.cancel, BEAT)
        answer = pb.ContainerHeartbeatResponse()
        if container.cancel:
            answer.cancel_input_event.input_ids.extend(container.cancel)
            container.cancel.clear()
        return answer

    async def FunctionGetInputs(
        self, request: pb.FunctionGetInputsRequest, by: Container | None
    ) -> pb.FunctionGetInputsResponse:
        container = inside(by)
        if request.function_id != container.function.id:
            raise GRPCError(Status.PERMISSION_DENIED, "a container takes inputs of its own function only")
        definition = container.function.definition
        kept = bool(definition.webhook_config.type)
        idle = definition.autoscaler_settings.scaledown_window or definition.task_idle_timeout_secs or 60
        if not kept and container.served:
            return killed()

        def next_input() -> Input | str | None:
            if container.stopping or not container.running:
                return "stop"
            if self.containers.room_left(container) <= 0:
                return None
            queued = (one for one in self.state.inputs.values() if one.status == "queued")
            return next((one for one in queued if one.call.function is container.function), None)

        one = await self.state.pulse.until(next_input, idle)
        if not isinstance(one, Input):
            if container.inputs and not container.stopping:
                return pb.FunctionGetInputsResponse()
            container.stopping = container.stopping or "idle"
            return killed()
        self.containers.assign(container, one)
        self._started(container, one)
        self.state.pulse.beat()
        item = pb.FunctionGetInputsItem(
            input_id=one.id,
            input=one.payload,
            function_call_id=one.call.id,
            function_call_invocation_type=one.call.invocation,
            retry_count=one.retry_count,
        )
        return pb.FunctionGetInputsResponse(inputs=[item])

    async def FunctionPutOutputs(self, request: pb.FunctionPutOutputsRequest, by: Container | None) -> Message:
        container = inside(by)
        for item in request.outputs:
            one = container.inputs.pop(item.input_id, None)
            if one is not None:
                self.calls.output(one, item, container.id)
        self.state.pulse.beat()
        return Empty()

    async def FunctionCallPutDataOut(self, request: pb.FunctionCallPutDataRequest, by: Container | None) -> Message:
        inside(by)
        call = self.state.call(request.function_call_id)
        for chunk in request.data_chunks:
            if chunk.index == len(call.data_out) + 1:  # a generator that was restarted says the first ones again
                call.data_out.append(chunk)
        self.state.pulse.beat()
        return Empty()

    async def TaskResult(self, request: pb.TaskResultRequest, by: Container | None) -> Message:
        inside(by).failure = request.result
        return Empty()

    async def ContainerStop(self, request: pb.ContainerStopRequest, _: Container | None) -> Message:
        """Whoever stops a container: what ran in it runs again in another one."""
        container = self.state.containers.get(request.task_id)
        if container is None:
            raise not_found(f"Container {request.task_id}")
        end = self.containers.interrupt if request.graceful else self.containers.kill
        if container.running:
            end(container, "preempted")
        return Empty()

    async def TaskGetInfo(self, request: pb.TaskGetInfoRequest, _: Container | None) -> pb.TaskGetInfoResponse:
        container = self.state.containers.get(request.task_id)
        if container is None:
            raise not_found(f"Container {request.task_id}")
        info = pb.TaskInfo(id=container.id, started_at=container.created_at, finished_at=container.ended_at)
        info.gpu_config.CopyFrom(container.function.definition.resources.gpu_config)
        return pb.TaskGetInfoResponse(app_id=container.function.app, info=info)


def inside(by: Container | None) -> Container:
    """The container that asks; a client outside is refused."""
    if by is None:
        raise GRPCError(Status.PERMISSION_DENIED, "only a container may ask this")
    return by


def killed() -> pb.FunctionGetInputsResponse:
    """The answer that ends a container in good order."""
    return pb.FunctionGetInputsResponse(inputs=[pb.FunctionGetInputsItem(kill_switch=True)])
