"""What the servicer knows: plain records of apps, functions, calls, inputs, containers; one pulse tells of each change."""

from __future__ import annotations

import asyncio
import secrets
import string
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

if TYPE_CHECKING:
    from tests.modal_servicer.rpc import Call, Fault, Hold

ALPHABET = string.ascii_letters + string.digits


class Unmodelled(Exception):
    """The client did what this servicer does not model, so that no test may rest on it."""


def new_id(prefix: str) -> str:
    """An id as Modal makes them: two letters, a dash, 22 letters and digits."""
    return f"{prefix}-{''.join(secrets.choice(ALPHABET) for _ in range(22))}"


def not_found(what: str) -> GRPCError:
    """The refusal of what does not exist."""
    return GRPCError(Status.NOT_FOUND, f"{what} not found")


@dataclass
class Line:
    """A piece of output of a container, as the log stream gives it."""

    text: str
    descriptor: int
    container: str
    function: str
    call: str
    input: str
    at: float = field(default_factory=time.time)


@dataclass
class App:
    """An app: ephemeral for the time of a client, detached, or deployed under a name."""

    id: str
    description: str
    environment: str
    state: int
    name: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    functions: dict[str, str] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)
    created_at: float = field(default_factory=time.time)
    deployed_at: float = 0.0
    stopped_at: float = 0.0
    heartbeat_at: float = field(default_factory=time.time)
    history: list[pb.AppDeploymentHistory] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)

    @property
    def stopped(self) -> bool:
        """True from the moment on when nothing of it may run."""
        return self.state in (pb.APP_STATE_STOPPED, pb.APP_STATE_STOPPING)


@dataclass
class Function:
    """A function of an app, or a variant of one with other options (`base` names the one it was made from)."""

    id: str
    app: str
    definition: pb.Function
    metadata: pb.FunctionHandleMetadata
    base: str = ""
    parameters: bytes = b""
    ranked: list[pb.Function] = field(default_factory=list)

    @property
    def gpu(self) -> str:
        """What it asks for, as Modal writes it: `H100:2`, or nothing."""
        config = self.definition.resources.gpu_config
        return f"{config.gpu_type}:{config.count}" if config.count else ""


@dataclass
class Input:
    """An input of a call and where it stands; `result` is its last output."""

    id: str
    idx: int
    payload: pb.FunctionInput
    call: FunctionCall
    status: str = "queued"  # queued | waiting (for its retry) | running | done
    retry_count: int = 0
    attempts: int = 0
    container: Container | None = None
    result: pb.FunctionGetOutputsItem | None = None
    timer: asyncio.TimerHandle | None = None


@dataclass
class FunctionCall:
    """A call of a function: one input, or those of a map; `entries` are its outputs in the order they came."""

    id: str
    function: Function
    kind: int
    invocation: int
    inputs: dict[int, Input] = field(default_factory=dict)
    entries: list[pb.FunctionGetOutputsItem] = field(default_factory=list)
    data_in: list[pb.DataChunk] = field(default_factory=list)
    data_out: list[pb.DataChunk] = field(default_factory=list)
    cancelled: bool = False
    created_at: float = field(default_factory=time.time)


@dataclass
class Container:
    """A process with its own root, which costs money from its start to its end."""

    id: str
    function: Function
    root: Path
    argv: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    process: asyncio.subprocess.Process | None = None
    inputs: dict[str, Input] = field(default_factory=dict)
    recent: Input | None = None
    served: int = 0
    greeted: bool = False
    cancel: list[str] = field(default_factory=list)
    stopping: str = ""  # why it is being ended from outside: preempted, stopped, cancelled, timeout
    killed: bool = False  # from then on it is asked nothing and told nothing, however long its process takes to die
    failure: pb.GenericResult | None = None
    created_at: float = field(default_factory=time.time)
    ended_at: float = 0.0
    exit_code: int | None = None
    close: Callable[[], Any] | None = None

    @property
    def running(self) -> bool:
        """True while it is paid for."""
        return not self.ended_at

    @property
    def works(self) -> bool:
        """True while it has an input in hand."""
        return any(one.status == "running" and one.container is self for one in self.inputs.values())

    @property
    def seconds(self) -> float:
        """For how long it has been paid."""
        return (self.ended_at or time.time()) - self.created_at


class Pulse:
    """Told of every change; whoever waits for something looks again at each beat."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def beat(self) -> None:
        """Wake all who wait."""
        self._event.set()
        self._event = asyncio.Event()

    async def until(self, look: Callable[[], Any], timeout: float | None = None) -> Any:
        """The first true value of `look`, or its last one when the time is up."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not (seen := look()):
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return seen
            event = self._event
            try:
                await asyncio.wait_for(event.wait(), left)
            except TimeoutError:
                continue
        return seen


@dataclass
class State:
    """Everything of one workspace; a new one per test."""

    home: Path
    token: tuple[str, str]
    proxy_token: tuple[str, str]  # what a web function that asks for proxy authorization lets in
    url: str = ""
    pulse: Pulse = field(default_factory=Pulse)
    apps: dict[str, App] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    classes: dict[str, tuple[str, str]] = field(default_factory=dict)  # id → app, tag
    function_calls: dict[str, FunctionCall] = field(default_factory=dict)
    inputs: dict[str, Input] = field(default_factory=dict)
    containers: dict[str, Container] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    unmodelled: list[str] = field(default_factory=list)
    environments: dict[str, str] = field(default_factory=lambda: {"main": new_id("en")})
    settings: dict[str, Any] = field(default_factory=dict)
    moved: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Bytes of the files on volumes that travelled, by who (client, container) did what with them (sent, fetched)."""

    def environment(self, name: str) -> str:
        """The environment's name, `main` for none given; one that does not exist is refused."""
        name = name or "main"
        if name not in self.environments:
            raise not_found(f"Environment '{name}'")
        return name

    def app(self, app_id: str) -> App:
        """The app of that id."""
        if app_id not in self.apps:
            raise not_found(f"App {app_id}")
        return self.apps[app_id]

    def function(self, function_id: str) -> Function:
        """The function of that id."""
        if function_id not in self.functions:
            raise not_found(f"Function {function_id}")
        return self.functions[function_id]

    def call(self, call_id: str) -> FunctionCall:
        """The function call of that id."""
        if call_id not in self.function_calls:
            raise not_found(f"FunctionCall {call_id}")
        return self.function_calls[call_id]

    def named_app(self, name: str, environment: str) -> App | None:
        """The app that is deployed under a name in an environment."""
        where = self.environment(environment)
        for app in self.apps.values():
            if app.name == name and app.environment == where and app.state == pb.APP_STATE_DEPLOYED:
                return app
        return None
