"""`corpusmill track`: what a tracker missed is told of each run, and one that cannot be told keeps no other from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pipeline import CorpusmillError, UsageError
from pipeline.cli_track import track
from pipeline.lease import held
from tests.pipeline.test_replay import Diary, live
from tests.pipeline.toys import line


class Kept(Diary):
    """A tracker that tells this process which runs it was told, but for those that it refuses."""

    told: ClassVar[list[str]] = []
    refuses: ClassVar[dict[str, str]] = {}

    def __init__(self, store: str) -> None:
        super().__init__()

    def start(self, record: Any) -> None:
        if why := self.refuses.get(record.run):
            raise ConnectionError(why)
        self.told.append(record.run)


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Kept]]:
    """The tracker `kept`, as a package brings one."""
    folder = tmp_path / "site" / "keeper-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: keeper\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(f"[corpusmill.trackers]\nkept = {__name__}:Kept\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield Kept
    Kept.told, Kept.refuses = [], {}


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    """Five runs of a store, in order: the first makes all, the others find it."""
    return [live(line(limit=limit), tmp_path / "store")[0].run for limit in range(1, 6)]


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path / "store")


def rows(text: str) -> list[list[str]]:
    """The lines of the table, word by word, without its header."""
    return [row.split() for row in text.splitlines()[1:]]


def test_every_run_is_told_in_order_and_one_that_is_on_is_left_to_its_driver(
    runs: list[str], store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with held(Path(store) / ".runs" / runs[1] / "lease"):
        track(everything=True, tracker="kept", store=store)
    told = [*runs[:1], *runs[2:]]
    assert Kept.told == told
    *over, on = rows(capsys.readouterr().out)
    assert [(row[0], row[1], row[2], row[5]) for row in over] == [(run, "toys", "done", "yes") for run in told]
    assert on[0] == runs[1] and "running" in on and " ".join(on).endswith("corpusmill attach, tells of it")


def test_a_run_that_is_refused_keeps_no_other_from_being_told(
    runs: list[str], store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Kept.refuses = {runs[0]: "no room\nfor it"}
    with pytest.raises(CorpusmillError, match="1 of 2 could not be told") as raised:
        track([runs[1], runs[0]], tracker="kept", store=store)
    assert raised.value.mend == f"again: corpusmill track {runs[0]} --store {store} --tracker kept"
    assert Kept.told == [runs[1]]
    refused, told = rows(capsys.readouterr().out)
    assert (refused[0], refused[-3:]) == (runs[0], ["no", "no", "room"]) and told[5] == "yes"


def test_where_the_tracker_is_away_the_rest_is_not_tried(
    runs: list[str], store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Kept.refuses = dict.fromkeys(runs, "it is away")
    with pytest.raises(CorpusmillError, match="5 of 5 could not be told") as raised:
        track(everything=True, tracker="kept", store=store)
    assert "corpusmill track --all" in raised.value.mend
    said = capsys.readouterr().out.splitlines()[1:]
    assert [line.endswith("it is away") for line in said] == 3 * [True] + 2 * [False]
    assert all(line.endswith("not tried: kept does not answer") for line in said[3:])


def test_what_cannot_be_meant_is_said_and_nothing_is_told(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    for asked in ({"runs": ["last"], "everything": True}, {}):
        with pytest.raises(UsageError, match="given runs, or --all"):
            track(**asked, tracker="kept", store=store)
    with pytest.raises(UsageError, match="there are no runs"):
        track(["last"], tracker="kept", store=store)
    with pytest.raises(UsageError, match="no tracker is called 'kapt'"):
        track(everything=True, tracker="kapt", store=store)
    track(everything=True, tracker="kept", store=store)
    assert capsys.readouterr().out == f"nothing to tell in {store}\n" and not Kept.told
