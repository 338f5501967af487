"""The event stream on disk: numbered chunks that never change, each event read once, and prints that become lines."""

from __future__ import annotations

import re
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.events import Event
from pipeline.store import Store
from pipeline.stream import Emitter, Follower, LineWriter


def chunks(root: Path, label: str = "say") -> list[Path]:
    return sorted((root / ".runs" / "r" / "events" / label).iterdir())


def lines(follower: Follower) -> list[str]:
    return [event.data["line"] for event in follower.new()]


def test_chunks_are_numbered_and_never_change(tmp_path: Path) -> None:
    emit = Emitter(Store(str(tmp_path)), "r", "say")
    seen: dict[Path, bytes] = {}
    for number in range(12):
        emit("log", line=str(number))
        emit.flush()
        seen |= {path: path.read_bytes() for path in chunks(tmp_path) if path not in seen}
    emit.close()
    names = [path.name for path in chunks(tmp_path)]
    assert [int(name[15:21]) for name in names] == list(range(1, 13))
    assert all(re.fullmatch(r"\d{14}-\d{6}\.jsonl", name) for name in names)
    assert {path: path.read_bytes() for path in chunks(tmp_path)} == seen


def test_a_state_is_written_at_once_and_the_rest_by_the_heartbeat(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    emit, follower = Emitter(store, "r", "say"), Follower(store, "r", ["say"])
    emit("log", line="first")
    emit("state", state="started")
    assert [event.kind for event in follower.new()] == ["log", "state"]
    emit("progress", done=1, total=2, unit="words")
    deadline, found = time.monotonic() + 60, []
    while not found and time.monotonic() < deadline:
        time.sleep(0.05)
        found = list(follower.new())
    assert [event.data for event in found] == [{"done": 1, "total": 2, "unit": "words"}]
    emit.close()


def test_events_of_several_threads_stand_in_the_order_of_their_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, inside, other = Store(str(tmp_path)), threading.Event(), threading.Event()
    emit = Emitter(store, "r", "say")

    def slow(**given: Any) -> Event:
        event = Event(**given)
        if event.data["line"] == "first":
            inside.set()
            other.wait(0.2)  # whoever comes next would pass it by
        return event

    monkeypatch.setattr("pipeline.stream.Event", slow)
    first = threading.Thread(target=emit, args=["log"], kwargs={"line": "first"})
    first.start()
    assert inside.wait(60)
    emit("log", line="second")
    other.set()
    first.join()
    emit.close()
    monkeypatch.undo()
    assert lines(Follower(store, "r", ["say"])) == ["first", "second"]


def test_closing_writes_what_is_pending_and_an_empty_chunk_never_exists(tmp_path: Path) -> None:
    emit = Emitter(Store(str(tmp_path)), "r", "say")
    emit("log", line="last words")
    emit.close()
    emit.flush()
    assert lines(Follower(Store(str(tmp_path)), "r", ["say"])) == ["last words"] and len(chunks(tmp_path)) == 1


def test_each_event_is_returned_once_and_in_order(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    follower = Follower(store, "r", ["upper", "say"])
    assert lines(follower) == []
    say, upper = Emitter(store, "r", "say"), Emitter(store, "r", "upper")
    for emit, name in ((say, "s"), (upper, "u")):
        for number in (1, 2):
            emit("log", line=f"{name}{number}")
            emit.flush()
    assert lines(follower) == ["u1", "u2", "s1", "s2"] and lines(follower) == []
    say("log", line="s3")
    say.close()
    upper.close()
    assert lines(follower) == ["s3"] and lines(follower) == []
    time.sleep(0.002)  # a job that is tried again begins at a later millisecond
    again = Emitter(store, "r", "say")
    again("log", line="s4")
    again.close()
    assert lines(follower) == ["s4"] and lines(Follower(store, "r", ["say"])) == ["s1", "s2", "s3", "s4"]


def test_partial_files_are_left_alone(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    emit, follower = Emitter(store, "r", "say"), Follower(store, "r", ["say"])
    emit("log", line="whole")
    emit.close()
    folder = chunks(tmp_path)[0].parent
    for name in (".00000000000001-000001.jsonl.9f", "00000000000001-000001.jsonl.9f.part", ".hidden.jsonl"):
        (folder / name).write_text('{"label": "sa')
    assert lines(follower) == ["whole"]


@given(st.lists(st.text("ab \n\r") | st.text(max_size=3) | st.just("\ud800")))
def test_what_is_printed_becomes_lines_and_stays_whole_in_the_log(pieces: list[str]) -> None:
    said: list[str] = []

    def emit(kind: str, **data: Any) -> None:
        assert kind == "log"
        said.append(data["line"])

    with tempfile.TemporaryDirectory() as folder:
        writer = LineWriter(emit, Path(folder) / "logs" / "say.txt")  # type: ignore[arg-type]
        assert [writer.write(piece) for piece in pieces] == [len(piece) for piece in pieces]
        writer.flush()
        kept = (Path(folder) / "logs" / "say.txt").read_bytes().decode()
        writer.close()
    whole = "".join(pieces).encode("utf-8", "replace").decode()
    assert kept == whole
    assert said == [line for line in re.split("[\r\n]", whole)[:-1] if line.strip()]


def test_a_progress_bar_of_a_library_is_read_line_by_line(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    emit = Emitter(store, "r", "say")
    writer = LineWriter(emit, tmp_path / "say.txt")
    before, sys.stdout = sys.stdout, writer  # type: ignore[assignment]
    try:
        print("10%\r20%\r\n\ndone", end="\r\n")
    finally:
        sys.stdout = before
    emit.close()
    assert lines(Follower(store, "r", ["say"])) == ["10%", "20%", "done"]
    assert not writer.isatty() and writer.fileno() > 2
    writer.close()


def test_a_line_with_separators_of_every_script_stays_one_event(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    emit, follower = Emitter(store, "r", "say"), Follower(store, "r", ["say"])
    emit("log", line="one\u2028two\u0085three\x0cfour")
    emit.close()
    assert lines(follower) == ["one\u2028two\u0085three\x0cfour"]
