"""Web functions: each has a URL on loopback; a request becomes an input whose ASGI messages the container's runtime answers."""

from __future__ import annotations

from aiohttp import web
from modal._serialization import deserialize_data_format, serialize_data_format
from modal_proto import api_pb2 as pb

from tests.modal_servicer.state import Function, FunctionCall, Input, State, Unmodelled, new_id

ASGI = pb.DATA_FORMAT_ASGI
START = 150.0  # seconds that Modal lets a request wait before it redirects the client, which is not modelled


class Web:
    """The proxy in front of web functions; none is up until a request comes, and it ends after its scaledown window."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._runners: dict[str, tuple[web.AppRunner, str]] = {}

    async def publish(self, function: Function) -> str:
        """The URL of a web function, the same after each deploy."""
        kind = function.definition.webhook_config.type
        if kind not in (pb.WEBHOOK_TYPE_ASGI_APP, pb.WEBHOOK_TYPE_FUNCTION, pb.WEBHOOK_TYPE_WSGI_APP):
            raise Unmodelled(f"FunctionCreate: a web function of type {kind}")
        if function.id not in self._runners:

            async def answer(request: web.Request) -> web.StreamResponse:
                return await self._answer(function, request)

            app = web.Application(client_max_size=1 << 30)
            app.router.add_route("*", "/{path:.*}", answer)
            runner = web.AppRunner(app, handle_signals=False)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self._runners[function.id] = (runner, f"http://127.0.0.1:{runner.addresses[0][1]}")
        return self._runners[function.id][1]

    async def close(self) -> None:
        """Take all URLs down."""
        for runner, _ in self._runners.values():
            await runner.cleanup()

    async def _answer(self, function: Function, request: web.Request) -> web.StreamResponse:
        if self.state.app(function.app).stopped:
            return web.Response(status=404, text="modal-http: app for invoked web endpoint is stopped")
        given_token = (request.headers.get("Modal-Key"), request.headers.get("Modal-Secret"))
        if function.definition.webhook_config.requires_proxy_auth and given_token != self.state.proxy_token:
            return web.Response(status=401, text="modal-http: missing or wrong credentials for proxy authorization")
        call = self._call(function, request)
        body = await request.read()
        message = {"type": "http.request", "body": body, "more_body": False}
        call.data_in.append(chunk(message, 1))
        self.state.pulse.beat()
        response: web.StreamResponse | None = None
        given = 0
        one = call.inputs[0]
        while True:
            here = given
            await self.state.pulse.until(lambda: len(call.data_out) > here or one.status == "done", START)  # noqa: B023
            while given < len(call.data_out):
                said = deserialize_data_format(call.data_out[given].data, ASGI, None)
                given += 1
                if said["type"] == "http.response.start":
                    response = web.StreamResponse(status=said["status"])
                    for name, value in said.get("headers", []):
                        if name.lower() not in (b"transfer-encoding", b"connection"):
                            response.headers.add(name.decode(), value.decode())
                    await response.prepare(request)
                elif said["type"] == "http.response.body" and response is not None:
                    await response.write(said.get("body", b""))
                    if not said.get("more_body", False):
                        await response.write_eof()
                        return response
            if one.status == "done":
                why = one.result.result.exception if one.result is not None else ""
                return response or web.Response(status=500, text=f"modal-http: internal error: {why}")

    def _call(self, function: Function, request: web.Request) -> FunctionCall:
        scope = {
            "type": "http",
            "method": request.method,
            "path": request.path,
            "http_version": "1.1",
            "scheme": "http",
            "query_string": request.query_string.encode(),
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in request.raw_headers],
            "server": (request.url.host, request.url.port),
            "client": (request.remote, 0),
            "extensions": {},
        }
        call = FunctionCall(
            new_id("fc"), function, pb.FUNCTION_CALL_TYPE_UNARY, pb.FUNCTION_CALL_INVOCATION_TYPE_SYNC_LEGACY
        )
        pickled = serialize_data_format(((scope,), {}), pb.DATA_FORMAT_PICKLE)
        payload = pb.FunctionInput(args=pickled, data_format=pb.DATA_FORMAT_PICKLE)
        one = Input(new_id("in"), 0, payload, call)
        call.inputs[0] = self.state.inputs[one.id] = one
        self.state.function_calls[call.id] = call
        return call


def chunk(message: dict[str, object], index: int) -> pb.DataChunk:
    """An ASGI message on its way to the container."""
    return pb.DataChunk(data_format=ASGI, data=serialize_data_format(message, ASGI), index=index)
