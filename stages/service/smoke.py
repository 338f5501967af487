"""Asks a service over real HTTP on a loopback port, and measures it: whoever reads the answers knows that it serves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from pipeline import StageFailed
from stages.service.app import create_app
from stages.service.client import Client, ServiceError
from stages.service.engine import AskRefused, Engine, Message
from stages.service.local import serving

SPEED_TOKENS = 64
PATIENCE = 300.0
"""Seconds that an answer may take: the machine may be slow, and busy with other stages."""


class Answered(NamedTuple):
    """What the service said, why it ended (`stop` or `length`), and in how many tokens."""

    text: str
    finish: str
    tokens: int


class Speed(NamedTuple):
    """The service for one client, over HTTP: seconds to the first text, tokens per second of a whole answer."""

    first_token_seconds: float
    tokens_per_second: float


def smoke_test(
    engine: Engine, name: str, conversations: Sequence[Sequence[Message]], max_tokens: int
) -> tuple[list[Answered], Speed]:
    """Greedy answers to the conversations, one after the other, and the speed of the service, over HTTP.

    Raises StageFailed where it does not answer one of them, or has another model than `name`.
    """
    with serving(create_app(engine, name, max_tokens=max(max_tokens, SPEED_TOKENS))) as url:
        client = Client(url, timeout=PATIENCE)
        try:
            if client.models() != [name]:
                raise StageFailed(f"the service names its models {client.models()}, not {name!r}")
            answers = [_ask(client, name, list(messages), max_tokens) for messages in conversations]
            return answers, _speed(client, list(conversations[0]))
        except (ServiceError, AskRefused) as fault:
            raise StageFailed(f"the service did not answer its smoke test: {fault.message}", mend=fault.mend) from None


def _ask(client: Client, name: str, messages: list[Message], max_tokens: int) -> Answered:
    found = client.complete(messages, model=name, max_tokens=max_tokens, temperature=0)
    choice = found["choices"][0]
    return Answered(choice["message"]["content"], choice["finish_reason"], found["usage"]["completion_tokens"])


def _speed(client: Client, messages: list[Message]) -> Speed:
    """The best of three."""
    latencies, rates = [], []
    for _ in range(3):
        began = time.perf_counter()
        stream = client.stream(messages, max_tokens=SPEED_TOKENS, temperature=0)
        next(stream, None)
        latencies.append(time.perf_counter() - began)
        for _text in stream:
            pass
        began = time.perf_counter()
        found = client.complete(messages, max_tokens=SPEED_TOKENS, temperature=0)
        rates.append(found["usage"]["completion_tokens"] / (time.perf_counter() - began))
    return Speed(min(latencies), max(rates))
