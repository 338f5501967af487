"""A small Modal of our own on loopback: the unmodified client, CLI and container runtime talk to it, and it spends nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import modal
from grpclib import Status

from tests.modal_servicer.rpc import Call, Fault, Hold
from tests.modal_servicer.state import Container, Unmodelled
from tests.modal_servicer.workspace import Workspace

T = TypeVar("T")


class Service:
    """What a test holds: how to reach it, what it saw, and the faults it can be asked for."""

    def __init__(self, workspace: Workspace, loop: asyncio.AbstractEventLoop) -> None:
        self._workspace, self._loop = workspace, loop
        self.state = workspace.state
        self.calls = workspace.state.calls
        self.containers = workspace.state.containers
        self.volumes = workspace.volumes
        self.objects = workspace.objects

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs to reach it."""
        token_id, token_secret = self.state.token
        return {
            "MODAL_SERVER_URL": f"http://127.0.0.1:{self._workspace.port}",
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
        """This process's own Modal client talks to the servicer; raises at the end what it asked that is not modelled."""
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
        self.check()

    def check(self) -> None:
        """Raise what was asked since the last check and is not modelled, so that it fails the test that asked."""
        missing = list(dict.fromkeys(self.state.unmodelled))
        self.state.unmodelled.clear()
        if missing:
            raise Unmodelled("; ".join(missing))

    @property
    def running(self) -> list[Container]:
        """The containers that cost money at this moment."""
        return [one for one in list(self.containers.values()) if one.running]

    def started(self, function: str = "") -> list[Container]:
        """Every container that was started, in order; those of one function if it is named."""
        every = list(self.containers.values())  # in one step: the servicer's thread adds to it
        return [one for one in every if function in ("", one.function.definition.function_name)]

    def asked(self, rpc: str) -> list[Any]:
        """The requests of one RPC, in order."""
        return [call.request for call in self.calls if call.name == rpc]

    def preempt(self, function: str = "", graceful: bool = False) -> int:
        """Take the machine from the containers (of a function) that work, at once or with Modal's interrupt; answers how many."""
        end = self._workspace.containers.interrupt if graceful else self._workspace.containers.kill

        async def take() -> int:
            taken = [one for one in self.started(function) if one.running and not one.stopping and one.works]
            for one in taken:
                end(one, "preempted")
            return len(taken)

        return self.do(take())

    def preempt_after(self, *, seconds: float | None = None, commits: int | None = None) -> None:
        """Preempt the next input so long after it began, or the container that makes so many commits from now on the last."""
        if seconds is not None:
            self._workspace.after_seconds.append(seconds)
        if commits is not None:
            self._workspace.after_commits.append(commits)

    def fail(self, rpc: str, status: Status = Status.UNAVAILABLE, times: int = 1) -> None:
        """Let the next calls of an RPC fail."""
        self.state.faults.append(Fault(rpc, times, status))

    def slow(self, rpc: str, seconds: float, times: int = 1) -> None:
        """Let the next calls of an RPC take longer."""
        self.state.faults.append(Fault(rpc, times, None, seconds))

    @contextmanager
    def held(self, rpc: str, where: Callable[[Call], bool]) -> Iterator[list[Call]]:
        """Let calls of an RPC that `where` names wait meanwhile, and show them; whoever is gone by then is never answered."""
        hold = Hold(rpc, where)
        self.state.holds.append(hold)
        try:
            yield hold.calls
        finally:
            self.state.holds.remove(hold)
            self._loop.call_soon_threadsafe(hold.over.set)

    def lose_client(self) -> None:
        """Every client has been silent for too long: apps that live for one end, detached ones go on."""

        async def lost() -> None:
            for app in list(self.state.apps.values()):
                await self._workspace.apps.disconnected(app)

        self.do(lost())

    def settings(self, **values: Any) -> None:
        """`reload_after_commit=True`, `background_commits=s`, `heartbeat_timeout=s`, `rates={…}`, `costs=[…]`."""
        self.state.settings.update(values)

    def wait(self, look: Callable[[], T], seconds: float = 120.0) -> T:
        """The first true value of `look`; it is asked at each change."""
        seen = self.do(self.state.pulse.until(look, seconds), seconds + 60)
        assert seen, f"not within {seconds} s: {self.told()}"
        return seen  # type: ignore[no-any-return]

    def told(self) -> str:
        """Where everything stands, for whoever reads a failure."""
        inputs = [
            f"{one.call.function.definition.function_name}: {one.status}" for one in list(self.state.inputs.values())
        ]
        containers = [
            f"{one.function.definition.function_name}: {one.seconds:.1f} s, {one.stopping or one.exit_code}, {one.served}"
            for one in list(self.containers.values())
        ]
        calls = [f"{call.name} {call.status} {time.time() - call.at:.1f} s ago" for call in self.calls[-8:]]
        return "; ".join((str(inputs), str(containers), str(calls), str(self.state.unmodelled), self.logs()[-2000:]))

    def logs(self) -> str:
        """All that containers wrote."""
        return "".join(line.text for app in list(self.state.apps.values()) for line in app.lines)

    def do(self, work: Coroutine[Any, Any, T], seconds: float = 120.0) -> T:
        """Run something on the servicer's own thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)


@contextmanager
def servicer() -> Iterator[Service]:
    """A workspace of Modal's, empty; at its end everything is gone, and what was asked but not modelled is raised."""
    home = Path(tempfile.mkdtemp(prefix="modal-"))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="modal-servicer", daemon=True)
    thread.start()
    served = asyncio.run_coroutine_threadsafe(_made(home), loop).result(120)
    service = Service(served, loop)
    try:
        yield service
    finally:
        asyncio.run_coroutine_threadsafe(served.close(), loop).result(120)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        shutil.rmtree(home, ignore_errors=True)
    service.check()


async def _made(home: Path) -> Workspace:
    served = Workspace(home)
    await served.open()
    return served


__all__ = ["Service", "Status", "Unmodelled", "servicer"]
