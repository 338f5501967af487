"""llama.cpp in this process, through the xllamacpp wheel: the engine for CPUs. Its C++ logs never reach the terminal."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import StageFailed
from stages.service.engine import Ask, AskRefused, Message, OnText, Reply
from stages.text.plain import plain_messages

LONGEST_BASE = 64
"""Characters of the temporary folder: 32 more lead to the socket, whose name ends at 103 on macOS."""


@dataclass
class _Heard:
    """What llama.cpp's stream has told so far."""

    on_text: OnText | None
    pieces: list[str] = field(default_factory=list)
    finish: str = "stop"
    usage: dict[str, int] = field(default_factory=dict)
    fault: dict[str, Any] | None = None

    def hear(self, event: dict[str, Any]) -> bool:
        if "error" in event:
            self.fault = event["error"]
            return True
        self.usage = event.get("usage") or self.usage
        for choice in event.get("choices", ()):
            self.finish = choice.get("finish_reason") or self.finish
            text = (choice.get("delta") or {}).get("content")
            if text:
                self.pieces.append(text)
                if self.on_text is not None and self.on_text(text):
                    return True
        return False


class LlamaCpp:
    """llama.cpp through the xllamacpp wheel: continuous batching of up to `parallel` conversations.

    Each conversation has room for `context` tokens (llama.cpp rounds all of them together up to a multiple of 256).
    With `threads` fixed, and one conversation at a time, a greedy answer is the same each time. `reuse` keeps what was
    read of earlier conversations, which is faster and, where two tokens are equally likely to the last bit, may answer
    differently; `exact` computes attention in float32, not 16. Raises StageFailed for a file that does not load.
    """

    def __init__(
        self,
        model: Path,
        *,
        context: int = 0,
        threads: int = 1,
        parallel: int = 1,
        reuse: bool = False,
        exact: bool = False,
    ) -> None:
        import xllamacpp

        try:
            self.context, self._special = context or trained_context(model), control_tokens(model)
        except ValueError as fault:
            raise _unreadable(model) from fault
        self.parallel, self._reuse = parallel, reuse
        base = tempfile.gettempdir()
        self._folder = Path(tempfile.mkdtemp(prefix="corpusmill-", dir=base if len(base) <= LONGEST_BASE else "/tmp"))
        self.socket = self._folder / "engine.sock"  # llama.cpp always listens: here only this user can reach it
        params = xllamacpp.CommonParams()
        params.model.path = str(model)
        params.hostnames = [str(self.socket)]
        params.n_ctx, params.n_parallel = self.context * parallel, parallel
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.verbosity = -1
        params.use_jinja = params.force_pure_content_parser = True
        params.fit_params = params.ui = params.warmup = False
        params.cache_ram_mib = 0
        if exact:
            params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
            params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        try:
            self._server: Any = xllamacpp.Server(params)
        except RuntimeError as fault:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise _unreadable(model) from fault

    def answer(self, ask: Ask, on_text: OnText | None = None) -> Reply:
        """Answer, telling `on_text` of each piece of text. Raises AskRefused for a conversation it cannot take."""
        request: dict[str, Any] = {
            "messages": plain_messages(ask.messages, self._special),
            "max_tokens": ask.max_tokens,
            "temperature": ask.temperature,
            "top_p": ask.top_p,
            "stop": list(ask.stop),
            "stream": True,
            "stream_options": {"include_usage": True},
            "cache_prompt": self._reuse,
        }
        if ask.seed is not None:
            request["seed"] = ask.seed
        heard = _Heard(on_text)
        try:
            self._server.handle_chat_completions(request, heard.hear)
        except ValueError as fault:
            raise AskRefused(f"llama.cpp cannot take this conversation: {fault}") from fault
        if heard.fault is not None:
            raise _refused(heard.fault)
        return Reply(
            "".join(heard.pieces),
            heard.finish,
            heard.usage.get("prompt_tokens", 0),
            heard.usage.get("completion_tokens", len(heard.pieces)),
        )

    def next_token(self, ids: Sequence[int], top: int) -> dict[int, float]:
        """The log-probabilities (natural) of the `top` likeliest tokens after the token ids `ids`."""
        # the answer is forced to a plain letter, for one that ends or is half a character would come without its
        # log-probabilities, which llama.cpp takes before any bias
        letter = {str(self.tokenize("a")[0]): 100.0}
        request = {
            "prompt": list(ids),
            "max_tokens": 1,
            "logprobs": top,
            "temperature": 0,
            "cache_prompt": False,
            "logit_bias": letter,
        }
        found = self._server.handle_completions(request)
        if "error" in found:
            raise _refused(found["error"])
        content = found["choices"][0]["logprobs"]["content"]
        return {entry["id"]: entry["logprob"] for entry in content[0]["top_logprobs"]}

    def tokenize(self, text: str) -> list[int]:
        """The token ids of `text`; special tokens in it count as such."""
        return list(self._post("/tokenize", {"content": text, "parse_special": True})["tokens"])

    def render(self, messages: Sequence[Message]) -> str:
        """The text that the chat template makes of a conversation, up to where the answer begins."""
        plain = plain_messages(messages, self._special)
        return str(self._post("/apply-template", {"messages": plain})["prompt"])

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        connection = _UnixConnection(self.socket)
        try:
            connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
            found: dict[str, Any] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        if "error" in found:
            raise _refused(found["error"])
        return found

    def close(self) -> None:
        """Stop the engine's threads and free the model. A second call does nothing."""
        self._server = None  # the last reference: its destructor joins the threads
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> LlamaCpp:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self._path))


