"""Holds llama.cpp's reading of a GGUF file against transformers' reading of the checkpoint it came from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import StageFailed
from stages.quant.loss import Window, log_probabilities

if TYPE_CHECKING:
    from stages.service.llama_cpp import LlamaCpp

TOP = 5
"""The likeliest tokens of transformers whose log-probabilities are held against llama.cpp's."""

TEXTS = (
    "Once upon a time, there was a dog who didn't know that it's 12:30 already; they'll say we've 1234567 of them!",
    "Zürich, naïve café — “quoted”, Ωmega, привет, 你好世界, こんにちは, שלום, 👩‍👩‍👧 🎉, e\u0301",
    "  two spaces,\ttabs,\n\nblank lines,   \n trailing blanks   ",
    "def f(x):\n    return {'a': [x ** 2, -1.5e-3]}  # comment\n",
    "<|user|>What is the capital of France?<|end|><|assistant|>",
    "",
)
"""Texts that a wrong word rule, a wrong merge or a lost special token would cut in other places."""

CONVERSATION = (
    {"role": "system", "content": "Answer in one word."},
    {"role": "user", "content": "What is 2 + 2?"},
    {"role": "assistant", "content": "Four."},
    {"role": "user", "content": " and  3 + 3?\n"},
)


def check_text(engine: LlamaCpp, folder: Path) -> int:
    """Raise StageFailed where llama.cpp cuts a text, or renders a conversation, unlike the tokenizer in `folder`; count texts."""
    from stages.text.tokenizer import load_tokenizer, render_chat

    tokenizer = load_tokenizer(folder)
    for text in TEXTS:
        ours, theirs = tokenizer.encode(text, add_special_tokens=False).ids, engine.tokenize(text)
        if ours != theirs:
            raise StageFailed(f"llama.cpp cuts {text[:40]!r} into {theirs[:12]}…, the tokenizer into {ours[:12]}…")
    rendered, read = render_chat(folder, CONVERSATION, add_generation_prompt=True), engine.render(CONVERSATION)
    if rendered != read:
        raise StageFailed(f"llama.cpp renders the chat template as {read[:80]!r}, transformers as {rendered[:80]!r}")
    return len(TEXTS) + 1


def prompts(windows: Sequence[Window], room: int, count: int = 12) -> list[Window]:
    """`count` beginnings of the windows, from 4 tokens to all that fit in `room`."""
    found = []
    for index in range(count):
        window = windows[index % len(windows)][:room]
        found.append(window[: max(4, len(window) * (index + 1) // count)])
    return [prompt for prompt in found if prompt]


def worst_difference(engine: LlamaCpp, model: Any, asked: Sequence[Window]) -> float:
    """The largest difference of log-probability, in nats, over the TOP likeliest next tokens of each prompt."""
    worst = 0.0
    for prompt, expected in zip(asked, log_probabilities(model, asked), strict=True):
        values, ids = expected[-1].topk(TOP)
        found = engine.next_token(prompt, top=expected.shape[-1])
        worst = max(
            worst, *(abs(found[token] - value) for token, value in zip(ids.tolist(), values.tolist(), strict=True))
        )
    return worst
