"""A client of an OpenAI-compatible service, on the standard library alone: one connection a request, streaming or whole."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from pipeline import CorpusmillError
from stages.service.engine import AskRefused


class ServiceError(CorpusmillError):
    """The service cannot be reached, or refused; the message is its own."""


class Client:
    """Talks to the service at `url` (with or without ``/v1``).

    Raises ServiceError, and AskRefused for a conversation that the service does not take, with the service's code.
    """

    def __init__(self, url: str, timeout: float = 120) -> None:
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            host, port = parts.hostname, parts.port
        except ValueError:  # a port that is no port, or brackets that do not close
            host = None
        if not host or parts.scheme not in ("http", "https"):
            raise ServiceError(f"{url} is not the address of a service", mend="give one like http://127.0.0.1:8000")
        self._kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._host, self._port, self._timeout = host, port, timeout
        shown = f"[{host}]" if ":" in host else host
        self._address = f"{parts.scheme}://{shown}" + ("" if port is None else f":{port}")
        self._base = parts.path.rstrip("/").removesuffix("/v1")

    def models(self) -> list[str]:
        """The names of the models that the service has: one at least."""
        with self._send("GET", "/v1/models", None) as response:
            names = [str(model["id"]) for model in json.loads(response.read())["data"]]
        if not names:
            raise ServiceError(f"{self._address} has no model", mend="give a service one: corpusmill serve")
        return names

    def complete(self, messages: Sequence[dict[str, str]], **options: Any) -> dict[str, Any]:
        """The whole answer, as the service wrote it; `options` are fields of the request."""
        with self._send("POST", "/v1/chat/completions", {"messages": list(messages), **options}) as response:
            found: dict[str, Any] = json.loads(response.read())
            found["choices"][0]["message"]["content"]
            return found

    def stream(self, messages: Sequence[dict[str, str]], **options: Any) -> Iterator[str]:
        """The answer's text, piece by piece as it comes."""
        with self._send(
            "POST", "/v1/chat/completions", {"messages": list(messages), "stream": True, **options}
        ) as response:
            for line in response:
                data = line.decode().strip().removeprefix("data: ")
                if not data or data == "[DONE]" or data.startswith(":"):  # a colon begins a comment
                    continue
                event = json.loads(data)
                if "error" in event:
                    raise _refusal(event["error"])
                for choice in event["choices"]:
                    text = (choice.get("delta") or {}).get("content")
                    if text:
                        yield str(text)

    @contextmanager
    def _send(self, method: str, path: str, body: dict[str, Any] | None) -> Iterator[http.client.HTTPResponse]:
        connection = self._kind(self._host, self._port, timeout=self._timeout)
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, self._base + path, data, {"content-type": "application/json"})
            response = connection.getresponse()
            if response.status >= 400:
                raise _refused(response)
            yield response
        except (json.JSONDecodeError, UnicodeDecodeError, LookupError, TypeError, AttributeError):
            raise ServiceError(
                f"{self._address} answers, and not as an OpenAI-compatible service does",
                mend="give the address of one, or start one: corpusmill serve",
            ) from None
        except (OSError, http.client.HTTPException, ValueError) as fault:
            raise ServiceError(
                f"no answer from {self._address}: {fault}", mend="start it with: corpusmill serve"
            ) from None
        finally:
            connection.close()


def _refused(response: http.client.HTTPResponse) -> CorpusmillError:
    try:
        error = json.loads(response.read())["error"]
        if response.status == 400:
            return _refusal(error)
        return ServiceError(str(error["message"]))
    except (ValueError, LookupError, TypeError):
        return ServiceError(
            f"the service answered {response.status} {response.reason}, and not as an OpenAI-compatible one would"
        )


def _refusal(error: Any) -> CorpusmillError:
    """What the service said of a conversation: AskRefused where it gave a code."""
    message, code = (error["message"], error.get("code")) if isinstance(error, dict) else (error, None)
    return AskRefused(str(message), code=code) if isinstance(code, str) else ServiceError(str(message))
