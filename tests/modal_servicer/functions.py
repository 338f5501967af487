"""Functions and classes: declared, checked as Modal's documentation says its server does, looked up, varied by options."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

from tests.modal_servicer.state import Container, Function, State, Unmodelled, new_id, not_found

# Names and counts: modal.com/docs/guide/gpu, read in November 2026. The client takes any name, the server does not.
GPUS = {
    **dict.fromkeys(("T4", "L4", "L40S", "A100", "A100-40GB", "A100-80GB", "RTX-PRO-6000"), 8),
    **dict.fromkeys(("H100", "H100!", "H200", "B200", "B200+"), 8),
    "A10": 4,
    "A10G": 4,
}
LONGEST = 24 * 3600  # seconds that one attempt may last


class Functions:
    """What may be asked of functions; `publish_web` gives a web function its URL, `refers` checks the ids it names."""

    def __init__(
        self, state: State, refers: Callable[[pb.Function], None], publish_web: Callable[[Function], Awaitable[str]]
    ) -> None:
        self.state, self._refers, self._publish_web = state, refers, publish_web
        self._variants: dict[bytes, str] = {}

    async def FunctionPrecreate(
        self, request: pb.FunctionPrecreateRequest, _: Container | None
    ) -> pb.FunctionPrecreateResponse:
        self.state.app(request.app_id)
        definition = pb.Function(
            function_name=request.function_name,
            function_type=request.function_type,
            webhook_config=request.webhook_config,
            method_definitions=request.method_definitions,
            function_schema=request.function_schema,
            supported_input_formats=request.supported_input_formats,
            supported_output_formats=request.supported_output_formats,
        )
        function_id = request.existing_function_id or new_id("fu")
        if function_id not in self.state.functions:
            self.state.functions[function_id] = Function(
                function_id, request.app_id, definition, described(function_id, request.app_id, definition)
            )
        metadata = self.state.functions[function_id].metadata
        return pb.FunctionPrecreateResponse(function_id=function_id, handle_metadata=metadata)

    async def FunctionCreate(self, request: pb.FunctionCreateRequest, _: Container | None) -> pb.FunctionCreateResponse:
        app = self.state.app(request.app_id)
        if app.stopped:
            raise GRPCError(Status.FAILED_PRECONDITION, f"App {app.id} is stopped")
        ranked = [one.function for one in request.function_data.ranked_functions] or [request.function]
        for one in ranked:
            check(one)
            self._refers(one)
        function = self.state.function(request.existing_function_id)
        function.definition, function.ranked = ranked[0], ranked
        function.metadata = described(function.id, app.id, ranked[0])
        if ranked[0].webhook_config.type:
            function.metadata.web_url = await self._publish_web(function)
            function.definition.web_url = function.metadata.web_url
        return pb.FunctionCreateResponse(
            function_id=function.id,
            handle_metadata=function.metadata,
            function=function.definition,
            function_data=data(function),
        )

    async def FunctionGet(self, request: pb.FunctionGetRequest, _: Container | None) -> pb.FunctionGetResponse:
        app = self.state.named_app(request.app_name, request.environment_name)
        if app is None:
            raise not_found(f"App '{request.app_name}' in the environment '{request.environment_name or 'main'}'")
        if request.object_tag not in app.functions:
            raise not_found(f"Function '{request.object_tag}' of the app '{request.app_name}'")
        function = self.state.function(app.functions[request.object_tag])
        return pb.FunctionGetResponse(
            function_id=function.id, handle_metadata=function.metadata, function=data(function)
        )

    async def FunctionGetById(
        self, request: pb.FunctionGetByIdRequest, _: Container | None
    ) -> pb.FunctionGetByIdResponse:
        function = self.state.function(request.function_id)
        return pb.FunctionGetByIdResponse(function=data(function), handle_metadata=function.metadata)

    async def FunctionGetCurrentStats(
        self, request: pb.FunctionGetCurrentStatsRequest, _: Container | None
    ) -> pb.FunctionStats:
        function = self.state.function(request.function_id)
        inputs = [one for one in self.state.inputs.values() if one.call.function is function]
        containers = [one for one in self.state.containers.values() if one.function is function and one.running]
        return pb.FunctionStats(
            backlog=sum(one.status in ("queued", "waiting") for one in inputs),
            num_total_tasks=len(containers),
            num_running_inputs=sum(one.status == "running" for one in inputs),
        )

    async def FunctionBindParams(
        self, request: pb.FunctionBindParamsRequest, _: Container | None
    ) -> pb.FunctionBindParamsResponse:
        base = self.state.function(request.function_id)
        key = request.SerializeToString(deterministic=True) + base.definition.SerializeToString(deterministic=True)
        if key not in self._variants:
            definition = varied(base.definition, request.function_options)
            check(definition)
            self._refers(definition)
            function_id = new_id("fu")
            metadata = described(function_id, base.app, definition)
            self.state.functions[function_id] = Function(
                function_id, base.app, definition, metadata, base.id, request.serialized_params, [definition]
            )
            self._variants[key] = function_id
        bound = self.state.function(self._variants[key])
        return pb.FunctionBindParamsResponse(bound_function_id=bound.id, handle_metadata=bound.metadata)

    async def ClassCreate(self, request: pb.ClassCreateRequest, _: Container | None) -> pb.ClassCreateResponse:
        if not request.only_class_function:
            raise Unmodelled("ClassCreate: a class of an older client")
        class_id = request.existing_class_id or new_id("cs")
        self.state.classes[class_id] = (request.app_id, "")
        return pb.ClassCreateResponse(class_id=class_id, handle_metadata=pb.ClassHandleMetadata())

    async def ClassGet(self, request: pb.ClassGetRequest, _: Container | None) -> pb.ClassGetResponse:
        app = self.state.named_app(request.app_name, request.environment_name)
        if app is None or request.object_tag not in app.classes:
            raise not_found(f"Cls '{request.object_tag}' of the app '{request.app_name}'")
        return pb.ClassGetResponse(class_id=app.classes[request.object_tag], handle_metadata=pb.ClassHandleMetadata())


def check(definition: pb.Function) -> None:
    """Refuse what Modal's server refuses and its client does not look at."""
    gpu = definition.resources.gpu_config
    if gpu.count and gpu.gpu_type not in GPUS:
        raise GRPCError(Status.INVALID_ARGUMENT, f"Invalid GPU type: {gpu.gpu_type}")
    if gpu.count > GPUS.get(gpu.gpu_type, 0) and gpu.gpu_type:
        raise GRPCError(Status.INVALID_ARGUMENT, f"{gpu.gpu_type} comes in at most {GPUS[gpu.gpu_type]} per container")
    if gpu.gpu_type and not gpu.count:
        raise GRPCError(Status.INVALID_ARGUMENT, f"Invalid GPU count: {gpu.count}")
    if not 1 <= definition.timeout_secs <= LONGEST:
        raise GRPCError(Status.INVALID_ARGUMENT, f"timeout must be between 1 and {LONGEST} seconds")
    if definition.retry_policy.retries > 10:
        raise GRPCError(Status.INVALID_ARGUMENT, "a function may be retried at most 10 times")
    if gpu.count and definition.scheduler_placement.nonpreemptible:
        raise GRPCError(Status.INVALID_ARGUMENT, "nonpreemptible is not supported for GPU functions")