def _unreadable(model: Path) -> StageFailed:
    return StageFailed(f"llama.cpp cannot load {model.name}", mend="rebuild it: corpusmill run … --rebuild quantize")


def _refused(fault: dict[str, Any]) -> AskRefused:
    if fault.get("type") == "exceed_context_size_error":
        message = f"the conversation has {fault.get('n_prompt_tokens')} tokens and the model reads {fault.get('n_ctx')}"
        return AskRefused(message, code="context_length_exceeded", mend="ask with fewer or shorter messages")
    return AskRefused(str(fault.get("message", fault)))


def trained_context(model: Path) -> int:
    """The number of tokens that the GGUF file at `model` was trained to read."""
    from gguf import GGUFReader

    field = GGUFReader(model).get_field("llama.context_length")
    return int(field.contents()) if field is not None else 512


def control_tokens(model: Path) -> list[str]:
    """The tokens of the GGUF file at `model` that llama.cpp reads as one wherever they stand: control and unknown."""
    from gguf import GGUFReader, TokenType

    reader = GGUFReader(model)
    tokens, types = reader.get_field("tokenizer.ggml.tokens"), reader.get_field("tokenizer.ggml.token_type")
    if tokens is None or types is None:
        return []
    kinds = enumerate(types.contents())
    places = [place for place, kind in kinds if kind in (TokenType.CONTROL, TokenType.UNKNOWN)]
    return [str(tokens.contents(place)) for place in places]


def open_engine(
    folder: Path, *, threads: int = 1, parallel: int = 1, context: int = 0, reuse: bool = False
) -> LlamaCpp:
    """The engine for a model folder that holds model.gguf. Raises StageFailed where there is none."""
    path = folder / "model.gguf"
    if not path.is_file():
        raise StageFailed(
            f"{folder.name} holds no model.gguf to serve", mend="quantize it: Quantize(model=…, format='q8_0')"
        )
    return LlamaCpp(path, threads=threads, parallel=parallel, context=context, reuse=reuse)


def answer_all(
    folder: Path, conversations: Sequence[Sequence[Message]], *, max_tokens: int = 32, threads: int = 1
) -> list[str]:
    """Greedy answers of the model.gguf in `folder`, one after the other, so that the same file gives the same texts."""
    with open_engine(folder, threads=threads) as engine:
        return [engine.answer(Ask(messages, max_tokens)).text for messages in conversations]
