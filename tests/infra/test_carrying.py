"""Artifacts between a store of this machine and one elsewhere: only what is missing travels, and it arrives as it was."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from pipeline.carrying import Carrier, Mirror
from pipeline.errors import StoreError
from pipeline.executor import Inline
from pipeline.manifest import Manifest
from pipeline.store import Store, place_of
from pipeline.stream import Emitter
from tests.executors.helpers import Hand
from tests.pipeline.toys import Say


@pytest.fixture
def carrier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Carrier:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Carrier(Store(str(tmp_path / "here")), Store(f"memory://{uuid.uuid4().hex}/there"))


def made(root: str, *words: str) -> Manifest:
    return Hand(Inline(), root).made(Say(words=words))


def test_what_is_there_is_not_sent_again_and_what_is_here_not_fetched(carrier: Carrier) -> None:
    one = made(carrier.here.url, "one", "two")
    carrier.up(one)
    assert carrier.sent == one.size == 6
    assert carrier.there.attempts(one.stage, one.key) == [one]
    carrier.up(one)
    carrier.down(one)
    assert (carrier.sent, carrier.fetched) == (6, 0)


def test_what_was_made_there_comes_here_verified_and_is_told(carrier: Carrier) -> None:
    one = made(carrier.there.url, "one", "two")
    told: list[tuple[int, int]] = []
    carrier.down(one, lambda done, total: told.append((done, total)))
    assert carrier.here.attempts(one.stage, one.key) == [one] and told[-1] == (6, 6)
    assert sorted(path.read_text() for path in carrier.here.data(one).iterdir()) == ["one", "two"]
    assert carrier.fetched == 6


def test_a_fetch_that_was_cut_short_goes_on_where_it_was(carrier: Carrier) -> None:
    one = made(carrier.there.url, "one", "two")
    arriving = carrier.here.local / ".partial" / one.stage / one.key / f"arriving-{one.attempt}" / "data"
    arriving.mkdir(parents=True)
    (arriving / "000.txt").write_text("one")
    (arriving / "001.txt").write_text("t")
    carrier.down(one)
    assert carrier.fetched == 3 and carrier.here.data(one).is_dir()
    assert not arriving.exists()


def test_what_is_not_as_its_manifest_says_never_comes_to_be_here(carrier: Carrier) -> None:
    one = made(carrier.there.url, "one")
    carrier.there.files.replace(f"{place_of(one)}/data/000.txt", b"another")
    with pytest.raises(StoreError, match="not what its manifest says"):
        carrier.down(one)
    assert carrier.here.attempts(one.stage, one.key) == []


def test_what_jobs_tell_there_is_heard_here_and_a_stop_that_is_asked_here_arrives_there(carrier: Carrier) -> None:
    emit = Emitter(carrier.there, "run", "say")
    emit("log", line="hello")
    emit.close()
    mirror = Mirror(carrier, "run")
    carrier.here.ask_stop("run", "enough", "me")
    mirror.look()
    mirror.look()
    hand = Hand(Inline(), carrier.here.url)
    assert hand.log("say") == "hello\n"
    assert carrier.there.stop_asked("run") == "enough"
