"""One workspace of Modal's with all that serves it, on the loop of the servicer's thread."""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from pathlib import Path

from aiohttp import web
from grpclib.server import Server
from modal_proto import api_pb2 as pb

from tests.modal_servicer.apps import Apps, running
from tests.modal_servicer.calls import TERMINATED
from tests.modal_servicer.containers import Containers
from tests.modal_servicer.files import Files
from tests.modal_servicer.functions import Functions
from tests.modal_servicer.logs import Logs
from tests.modal_servicer.money import Money
from tests.modal_servicer.objects import Objects
from tests.modal_servicer.rpc import Wire, handlers
from tests.modal_servicer.state import App, Container, Input, State
from tests.modal_servicer.volumes import Volumes
from tests.modal_servicer.web import Web
from tests.modal_servicer.worker import Worker


class Workspace:
    """One workspace and all that serves it; lives on the loop of the servicer's thread."""

    def __init__(self, home: Path) -> None:
        first, second, third, fourth = (f"{kind}-{secrets.token_hex(11)}" for kind in ("ak", "as", "wk", "ws"))
        self.state = state = State(home, (first, second), (third, fourth))
        self.files = Files(state)
        self.objects = Objects(state, self.files)
        self.volumes = Volumes(state, self.files, self._committed)
        self.containers = Containers(state, self.files, self.objects, self.volumes, self._listen)
        self.web = Web(state)
        self.apps = Apps(state, self.end)
        functions = Functions(state, self._refers, self.web.publish)
        worker = Worker(state, self.containers, self._started)
        rooms = (self.files, self.objects, self.volumes, self.containers.calls, self.apps, functions, worker)
        self.handlers = handlers(*rooms, Logs(state), Money(state))
        self.after_commits: list[int] = []
        self.after_seconds: list[float] = []
        self.port = 0
        self._servers: list[Server] = []
        self._http: web.AppRunner | None = None
        self._scheduler: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Listen for clients and for the transfers of bytes."""
        application = web.Application(client_max_size=1 << 34)
        application.add_routes(self.files.routes())
        self._http = web.AppRunner(application, handle_signals=False)
        await self._http.setup()
        await web.TCPSite(self._http, "127.0.0.1", 0).start()
        self.state.url = f"http://127.0.0.1:{self._http.addresses[0][1]}"
        listening = socket.create_server(("127.0.0.1", 0))
        self.port = listening.getsockname()[1]
        server = Server([Wire(self.state, self.handlers, None)])
        await server.start(sock=listening)
        self._servers.append(server)
        self._scheduler = asyncio.get_running_loop().create_task(self.containers.schedule(self.apps))

    async def close(self) -> None:
        """End all containers, then stop listening."""
        assert self._scheduler is not None and self._http is not None
        self._scheduler.cancel()
        await asyncio.gather(self._scheduler, return_exceptions=True)
        await self.containers.close()
        await self.web.close()
        for server in self._servers:
            server.close()
        await self._http.cleanup()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _listen(self, container: Container) -> None:
        """A socket of its own for a container, so that it is known by it and can be no other."""
        server = Server([Wire(self.state, self.handlers, container)])
        await server.start(path=str(container.root / "run" / "modal.sock"))
        container.close = server.close

    async def end(self, app: App) -> None:
        """Stop an app: what waits is cancelled, what runs is killed."""
        if app.stopped:
            return
        app.state = pb.APP_STATE_STOPPED
        app.stopped_at = time.time()
        for one in self.state.inputs.values():
            if one.call.function.app == app.id:
                one.call.cancelled = True
                if one.status in ("queued", "waiting"):
                    self.containers.calls.finish(
                        one, pb.GenericResult(status=TERMINATED, exception="the app was stopped")
                    )
        for container in running(self.state, app):
            self.containers.kill(container, "stopped")
        self.state.pulse.beat()

    def _refers(self, definition: pb.Function) -> None:
        """All that a function names must exist."""
        for mount in definition.mount_ids:
            self.files.mount(mount)
        for secret in definition.secret_ids:
            self.objects.secret(secret)
        for one in definition.volume_mounts:
            self.volumes.volume(one.volume_id)
        if definition.image_id:
            self.objects.image(definition.image_id)

    def _committed(self, container: Container) -> None:
        self.after_commits = [left - 1 for left in self.after_commits]
        if 0 in self.after_commits:
            self.after_commits.remove(0)
            self.containers.kill(container, "preempted")

    def _started(self, container: Container, _one: Input) -> None:
        if self.after_seconds:
            seconds = self.after_seconds.pop(0)
            asyncio.get_running_loop().call_later(seconds, self.containers.kill, container, "preempted")
