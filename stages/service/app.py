"""The OpenAI-compatible service as an ASGI app over one engine: models, chat completions (streaming too) and health.

It bounds what it takes: bytes of a body, new tokens of an answer, answers at once, and requests that wait for them.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from stages.service import wire
from stages.service.engine import Ask, AskRefused, Engine, Reply

COALESCE = 0.025
"""Seconds between two events of a stream: one event a token costs more than the token (about 1 ms of CPU each)."""


class ChatService:
    """The handlers of one engine; `waiting` is how many requests may queue behind the `engine.parallel` that run."""

    def __init__(
        self, engine: Engine, name: str, *, max_tokens: int = 512, default_tokens: int = 128, waiting: int = 32
    ) -> None:
        self.engine, self.name = engine, name
        self._max_tokens, self._default_tokens = max_tokens, default_tokens
        self._room = engine.parallel + waiting
        self._taken = 0
        self._threads = ThreadPoolExecutor(engine.parallel, thread_name_prefix="engine")

    async def health(self, _: Request) -> Response:
        """GET /health: answers once the model is loaded."""
        return JSONResponse({"status": "ok"})

    async def models(self, _: Request) -> Response:
        """GET /v1/models: the one model that this service has."""
        model = {
            "id": self.name,
            "object": "model",
            "created": 0,
            "owned_by": "corpusmill",
            "context_length": self.engine.context,
        }
        return JSONResponse({"object": "list", "data": [model]})

    async def chat(self, request: Request) -> Response:
        """POST /v1/chat/completions."""
        try:
            asked = wire.read_request(await _body(request))
        except ValueError as fault:
            return _refuse(400, str(fault), "invalid_request")
        if asked.model not in ("", self.name):
            return _refuse(404, f"there is no model {asked.model!r} here, only {self.name!r}", "model_not_found")
        if self._taken >= self._room:
            return _refuse(429, "the service is busy; try again in a moment", "rate_limit_exceeded", "rate_limit_error")
        self._taken += 1
        live = _Live(self.engine, asked.ask(self._max_tokens, self._default_tokens), self._threads, self._leave)
        try:
            if not asked.stream:
                return self._whole(await live.reply())
            await live.started()
        except AskRefused as fault:
            return _refuse(400, str(fault), fault.code)
        except asyncio.CancelledError:
            live.stop()
            raise
        counted = asked.stream_options is not None and asked.stream_options.include_usage
        return StreamingResponse(
            self._events(live, counted), media_type="text/event-stream", headers={"cache-control": "no-cache"}
        )

    def _leave(self) -> None:
        self._taken -= 1

    def _whole(self, reply: Reply) -> Response:
        count = wire.usage(reply.prompt_tokens, reply.completion_tokens)
        return JSONResponse(wire.completion(_ident(), int(time.time()), self.name, reply.text, reply.finish, count))

    async def _events(self, live: _Live, counted: bool) -> AsyncIterator[bytes]:
        chunk = partial(wire.chunk, _ident(), int(time.time()), self.name)
        try:
            yield chunk({"role": "assistant", "content": ""})
            async for text in live.texts():
                yield chunk({"content": text})
            reply = await live.reply()
            yield chunk({}, reply.finish)
            if counted:
                yield chunk(None, usage=wire.usage(reply.prompt_tokens, reply.completion_tokens))
            yield b"data: [DONE]\n\n"
        except AskRefused as fault:
            yield wire.event(wire.error(str(fault), fault.code))
        finally:
            live.stop()

    def close(self) -> None:
        """Stop the threads, then the engine."""
        self._threads.shutdown(wait=True)
        self.engine.close()


class _Live:
    """One answer in the making: the engine's thread adds text, the event loop takes it in gulps."""

    def __init__(self, engine: Engine, ask: Ask, threads: ThreadPoolExecutor, leave: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._lock = threading.Lock()
        self._pieces: list[str] = []
        self._stopped = False
        self._done = self._loop.run_in_executor(threads, engine.answer, ask, self._hear)
        self._leave = leave
        self._done.add_done_callback(self._end)

    def _end(self, done: asyncio.Future[Reply]) -> None:
        self._leave()
        self._wake.set()
        if not done.cancelled():
            done.exception()  # asked for, so that nothing complains where nobody waits for it any more

    def _hear(self, text: str) -> bool:
        with self._lock:
            self._pieces.append(text)
            first = len(self._pieces) == 1
        if first and not self._stopped:
            self._loop.call_soon_threadsafe(self._wake.set)
        return self._stopped

    def _take(self) -> str:
        with self._lock:
            text = "".join(self._pieces)
            self._pieces.clear()
        return text

    def stop(self) -> None:
        """Let the engine end this answer at its next token, or never begin it."""
        self._stopped = True
        self._done.cancel()

    async def started(self) -> None:
        """Wait for the first text. Raises AskRefused where the engine refused before that."""
        await self._wake.wait()
        if self._done.done():
            self._done.result()

    async def reply(self) -> Reply:
        """The whole answer, when it is there."""
        return await self._done

    async def texts(self) -> AsyncIterator[str]:
        """The text as it comes, at most one piece each COALESCE seconds."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if text := self._take():
                yield text
            if self._done.done():
                if text := self._take():
                    yield text
                return
            await asyncio.wait({self._done}, timeout=COALESCE)


async def _body(request: Request) -> bytes:
    found = b""
    async for part in request.stream():
        found += part
        if len(found) > wire.MAX_BODY:
            raise HTTPException(413, f"the body is larger than {wire.MAX_BODY} bytes")
    return found


def _ident() -> str:
    return f"chatcmpl-{uuid.uuid4().hex}"


def _refuse(status: int, message: str, code: str, kind: str = "invalid_request_error") -> Response:
    headers = {"retry-after": "1"} if status == 429 else None
    return JSONResponse(wire.error(message, code, kind), status_code=status, headers=headers)


async def _http_fault(request: Request, fault: Exception) -> Response:
    assert isinstance(fault, HTTPException)
    names = {404: "not_found", 405: "method_not_allowed", 413: "request_too_large"}
    message = f"{request.method} {request.url.path}: {fault.detail}"
    return _refuse(fault.status_code, message, names.get(fault.status_code, "invalid_request"))


async def _client_left(_: Request, __: Exception) -> Response:
    return Response(status_code=499)


async def _fault(_: Request, fault: Exception) -> Response:
    return JSONResponse(
        wire.error(f"the service failed: {type(fault).__name__}", "internal_error", "server_error"), status_code=500
    )


def create_app(
    engine: Engine, name: str, *, max_tokens: int = 512, default_tokens: int = 128, waiting: int = 32
) -> Starlette:
    """The ASGI app that answers with `engine` under the model name `name`; its shutdown closes the engine."""
    service = ChatService(engine, name, max_tokens=max_tokens, default_tokens=default_tokens, waiting=waiting)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.close)

    handlers: dict[int | type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
        HTTPException: _http_fault,
        ClientDisconnect: _client_left,
        Exception: _fault,
    }
    routes = [
        Route("/health", service.health),
        Route("/v1/models", service.models),
        Route("/v1/chat/completions", service.chat, methods=["POST"]),
    ]
    return Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan)
