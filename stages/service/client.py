"""A client of an OpenAI-compatible service, on the standard library alone: one connection a request, streaming or whole."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from pipeline import CorpusmillError


class ServiceError(CorpusmillError):
    """The service cannot be reached, or refused; the message is its own."""


class Client:
    """Talks to the service at `url` (with or without ``/v1``). Raises ServiceError."""

    def __init__(self, url: str, timeout: float = 120) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ServiceError(f"{url} is not the address of a service", mend="give one like http://127.0.0.1:8000")
        self._parts, self._timeout = parts, timeout
        self._base = parts.path.rstrip("/").removesuffix("/v1")

    def models(self) -> list[str]:
        """The names of the models that the service has."""
        with self._send("GET", "/v1/models", None) as response:
            return [model["id"] for model in json.loads(response.read())["data"]]

    def complete(self, messages: Sequence[dict[str, str]], **options: Any) -> dict[str, Any]:
        """The whole answer, as the service wrote it; `options` are fields of the request."""
        with self._send("POST", "/v1/chat/completions", {"messages": list(messages), **options}) as response:
            found: dict[str, Any] = json.loads(response.read())
            return found

    def stream(self, messages: Sequence[dict[str, str]], **options: Any) -> Iterator[str]:
        """The answer's text, piece by piece as it comes."""
        with self._send(
            "POST", "/v1/chat/completions", {"messages": list(messages), "stream": True, **options}
        ) as response:
            for line in response:
                data = line.decode().strip().removeprefix("data: ")
                if not data or data == "[DONE]":
                    continue
                event = json.loads(data)
                if "error" in event:
                    raise ServiceError(str(event["error"].get("message", event["error"])))
                yield from (
                    choice["delta"]["content"] for choice in event["choices"] if choice.get("delta", {}).get("content")
                )

    @contextmanager
    def _send(self, method: str, path: str, body: dict[str, Any] | None) -> Iterator[http.client.HTTPResponse]:
        secure = self._parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(str(self._parts.hostname), self._parts.port, timeout=self._timeout)
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, self._base + path, data, {"content-type": "application/json"})
            response = connection.getresponse()
            if response.status >= 400:
                raise ServiceError(_message(response))
            yield response
        except (OSError, http.client.HTTPException, ValueError) as fault:
            address = f"{self._parts.scheme}://{self._parts.netloc}"
            raise ServiceError(f"no answer from {address}: {fault}", mend="start it with: corpusmill serve") from None
        finally:
            connection.close()


def _message(response: http.client.HTTPResponse) -> str:
    text = response.read().decode(errors="replace")
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"the service answered {response.status} {response.reason}, and not as an OpenAI-compatible one would"
