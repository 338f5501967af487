"""CollectChats: a user's own JSON lines become chats, split by what is asked."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from pipeline import Context, StageFailed
from pipeline.errors import SourceError
from stages.collect_chats import CollectChats
from stages.kinds import Chats
from stages.tuning.conversations import dialogue, read


def collected(folder: Path, lines: list[str], **settings: object) -> Chats:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mine.jsonl").write_text("\n".join(lines), encoding="utf-8")
    out = Chats(folder / "work" / "data")
    CollectChats(source=str(folder / "mine.jsonl"), **settings).run(out, Context.local(folder / "work"))
    return out


def chats(count: int) -> list[str]:
    return [json.dumps({"messages": dialogue(f"What is {number}?", f"Number {number}.")}) for number in range(count)]


def test_every_chat_is_kept_on_one_side(tmp_path: Path) -> None:
    out = collected(tmp_path, [*chats(200), ""], heldout=0.2)
    train, heldout = read(out, "train"), read(out, "heldout")
    assert len(train) + len(heldout) == 200
    assert 20 < len(heldout) < 60
    assert heldout[0].answer == heldout[0].messages[-1]["content"] and heldout[0].checker == "exact"


def test_the_same_question_never_stands_on_both_sides(tmp_path: Path) -> None:
    lines = [json.dumps({"messages": dialogue(f"Q{number % 20}", f"A{number}")}) for number in range(100)]
    out = collected(tmp_path, lines, heldout=0.5)
    sides = [{chat.messages[0]["content"] for chat in read(out, split)} for split in ("train", "heldout")]
    assert sides[0] and sides[1] and not sides[0] & sides[1]


def test_the_order_of_lines_moves_no_chat_across_the_split(tmp_path: Path) -> None:
    first = collected(tmp_path / "a", chats(50), heldout=0.3)
    second = collected(tmp_path / "b", chats(50)[::-1], heldout=0.3)
    assert sorted(map(str, read(first, "heldout"))) == sorted(map(str, read(second, "heldout")))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "mine.jsonl, line 2 is not JSON"),
        ('{"text": "no"}', "mine.jsonl, line 2 has no list of messages"),
        ('{"messages": [{"role": "bot", "content": "x"}]}', "line 2.*is no message"),
        ('{"messages": [{"role": "user", "content": "x"}]}', "line 2 does not end with an answer"),
        ('{"messages": [{"role": "user", "content": "\\ud83d"}]}', "line 2.*is no message"),
    ],
)
def test_a_broken_line_is_named_by_file_and_number(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        collected(tmp_path, [*chats(1), line])


def test_a_mark_of_byte_order_and_compression_are_read_through(tmp_path: Path) -> None:
    plain = "\n".join(chats(20)).encode()
    for name, content in (("a.jsonl", b"\xef\xbb\xbf" + plain), ("b.jsonl.gz", gzip.compress(plain))):
        out = Chats(tmp_path / name / "data")
        (tmp_path / f"raw-{name}").mkdir()
        (tmp_path / f"raw-{name}" / name).write_bytes(content)
        CollectChats(source=str(tmp_path / f"raw-{name}" / name)).run(out, Context.local(tmp_path / name))
        assert len(read(out, "train")) + len(read(out, "heldout")) == 20


def test_a_line_that_is_no_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes("\n".join(chats(1)).encode() + b'\n{"messages": "caf\xe9"}\n')
    with pytest.raises(SourceError, match=r"a\.jsonl, line 2 is not UTF-8"):
        CollectChats(source=str(tmp_path / "a.jsonl")).run(Chats(tmp_path / "data"), Context.local(tmp_path / "w"))


def test_no_chat_at_all_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="no chat to train on"):
        collected(tmp_path, [""])


def test_its_source_is_named_by_the_file_and_its_training_chats_are_counted(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text("\n".join(chats(50)))
    stage, ctx = CollectChats(source=str(tmp_path / "*.jsonl"), heldout=0.3), Context.local(tmp_path / "work")
    stage.run(Chats(tmp_path / "work" / "data"), ctx)
    assert list(stage.sources()) == [tmp_path.name.partition(".")[0]], "the folder, where the file is a pattern"
    assert list(CollectChats(source=str(tmp_path / "mine.jsonl")).sources()) == ["mine"]
    (counted,) = (value for name, value in ctx.metrics.items() if name.startswith("from."))
    assert counted == ctx.metrics["train"] < 50
