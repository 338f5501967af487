"""What a person writes stays text: no special token can be read in it, and nothing of it is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stages.text.plain import plain_content, plain_messages
from stages.text.tokenizer import SPECIAL

CROSSING = ("<|a|>", "|><", "<|a|><|b|>", "[INST]", "</s>")
"""Tokens that begin inside one another."""

PIECES = st.sampled_from([*SPECIAL, *CROSSING, "<|", "|>", "e", "end", " ", "a", "Hello <b>", "\n", "<|e<|end|>nd|>"])


@given(st.lists(PIECES | st.text(max_size=5)).map("".join))
def test_no_special_token_is_left_and_no_letter_is_lost(text: str) -> None:
    plain = plain_content(text, (*SPECIAL, *CROSSING))
    assert not [token for token in (*SPECIAL, *CROSSING) if token in plain]
    assert plain.replace(" ", "") == text.replace(" ", "")


@given(st.text())
def test_text_without_special_tokens_is_left_as_it_is(text: str) -> None:
    assert plain_content(text, ("<|never in it|>\0\0",)) == text == plain_content(text, ())


def test_a_message_of_many_tokens_takes_no_time() -> None:
    text = "<|e" * 100_000 + "<|end|>" + "nd|>" * 100_000
    assert "<|end|>" not in plain_content(text, SPECIAL)


def test_only_the_content_of_messages_is_touched() -> None:
    given_messages = [{"role": "<|end|>", "content": "<|end|>"}, {"role": "user", "content": None, "name": "x"}]
    made = plain_messages(given_messages, SPECIAL)
    assert made == [{"role": "<|end|>", "content": "< |end|>"}, {"role": "user", "content": None, "name": "x"}]
    assert given_messages[0]["content"] == "<|end|>"
