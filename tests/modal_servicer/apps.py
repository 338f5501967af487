"""Apps: created, published, deployed under a name, listed, stopped; an ephemeral one ends with its client."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

from tests.modal_servicer.state import App, Container, State, new_id, not_found


class Apps:
    """What a client may do to an app; `end` stops all that runs for it."""

    def __init__(self, state: State, end: Callable[[App], Awaitable[None]]) -> None:
        self.state, self.end = state, end

    async def AppCreate(self, request: pb.AppCreateRequest, _: Container | None) -> pb.AppCreateResponse:
        environment = self.state.environment(request.environment_name)
        app = App(new_id("ap"), request.description, environment, request.app_state, tags=dict(request.tags))
        self.state.apps[app.id] = app
        return pb.AppCreateResponse(app_id=app.id, app_page_url=f"{self.state.url}/apps/{app.id}")

    async def AppGetOrCreate(self, request: pb.AppGetOrCreateRequest, _: Container | None) -> pb.AppGetOrCreateResponse:
        app = self.state.named_app(request.app_name, request.environment_name) or self.state.apps.get(request.app_name)
        if app is None:
            if request.object_creation_type != pb.OBJECT_CREATION_TYPE_CREATE_IF_MISSING:
                raise not_found(f"App '{request.app_name}'")
            environment = self.state.environment(request.environment_name)
            app = App(new_id("ap"), request.app_name, environment, pb.APP_STATE_DEPLOYED, name=request.app_name)
            self.state.apps[app.id] = app
        metadata = pb.AppHandleMetadata(description=app.description, app_id=app.id, environment_name=app.environment)
        metadata.lifecycle.CopyFrom(lifecycle(app))
        return pb.AppGetOrCreateResponse(app_id=app.id, handle_metadata=metadata)

    async def AppGetByDeploymentName(
        self, request: pb.AppGetByDeploymentNameRequest, _: Container | None
    ) -> pb.AppGetByDeploymentNameResponse:
        environment = self.state.environment(request.environment_name)
        app = self.state.named_app(request.name, request.environment_name)
        answer = pb.AppGetByDeploymentNameResponse(environment_name=environment)
        if app is not None:
            answer.app_id = app.id
        earlier = [one for one in self.state.apps.values() if one.name == request.name and one.stopped]
        if app is None and earlier:
            app = earlier[-1]
            answer.previous_app_id = app.id
        if app is not None:
            answer.lifecycle.CopyFrom(lifecycle(app))
        return answer

    async def AppGetLayout(self, request: pb.AppGetLayoutRequest, _: Container | None) -> pb.AppGetLayoutResponse:
        return pb.AppGetLayoutResponse(app_layout=layout(self.state, self.state.app(request.app_id)))

    async def AppGetLifecycle(
        self, request: pb.AppGetLifecycleRequest, _: Container | None
    ) -> pb.AppGetLifecycleResponse:
        return pb.AppGetLifecycleResponse(lifecycle=lifecycle(self.state.app(request.app_id)))

    async def AppPublish(self, request: pb.AppPublishRequest, _: Container | None) -> pb.AppPublishResponse:
        app = self.state.app(request.app_id)
        if app.stopped:
            raise GRPCError(Status.FAILED_PRECONDITION, f"App {app.id} is stopped")
        app.functions, app.classes = dict(request.function_ids), dict(request.class_ids)
        app.tags = dict(request.tags)
        app.state = request.app_state or app.state
        if app.state == pb.APP_STATE_DEPLOYED:
            app.name, app.deployed_at = request.name, time.time()
            version = len(app.history) + 1
            app.history.append(
                pb.AppDeploymentHistory(
                    app_id=app.id,
                    version=version,
                    deployed_at=app.deployed_at,
                    deployed_by="tester",
                    tag=request.deployment_tag,
                    commit_info=request.commit_info,
                )
            )
        self.state.pulse.beat()
        return pb.AppPublishResponse(url=f"{self.state.url}/apps/{app.id}", deployed_at=app.deployed_at)

    async def AppList(self, request: pb.AppListRequest, _: Container | None) -> pb.AppListResponse:
        environment = self.state.environment(request.environment_name)
        items = [
            pb.AppListResponse.AppListItem(
                app_id=app.id,
                description=app.name or app.description,
                name=app.name,
                state=app.state,
                created_at=app.created_at,
                stopped_at=app.stopped_at,
                n_running_tasks=len(running(self.state, app)),
            )
            for app in self.state.apps.values()
            if app.environment == environment
        ]
        return pb.AppListResponse(apps=items)

    async def AppStop(self, request: pb.AppStopRequest, _: Container | None) -> Message:
        await self.end(self.state.app(request.app_id))
        return Empty()

    async def AppClientDisconnect(self, request: pb.AppClientDisconnectRequest, _: Container | None) -> Message:
        await self.disconnected(self.state.app(request.app_id))
        return Empty()

    async def disconnected(self, app: App) -> None:
        """Its client is gone: an app that lives for its client ends, a detached one goes on."""
        if app.state in (pb.APP_STATE_EPHEMERAL, pb.APP_STATE_INITIALIZING):
            await self.end(app)
        elif app.state == pb.APP_STATE_DETACHED:
            app.state = pb.APP_STATE_DETACHED_DISCONNECTED

    async def AppHeartbeat(self, request: pb.AppHeartbeatRequest, _: Container | None) -> Message:
        self.state.app(request.app_id).heartbeat_at = time.time()
        return Empty()

    async def AppDeploymentHistory(
        self, request: pb.AppDeploymentHistoryRequest, _: Container | None
    ) -> pb.AppDeploymentHistoryResponse:
        history = self.state.app(request.app_id).history
        return pb.AppDeploymentHistoryResponse(app_deployment_histories=history, production_app_version=len(history))

    async def TaskList(self, request: pb.TaskListRequest, _: Container | None) -> pb.TaskListResponse:
        tasks = []
        for container in self.state.containers.values():
            app = self.state.app(container.function.app)
            here = app.environment == self.state.environment(request.environment_name)
            if container.running and request.app_id in ("", app.id) and (here or request.app_id):
                at = container.created_at
                task = pb.TaskStats(task_id=container.id, app_id=app.id, app_description=app.name or app.description)
                task.enqueued_at = task.started_at = at
                tasks.append(task)
        return pb.TaskListResponse(tasks=tasks)

    async def ObjectSuggest(self, _request: pb.ObjectSuggestRequest, _: Container | None) -> pb.ObjectSuggestResponse:
        return pb.ObjectSuggestResponse()


def running(state: State, app: App) -> list[Container]:
    """The containers of an app that are paid for now."""
    return [one for one in state.containers.values() if one.running and one.function.app == app.id]


def lifecycle(app: App) -> pb.AppLifecycle:
    """Where an app stands, in the client's terms."""
    return pb.AppLifecycle(
        app_state=app.state,
        created_at=app.created_at,
        created_by="tester",
        deployed_at=app.deployed_at,
        deployed_by="tester" if app.deployed_at else "",
        version=len(app.history),
        stopped_at=app.stopped_at,
    )


def layout(state: State, app: App) -> pb.AppLayout:
    """The functions and classes of an app with what a container must know of them."""
    objects = []
    for function in state.functions.values():
        if function.app == app.id:
            objects.append(pb.Object(object_id=function.id, function_handle_metadata=function.metadata))
    for class_id, (app_id, _) in state.classes.items():
        if app_id == app.id:
            objects.append(pb.Object(object_id=class_id, class_handle_metadata=pb.ClassHandleMetadata()))
    functions = {
        one.definition.function_name: one.id for one in state.functions.values() if one.app == app.id and not one.base
    }
    return pb.AppLayout(objects=objects, function_ids=app.functions or functions, class_ids=app.classes)
