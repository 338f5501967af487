"""What a shard is called with, as another machine opens it: what is of the stage's inputs is found there, what is of here stays here."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from infra.ray_packing import Stays, packed, unpacked
from pipeline.executor import Inline
from pipeline.manifest import Manifest
from pipeline.store import Store
from tests.executors.helpers import Hand
from tests.executors.stages_for_tests import Spreads
from tests.pipeline.toys import Say, Words


class Sides:
    """The same store from two machines, and an artifact of three files in it, which only the first has a copy of."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        url = f"memory://{tmp_path.name}/store"
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "here"))
        self.here = Store(url)
        self.made: Manifest = Hand(Inline(), url).made(Say())
        self.data = self.here.data(self.made)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "there"))
        self.there = Store(url)

    def sent(self, what: Any) -> Any:
        """As it arrives."""
        return unpacked(packed(what, self.here, [self.made]), self.there)

    def copies(self) -> list[str]:
        """The names of the files that the other machine has fetched."""
        return sorted(path.name for path in self.there.local.glob("say/*/*/data/*"))


@pytest.fixture
def sides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Sides:
    return Sides(monkeypatch, tmp_path)


@pytest.mark.parametrize("kind", [str, Path])
def test_a_file_of_an_input_is_opened_where_it_arrives_and_nothing_else_is_fetched(sides: Sides, kind: type) -> None:
    number, arrived = sides.sent([1, kind(sides.data / "001.txt")])
    assert number == 1 and type(arrived) is type(kind("/")) and Path(arrived).read_text() == "b"
    assert Path(arrived).is_relative_to(sides.there.local) and sides.copies() == ["001.txt"]
    again = sides.sent(kind(sides.data / "002.txt"))
    assert Path(again).read_text() == "c" and sides.copies() == ["001.txt", "002.txt"]


def test_a_folder_of_an_input_arrives_whole(sides: Sides) -> None:
    called = sides.sent(partial(sorted, sides.data))
    assert called.args[0].is_dir() and sides.copies() == ["000.txt", "001.txt", "002.txt"]


def test_the_inputs_of_a_stage_come_when_their_path_is_asked_for(sides: Sides) -> None:
    stage = Spreads(words=Words(sides.data))
    arrived = sides.sent(stage._shard).__self__
    assert arrived.seconds == stage.seconds and sides.copies() == []
    assert arrived.words.read() == ["a", "b", "c"] and len(sides.copies()) == 3
    assert arrived.words == Words(arrived.words.path) and not arrived.words.promised


def test_a_copy_that_is_not_as_recorded_is_fetched_again(sides: Sides) -> None:
    Path(sides.sent(sides.data / "001.txt")).write_text("spoilt")
    assert sides.sent(sides.data / "001.txt").read_text() == "b"


@pytest.mark.parametrize("name", [".partial/x/scratch/sign-0", ".", "say/other/attempt/data/000.txt"])
def test_what_the_store_has_here_alone_stays(sides: Sides, name: str) -> None:
    with pytest.raises(Stays):
        sides.sent({"deep": [str(sides.here.local / name)]})


def test_another_place_of_this_machine_stays_and_text_that_only_looks_like_one_goes(
    sides: Sides, tmp_path: Path
) -> None:
    with pytest.raises(Stays):
        sides.sent(tmp_path)
    text = ["/ no such place", "/\0", "/", "relative/name", str(tmp_path / "not-yet"), "/a" * 9000]
    assert sides.sent(text) == text


def test_the_shards_of_our_own_stages_can_be_made_elsewhere(sides: Sides) -> None:
    from stages.dedup import Dedup
    from stages.filter import Filter
    from stages.kinds import Documents
    from stages.text.packing import encode_shard

    shard, given = str(sides.data / "000.txt"), Documents(sides.data)
    calls = (Filter(documents=given)._shard, Dedup(documents=(given, given))._sign, Dedup(documents=given)._keep)
    for call in (*calls, partial(encode_shard, tokenizer=sides.data)):
        function, item = sides.sent([call, [0, shard, {"3": ("id", "near", 0.9)}]])
        assert callable(function) and Path(item[1]).is_relative_to(sides.there.local)
