"""Filter: each rule drops what it is for, tells why, and leaves the rest as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline import Context, DagError, StageFailed
from stages.filter import Filter
from stages.kinds import Documents
from stages.text.shards import document, write_documents

TALE = (
    "Once upon a time there was a fox who lived with his mother at the edge of the forest. Every morning he went to the river and "
    "looked at the fish. One day a heron stood in the water and asked him what he wanted. The fox said that he would like to have "
    "a fish for supper. The heron laughed and told him to bring a basket. So the fox ran home, took the basket of his mother, and "
    "came back before the sun was down. They shared the fish and became good friends."
)


def corpus(folder: Path, texts: list[str], *, per_shard: int = 100) -> Documents:
    for number, start in enumerate(range(0, len(texts), per_shard)):
        rows = [
            document(text, str(start + place), source="test", url="", metadata={})
            for place, text in enumerate(texts[start : start + per_shard])
        ]
        write_documents(folder, f"part-{number:05d}", rows)
    return Documents(folder)


def filtered(
    tmp_path: Path, texts: list[str], **settings: Any
) -> tuple[list[str], dict[str, float], dict[str, tuple[str, str]]]:
    given = corpus(tmp_path / "given", texts)
    ctx, out = Context.local(tmp_path / "work"), Documents(tmp_path / "work" / "data")
    Filter(documents=given, **settings).run(out, ctx)
    by_id = {row["id"]: row["text"] for row in given.rows()}
    dropped = {by_id[row["id"]]: (row["rule"], row["reason"]) for row in Documents(out.path / "dropped").rows()}
    return [row["text"] for row in out.rows()], ctx.metrics, dropped


def test_good_prose_passes_and_each_fault_is_dropped_with_its_reason(tmp_path: Path) -> None:
    german = "Es war einmal ein Fuchs, der mit seiner Mutter am Rande des Waldes wohnte. " * 8
    code = TALE.replace("basket", "{basket}")
    repeated = "The fox went to the river and to the forest. " * 30
    kept, metrics, dropped = filtered(tmp_path, [TALE, german, repeated, "Too short.", code])
    assert kept == [TALE]
    assert dropped[german] == ("language", "de")
    assert dropped[repeated][0] == "repetition"
    assert dropped["Too short."] in {("quality", "short_doc"), ("language", "unsure")}
    assert dropped[code] == ("c4", "curly_bracket")
    assert (metrics["documents_in"], metrics["documents_kept"], metrics["documents_dropped"]) == (5, 1, 4)
    assert metrics["dropped.c4.curly_bracket"] == 1 and metrics["dropped.language.de"] == 1


def test_contacts_and_profanity_are_dropped_when_asked_for(tmp_path: Path) -> None:
    faults = {
        f"{TALE} Write to fox@forest.org now.": ("contacts", "email"),
        f"{TALE} See https://forest.org for more.": ("contacts", "url"),
        f"{TALE} Call 801-555-0142 today.": ("contacts", "phone"),
        f"{TALE} What the fuck, said the fox.": ("profanity", "profane"),
    }
    kept, _, dropped = filtered(tmp_path, [TALE, *faults], rules=("contacts", "profanity"))
    assert kept == [TALE] and dropped == faults


def test_rules_that_are_not_named_are_not_asked(tmp_path: Path) -> None:
    kept, _, dropped = filtered(tmp_path, ["Kurz.", TALE], rules=("profanity",))
    assert kept == ["Kurz.", TALE] and not dropped


def test_looser_settings_keep_more(tmp_path: Path) -> None:
    talk = "Hi there, how are you?\nI am fine, and you?\nI have to go to the shop with my mother and my little brother."
    assert filtered(tmp_path / "loose", [talk], rules=("quality",), min_words=10, min_word_length=2.5)[0] == [talk]
    with pytest.raises(StageFailed, match=r"none of 1 documents passed the filter: quality\.short_doc 1"):
        filtered(tmp_path / "strict", [talk], rules=("quality",))
    song = "Turn again, turn again, turn again home. " * 6
    assert filtered(tmp_path / "song", [song], rules=("repetition",), repetition_scale=8)[0] == [song]


def test_c4_takes_out_lines_that_are_no_sentences(tmp_path: Path) -> None:
    page = "Home | About | Contact\n" + TALE.replace(". ", ".\n") + "\nEnable javascript to see this page."
    (text,) = filtered(tmp_path / "lines", [page], rules=("c4",))[0]
    assert text == TALE.replace(". ", ".\n")
    (text,) = filtered(tmp_path / "all", [page], rules=("c4",), whole_sentences=False)[0]
    assert text.startswith("Home | About | Contact\n")


def test_an_empty_corpus_after_filtering_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StageFailed) as caught:
        filtered(tmp_path, ["Kurz.", "No.", ""], rules=("quality",))
    assert "none of 3 documents passed the filter: quality.short_doc 3" in str(caught.value)
    assert "loosen the rule" in str(caught.value)


def test_the_same_shards_give_the_same_bytes_and_keep_their_numbers(tmp_path: Path) -> None:
    texts = [TALE.replace("fox", animal) for animal in ("cat", "dog", "owl")] + ["Short."]
    given = corpus(tmp_path / "given", texts, per_shard=2)
    runs = []
    for place in ("one", "two"):
        out = Documents(tmp_path / place / "data")
        Filter(documents=given, rules=("quality",)).run(out, Context.local(tmp_path / place))
        runs.append({path.relative_to(out.path): path.read_bytes() for path in sorted(out.path.rglob("*.parquet"))})
    assert runs[0] == runs[1]
    assert [pq.read_metadata(path).num_rows for path in out.shards()] == [2, 1]
    assert {str(name) for name in runs[0]} == {
        f"{folder}part-0000{n}.parquet" for folder in ("", "dropped/") for n in (0, 1)
    }


def test_a_filter_without_rules_is_refused_when_the_dag_is_drawn(tmp_path: Path) -> None:
    for rules in ((), ("c4", "c4")):
        with pytest.raises(DagError, match="name at least one rule"):
            Filter(documents=Documents(tmp_path), rules=rules)


def test_what_is_kept_is_counted_by_source(tmp_path: Path) -> None:
    rows = [document(text, str(place), source=source, url="", metadata={}) for place, (source, text) in enumerate(
        [("tales", TALE), ("talk", "Too short."), ("talk", TALE + " The end."), ("tales", TALE + " Good night."), ("web", "No.")]
    )]  # fmt: skip
    for number in (0, 1):
        write_documents(tmp_path / "given", f"part-{number:05d}", rows[number::2])
    ctx, out = Context.local(tmp_path / "work"), Documents(tmp_path / "work" / "data")
    Filter(documents=Documents(tmp_path / "given")).run(out, ctx)
    counted = {name: value for name, value in ctx.metrics.items() if name.startswith("from.")}
    assert counted == {"from.tales.documents": 2, "from.talk.documents": 1}