def varied(base: pb.Function, options: pb.FunctionOptions) -> pb.Function:
    """The definition with other resources, limits, secrets or volumes."""
    definition = pb.Function()
    definition.CopyFrom(base)
    if options.HasField("resources"):
        definition.resources.MergeFrom(options.resources)
        if options.resources.gpu_config.count:
            definition.resources.gpu_config.CopyFrom(options.resources.gpu_config)
    for name in ("retry_policy", "scheduler_placement"):
        if options.HasField(name):
            getattr(definition, name).CopyFrom(getattr(options, name))
    for name in ("concurrency_limit", "timeout_secs", "task_idle_timeout_secs"):
        if options.HasField(name):
            setattr(definition, name, getattr(options, name))
    if options.HasField("concurrency_limit"):
        definition.autoscaler_settings.max_containers = options.concurrency_limit
    if options.replace_secret_ids or options.secret_ids:
        del definition.secret_ids[:]
        definition.secret_ids.extend(options.secret_ids)
    if options.replace_volume_mounts or options.volume_mounts:
        del definition.volume_mounts[:]
        definition.volume_mounts.extend(options.volume_mounts)
    return definition


def described(function_id: str, app_id: str, definition: pb.Function) -> pb.FunctionHandleMetadata:
    """What a handle of a function must know."""
    metadata = pb.FunctionHandleMetadata(
        function_name=definition.function_name,
        function_type=definition.function_type,
        is_method=definition.is_method,
        class_parameter_info=definition.class_parameter_info,
        function_schema=definition.function_schema,
        supported_input_formats=definition.supported_input_formats,
        supported_output_formats=definition.supported_output_formats,
        definition_id=f"de-{hashlib.sha256(definition.SerializeToString(deterministic=True)).hexdigest()[:22]}",
        app_id=app_id,
    )
    for name, method in definition.method_definitions.items():
        metadata.method_handle_metadata[name].CopyFrom(
            pb.FunctionHandleMetadata(
                function_name=method.function_name,
                function_type=method.function_type,
                is_method=True,
                use_method_name=name,
                function_schema=method.function_schema,
                supported_input_formats=method.supported_input_formats,
                supported_output_formats=method.supported_output_formats,
                app_id=app_id,
            )
        )
    return metadata


def data(function: Function) -> pb.FunctionData:
    """A function as its page would show it."""
    definition = function.definition
    ranked = [
        pb.FunctionData.RankedFunction(rank=rank, function=one)
        for rank, one in enumerate(function.ranked or [definition])
    ]
    return pb.FunctionData(
        module_name=definition.module_name,
        function_name=definition.function_name,
        function_type=definition.function_type,
        timeout_secs=definition.timeout_secs,
        web_url=definition.web_url,
        webhook_config=definition.webhook_config,
        is_class=definition.is_class,
        method_definitions=definition.method_definitions,
        method_definitions_set=definition.method_definitions_set,
        autoscaler_settings=definition.autoscaler_settings,
        ranked_functions=ranked,
    )
