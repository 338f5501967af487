"""A small Modal of our own on loopback: the unmodified client, CLI and container runtime talk to it, and it spends nothing."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import modal
from aiohttp import web
from grpclib import GRPCError, Status
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
from tests.modal_servicer.rpc import Fault, Wire, handlers
from tests.modal_servicer.state import App, Container, Input, State, Unmodelled
from tests.modal_servicer.volumes import Volumes
from tests.modal_servicer.web import Web
from tests.modal_servicer.worker import Worker

T = TypeVar("T")


class Modal:
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
        self._scheduler = asyncio.get_running_loop().create_task(self.containers.schedule(self.end))

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


class Service:
    """What a test holds: how to reach it, what it saw, and the faults it can be asked for."""

    def __init__(self, modal_: Modal, loop: asyncio.AbstractEventLoop) -> None:
        self._modal, self._loop = modal_, loop
        self.state = modal_.state
        self.calls = modal_.state.calls
        self.containers = modal_.state.containers
        self.volumes = modal_.volumes
        self.objects = modal_.objects

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs to reach it."""
        token_id, token_secret = self.state.token
        return {
            "MODAL_SERVER_URL": f"http://127.0.0.1:{self._modal.port}",
            "MODAL_TOKEN_ID": token_id,
            "MODAL_TOKEN_SECRET": token_secret,
            "MODAL_CONFIG_PATH": str(self.state.home / "modal.toml"),
        }

    @property
    def proxy_headers(self) -> dict[str, str]:
        """What a web function with `requires_proxy_auth` wants to see."""
        return dict(zip(("Modal-Key", "Modal-Secret"), self.state.proxy_token, strict=True))

    @contextmanager
    def connected(self) -> Iterator[None]:
        """This process's own Modal client talks to the servicer."""
        names = [name for name in os.environ if name.startswith("MODAL_")]
        before = {name: os.environ.pop(name) for name in names}
        os.environ.update(self.environment)
        modal.Client._set_env_client(None)
        try:
            yield
        finally:
            client = modal.Client.from_env()
            client.close()
            modal.Client._set_env_client(None)
            for name in self.environment:
                del os.environ[name]
            os.environ.update(before)

    @property
    def running(self) -> list[Container]:
        """The containers that cost money at this moment."""
        return [one for one in self.containers.values() if one.running]

    def started(self, function: str = "") -> list[Container]:
        """Every container that was started, in order; those of one function if it is named."""
        every = self.containers.values()
        return [one for one in every if function in ("", one.function.definition.function_name)]

    def asked(self, rpc: str) -> list[Any]:
        """The requests of one RPC, in order."""
        return [call.request for call in self.calls if call.name == rpc]

    def preempt(self, function: str = "", graceful: bool = False) -> int:
        """Take the machine from the running containers (of a function), at once or with Modal's interrupt; answers how many."""
        end = self._modal.containers.interrupt if graceful else self._modal.containers.kill

        async def take() -> int:
            taken = [one for one in self.started(function) if one.running and one.inputs]
            for one in taken:
                end(one, "preempted")
            return len(taken)

        return self.do(take())

    def preempt_after(self, *, seconds: float | None = None, commits: int | None = None) -> None:
        """Preempt the next input so long after it began, or the container that makes so many commits from now on the last."""
        if seconds is not None:
            self._modal.after_seconds.append(seconds)
        if commits is not None:
            self._modal.after_commits.append(commits)

    def fail(self, rpc: str, status: Status = Status.UNAVAILABLE, times: int = 1) -> None:
        """Let the next calls of an RPC fail."""
        self.state.faults.append(Fault(rpc, times, status))

    def slow(self, rpc: str, seconds: float, times: int = 1) -> None:
        """Let the next calls of an RPC take longer."""
        self.state.faults.append(Fault(rpc, times, None, seconds))

    def lose_client(self) -> None:
        """Every client has been silent for too long: apps that live for one end, detached ones go on."""

        async def lost() -> None:
            for app in list(self.state.apps.values()):
                await self._modal.apps.disconnected(app)

        self.do(lost())

    def settings(self, **values: Any) -> None:
        """`reload_after_commit=True`, `rates={…}`, `costs=[…]`."""
        self.state.settings.update(values)

    def wait(self, look: Callable[[], T], seconds: float = 60.0) -> T:
        """The first true value of `look`; it is asked at each change."""
        seen = self.do(self.state.pulse.until(look, seconds))
        assert seen, f"not within {seconds} s: {self.told()}"
        return seen  # type: ignore[no-any-return]

    def told(self) -> str:
        """Where everything stands, for whoever reads a failure."""
        inputs = [f"{one.call.function.definition.function_name}: {one.status}" for one in self.state.inputs.values()]
        containers = [
            f"{one.function.definition.function_name}: {one.seconds:.1f} s, {one.stopping or one.exit_code}, {one.served}"
            for one in self.containers.values()
        ]
        calls = [f"{call.name} {call.status} {time.time() - call.at:.1f} s ago" for call in self.calls[-8:]]
        return "; ".join((str(inputs), str(containers), str(calls), str(self.state.unmodelled), self.logs()[-2000:]))

    def logs(self) -> str:
        """All that containers wrote."""
        return "".join(line.text for app in self.state.apps.values() for line in app.lines)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something on the servicer's own thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(120)


@contextmanager
def servicer() -> Iterator[Service]:
    """A workspace of Modal's, empty; at its end everything is gone, and what was asked but not modelled is raised."""
    home = Path(tempfile.mkdtemp(prefix="modal-"))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="modal-servicer", daemon=True)
    thread.start()
    served = asyncio.run_coroutine_threadsafe(_made(home), loop).result(30)
    try:
        yield Service(served, loop)
    finally:
        asyncio.run_coroutine_threadsafe(served.close(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        shutil.rmtree(home, ignore_errors=True)
    if served.state.unmodelled:
        raise Unmodelled("; ".join(dict.fromkeys(served.state.unmodelled)))


async def _made(home: Path) -> Modal:
    served = Modal(home)
    await served.open()
    return served


__all__ = ["GRPCError", "Service", "Status", "Unmodelled", "servicer"]
