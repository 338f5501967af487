"""OpenAI's chat completions on the wire: what a request may hold, and the shape of answers, chunks and errors."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stages.service.engine import Ask

MAX_BODY = 1 << 20
"""Bytes of a request; more is refused before it is read."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore")

    type: Literal["text"]
    text: str


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_Part]

    def plain(self) -> dict[str, str]:
        """The turn as the chat template reads it."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class _StreamOptions(BaseModel):
    model_config = ConfigDict(extra="ignore")

    include_usage: bool = False


class ChatRequest(BaseModel):
    """The body of POST /v1/chat/completions. Fields of OpenAI's that change nothing here are ignored; `n` must be 1."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    model: str = ""
    messages: list[_Message] = Field(min_length=1, max_length=256)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(
        default=None, ge=0, le=2, description="0, the likeliest token each time, where it is missing; OpenAI's is 1"
    )
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = Field(default=None, ge=0, lt=2**32)
    stop: str | list[str] | None = Field(default=None, max_length=256)
    stream: bool = False
    stream_options: _StreamOptions | None = None
    n: Literal[1] = 1

    def ask(self, limit: int, default: int) -> Ask:
        """The same for an engine: at most `limit` new tokens, `default` where the request names no number."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return Ask(
            messages=[message.plain() for message in self.messages],
            max_tokens=min(self.max_completion_tokens or self.max_tokens or default, limit),
            temperature=0.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            seed=self.seed,
            stop=[text for text in stops if text],
        )


def read_request(body: bytes) -> ChatRequest:
    """The request in `body`. Raises ValueError with one line that names the field at fault."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as fault:
        raise ValueError(f"the body is not JSON: {fault}") from None
    if not isinstance(found, dict):
        raise ValueError("the body is not a JSON object")
    try:
        request = ChatRequest.model_validate(found)
    except ValidationError as fault:
        first = fault.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{place}: {first['msg'][:1].lower()}{first['msg'][1:]}") from None
    if isinstance(request.stop, list) and len(request.stop) > 4:
        raise ValueError("stop: at most 4 texts")
    return request


def error(message: str, code: str, kind: str = "invalid_request_error") -> dict[str, Any]:
    """OpenAI's shape of an error."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def completion(ident: str, created: int, model: str, text: str, finish: str, usage: dict[str, int]) -> dict[str, Any]:
    """The whole answer of a request that does not stream."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish, "logprobs": None}
    return {
        "id": ident,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [choice],
        "usage": usage,
    }


def chunk(
    ident: str, created: int, model: str, delta: dict[str, str] | None, finish: str | None = None, **extra: Any
) -> bytes:
    """One server-sent event of a stream; without a delta it carries `extra` (the usage) alone."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}]
    head = {"id": ident, "object": "chat.completion.chunk", "created": created, "model": model, "choices": choices}
    return event({**head, **extra})


def event(value: dict[str, Any]) -> bytes:
    """A server-sent event that holds `value`."""
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """OpenAI's count of tokens."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }
