"""Who follows the events of a run asks for what is new, and takes each chunk once, in order, whatever fails meanwhile."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import stream
from pipeline.chunks import QUIET_LOOKS, Chunks, Session, newest, sessions
from pipeline.errors import StoreError
from pipeline.files import Files
from pipeline.store import Store
from pipeline.stream import Emitter

SAY = Session("say", "00000000000001")


class Counted:
    """Files of which it is counted what is asked for; `fails` are names that cannot be read now."""

    remote = True

    def __init__(self, files: Files) -> None:
        self._files, self.asked, self.fails = files, list[str](), set[str]()

    def __getattr__(self, name: str) -> object:
        return getattr(self._files, name)

    def read(self, name: str) -> bytes:
        self.asked.append(name)
        if name in self.fails:
            raise StoreError("not now")
        return self._files.read(name)

    def below(self, name: str) -> list[str]:
        self.asked.append(f"{name}/**")
        return self._files.below(name)

    def children(self, name: str) -> list[str]:
        self.asked.append(f"{name}/*")
        return self._files.children(name)

    def exists(self, name: str) -> bool:
        self.asked.append(name)
        return self._files.exists(name)

    def told(self) -> list[str]:
        """What was asked for since this was last asked."""
        asked, self.asked = self.asked, []
        return asked


@pytest.fixture
def files(tmp_path: Path) -> Counted:
    return Counted(Store(str(tmp_path)).files)


def write(files: Counted, *numbers: int, session: Session = SAY) -> None:
    files._files.create(session.record("r"), b"")
    for number in numbers:
        files._files.create(session.chunk("r", number), str(number).encode())


def taken(chunks: Chunks, **words: bool) -> list[str]:
    return [f"{session.label}{number}" for session, given in chunks.new(**words).items() for number, _ in given]


def test_what_is_there_is_listed_once_and_then_each_session_is_asked_for_its_next(files: Counted) -> None:
    chunks = Chunks(files, "r")  # type: ignore[arg-type]
    write(files, *range(1, 501))
    assert len(taken(chunks)) == 500 and files.told()[0] == ".runs/r/events/**"
    assert taken(chunks) == [] and files.told() == [".runs/r/sessions/*", SAY.chunk("r", 501)]
    write(files, 501, 502)
    assert taken(chunks) == ["say501", "say502"] and len(files.told()) == 4
    write(files, 1, session=Session("upper", "00000000000002"))
    assert taken(chunks) == ["upper1"] and ".runs/r/events/**" not in files.told()


def test_who_has_long_told_nothing_is_asked_now_and_then_and_whenever_all_are_wanted(files: Counted) -> None:
    chunks = Chunks(files, "r")  # type: ignore[arg-type]
    write(files, 1)
    assert taken(chunks) == ["say1"]
    for _ in range(10 * QUIET_LOOKS):
        taken(chunks, every=False)
    assert files.told().count(SAY.chunk("r", 2)) == QUIET_LOOKS + 9
    write(files, 2)
    assert taken(chunks) == ["say2"]
    write(files, 3)
    assert taken(chunks, every=False) == ["say3"], "it is not quiet any more"


def test_what_cannot_be_read_now_is_taken_at_a_later_look_in_its_order(files: Counted) -> None:
    chunks = Chunks(files, "r")  # type: ignore[arg-type]
    write(files, 1, 2, 3)
    for number, there in ((2, ["say1"]), (3, ["say2"]), (4, ["say3"])):
        files.fails = {SAY.chunk("r", number)}
        got: list[str] = []
        with pytest.raises(StoreError):
            got += each(chunks, got)
        assert got == there
    files.fails = set()
    write(files, 4)
    assert taken(chunks) == ["say4"]


def each(chunks: Chunks, got: list[str]) -> Iterator[str]:
    for session, given in chunks.new().items():
        for number, _ in given:
            got.append(f"{session.label}{number}")
    yield from ()


def test_the_newest_chunk_of_many_is_found_in_few_questions(files: Counted) -> None:
    write(files, *range(1, 301))
    for known, number in ((0, 300), (299, 300), (300, 300), (17, 300)):
        assert newest(files, "r", SAY, known) == number  # type: ignore[arg-type]
    assert len(files.told()) < 4 * 17


class Forgetful:
    """Files whose answer to the first chunk is lost on the way."""

    def __init__(self, files: Files) -> None:
        self._files, self._lost = files, False

    def __getattr__(self, name: str) -> object:
        return getattr(self._files, name)

    def create(self, name: str, data: bytes) -> bool:
        made = self._files.create(name, data)
        if name.endswith(".jsonl") and not self._lost:
            self._lost = True
            raise StoreError("no answer")
        return made


def test_numbers_have_no_gap_though_an_answer_of_the_store_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "FIRST_SECONDS", 3600.0)  # no heartbeat writes it, and none loses that answer
    store = Store(f"memory://{uuid.uuid4().hex}")
    store.files = Forgetful(store.files)  # type: ignore[assignment]
    emit = Emitter(store, "r", "say")
    emit("log", line="first")
    with pytest.raises(StoreError):
        emit.flush()
    emit("log", line="second")
    emit.close()
    found = Chunks(store.files, "r").new()
    (given,) = found.values()
    assert [number for number, _ in given] == [1, 2] and [one.label for one in sessions(store.files, "r")] == ["say"]
