"""The talk in the terminal: history, commands, what no longer fits, and no control characters from a model."""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stages.service.chat import Chat, printable, through_client, through_engine
from stages.service.client import Client, ServiceError
from stages.service.engine import AskRefused, Message, OnText
from stages.service.llama_cpp import open_engine
from tests.tiny_llama import trained


class Parrot:
    """A fake speaker that repeats the last turn and refuses more than `room` turns."""

    def __init__(self, room: int = 99) -> None:
        self.room, self.heard = room, list[list[str]]()

    def __call__(self, messages: list[Message], on_text: OnText) -> str:
        if len(messages) > self.room:
            raise AskRefused("too long", code="context_length_exceeded")
        self.heard.append([message["content"] for message in messages])
        on_text(messages[-1]["content"])
        return messages[-1]["content"]


def talk(speak: Parrot, *lines: str, system: str = "") -> tuple[str, list[str]]:
    out, shown = io.StringIO(), list[str]()
    Chat(speak, system=system, out=out).talk(iter(lines), show=shown.append)
    return out.getvalue(), shown


def test_the_conversation_is_remembered_until_reset() -> None:
    parrot = Parrot()
    said, shown = talk(parrot, "one\n", "\n", "two\n", "/reset\n", "three\n", "/exit\n", "four\n", system="Be kind.")
    assert said == "one\ntwo\nthree\n" and shown == ["forgotten"]
    assert parrot.heard == [["Be kind.", "one"], ["Be kind.", "one", "one", "two"], ["Be kind.", "three"]]


def test_an_unknown_command_shows_the_help_and_asks_nothing() -> None:
    parrot = Parrot()
    _, shown = talk(parrot, "/what")
    assert "/reset" in shown[0] and not parrot.heard


def test_the_oldest_turns_go_where_they_no_longer_fit() -> None:
    parrot = Parrot(room=3)
    talk(parrot, "one", "two", "three")
    assert parrot.heard[-1] == ["two", "two", "three"]


def test_a_turn_that_can_never_fit_is_told_and_forgotten() -> None:
    parrot = Parrot(room=0)
    said, shown = talk(parrot, "far too long")
    assert said == "" and shown == ["too long"]


def test_a_model_cannot_steer_the_terminal() -> None:
    assert printable("\x1b[2Ja\x07\tb\n\x9b1mé") == "[2Ja\tb\n1mé"


def test_the_same_talk_in_process_and_over_http(capsys: pytest.CaptureFixture[str]) -> None:
    from stages.service.app import create_app
    from stages.service.local import serving

    question = "What is the capital of France?"
    with open_engine(trained()[1]) as engine:
        assert Chat(through_engine(engine, 16, 0.0)).say(question) == "Paris."
    with serving(create_app(open_engine(trained()[1]), "tiny")) as url:
        assert Chat(through_client(Client(url + "/v1"), 16, 0.0)).say(question) == "Paris."
        with pytest.raises(ServiceError, match="there is no model 'gpt-4' here"):
            Client(url).complete([{"role": "user", "content": "x"}], model="gpt-4")
    assert capsys.readouterr().out == "Paris.\nParis.\n"


def test_over_http_too_the_oldest_turns_go_where_they_no_longer_fit(capsys: pytest.CaptureFixture[str]) -> None:
    from stages.service.app import create_app
    from stages.service.local import serving

    shown: list[str] = []
    with serving(create_app(open_engine(trained()[1]), "tiny")) as url:
        chat = Chat(through_client(Client(url), 8, 0.0))
        chat.talk(iter(["What is the capital of France? " * 2] * 6 + ["far too long " * 100, "x"]), show=shown.append)
    assert len(shown) == 1 and "the model reads 128" in shown[0]
    assert len(capsys.readouterr().out.splitlines()) >= 7


@contextmanager
def answering(body: bytes) -> Iterator[str]:
    """A service that gives the same answer to everything."""

    class Same(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Same)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://me:secret@127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("body", [b"{}", b"[1]", b"7", b"<html>", b"\xff", b'{"data": 3, "choices": 3}'])
def test_a_server_of_something_else_is_one_clear_error(body: bytes) -> None:
    asked = [{"role": "user", "content": "x"}]
    with answering(body) as url:
        client = Client(url)
        for ask in (client.models, lambda: client.complete(asked), lambda: list(client.stream(asked))):
            with pytest.raises(ServiceError, match="not as an OpenAI-compatible service does") as raised:
                ask()
            assert "secret" not in str(raised.value)


def test_a_service_without_models_is_one_clear_error() -> None:
    with answering(b'{"data": []}') as url, pytest.raises(ServiceError, match="has no model"):
        Client(url).models()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9", "ftp://x", "http://", "http://x:port", "http://x:99999", "http://[x"]
)
def test_a_service_that_is_not_there_is_one_clear_error(url: str) -> None:
    with pytest.raises(ServiceError, match="no answer from http://127.0.0.1:9|is not the address of a service"):
        Client(url).models()
