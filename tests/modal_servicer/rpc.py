"""The wire: every RPC of Modal's API reaches its handler here, or is refused and remembered as not modelled."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message
from grpclib import GRPCError, Status
from grpclib.const import Cardinality, Handler
from grpclib.exceptions import StreamTerminatedError
from grpclib.server import Stream
from h2.exceptions import StreamClosedError
from modal_proto.api_grpc import ModalClientBase

from tests.modal_servicer.fields import unmodelled
from tests.modal_servicer.state import Container, State, Unmodelled

PREFIX = "/modal.client.ModalClient/"
# What a client of Modal's own sends with every call; a wrong secret is refused as Modal refuses it.
TOKEN_ID, TOKEN_SECRET = "x-modal-token-id", "x-modal-token-secret"


@dataclass
class Call:
    """One RPC as it came: who asked (None: a client over TCP), what, when, and how it ended."""

    name: str
    request: Message
    container: Container | None
    at: float = field(default_factory=time.time)
    status: str = "OK"


@dataclass
class Fault:
    """What a test asked for: the next `times` calls of an RPC are delayed, and fail when a status is given."""

    rpc: str
    times: int
    status: Status | None = None
    seconds: float = 0.0


@dataclass
class Hold:
    """What a test asked for: the calls of an RPC that `where` names wait until it is `over`; those that do are `calls`."""

    rpc: str
    where: Callable[[Call], bool]
    calls: list[Call] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)


def methods() -> dict[str, Handler]:
    """Every RPC of the pinned API with its message types, from the generated base class."""
    stubs: dict[str, object] = {name: lambda self, stream: None for name in ModalClientBase.__abstractmethods__}
    mapping: dict[str, Handler] = type("Stubs", (ModalClientBase,), stubs)().__mapping__()
    return {path.removeprefix(PREFIX): handler for path, handler in mapping.items()}


class Wire:
    """A grpclib service: checks who asks and every field set, records, injects faults, and calls the handler."""

    def __init__(self, state: State, handlers: dict[str, Callable[..., Any]], container: Container | None) -> None:
        self.state, self.handlers, self.container = state, handlers, container

    def __mapping__(self) -> dict[str, Handler]:
        return {
            PREFIX + name: Handler(self._served(name, one), one.cardinality, one.request_type, one.reply_type)
            for name, one in methods().items()
        }

    def _served(self, name: str, method: Handler) -> Callable[[Stream[Any, Any]], Any]:
        async def serve(stream: Stream[Any, Any]) -> None:
            request = await stream.recv_message()
            assert request is not None
            self._living()
            call = Call(name, request, self.container)
            self.state.calls.append(call)
            try:
                self._admit(stream)
                await self._fault(name)
                for hold in [one for one in self.state.holds if one.rpc == name and one.where(call)]:
                    hold.calls.append(call)
                    self.state.pulse.beat()
                    await hold.over.wait()
                await self._answer(name, method, request, stream)
            except GRPCError as error:
                call.status = error.status.name
                raise
            except Unmodelled as missing:
                call.status = "UNIMPLEMENTED"
                self.state.unmodelled.append(str(missing))
                raise GRPCError(Status.UNIMPLEMENTED, f"the servicer does not model {missing}") from None
            except (StreamTerminatedError, StreamClosedError):  # whoever asked did not wait for the answer
                call.status = "CANCELLED"
                raise
            except Exception as error:
                self.state.unmodelled.append(f"{name}: the servicer failed with {error!r}")
                raise

        return serve

    def _admit(self, stream: Stream[Any, Any]) -> None:
        """A container is known by the socket it was given; everyone else by the token."""
        metadata = stream.metadata
        assert metadata is not None
        if self.container is None and (metadata.get(TOKEN_ID), metadata.get(TOKEN_SECRET)) != self.state.token:
            raise GRPCError(Status.UNAUTHENTICATED, "Token ID or secret is wrong")

    def _living(self) -> None:
        """A container that was killed has lost its machine, though its process may go on for some milliseconds."""
        if self.container is not None and self.container.killed:
            raise GRPCError(Status.UNAVAILABLE, "the machine of this container is lost")

    async def _fault(self, name: str) -> None:
        for fault in [one for one in self.state.faults if one.rpc == name and one.times > 0]:
            fault.times -= 1
            await asyncio.sleep(fault.seconds)
            if fault.status is not None:
                raise GRPCError(fault.status, "a fault that the test asked for")

    async def _answer(self, name: str, method: Handler, request: Message, stream: Stream[Any, Any]) -> None:
        handler = self.handlers.get(name)
        if handler is None:
            raise Unmodelled(name)
        if missing := sorted(set(unmodelled(request))):
            raise Unmodelled(f"{name}: {', '.join(missing)}")
        self._living()  # it may have had to wait
        answer = handler(request, self.container)
        if method.cardinality is Cardinality.UNARY_UNARY:
            assert inspect.isawaitable(answer)
            reply = await answer
            self._living()
            await stream.send_message(reply)
            return
        assert isinstance(answer, AsyncIterator)
        async for message in answer:
            await stream.send_message(message)
        await stream.send_trailing_metadata()


def handlers(*rooms: object) -> dict[str, Callable[..., Any]]:
    """The handlers that the given objects offer: their methods that bear the name of an RPC."""
    names = methods()
    return {name: getattr(room, name) for room in rooms for name in dir(room) if name in names}
