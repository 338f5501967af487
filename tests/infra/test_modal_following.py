"""Following a run on a Volume: as many requests as there is news, however long the stream has become."""

from __future__ import annotations

import uuid
from collections import Counter
from pathlib import Path

import pytest

from infra.modal_desk import there
from pipeline import ledger
from pipeline.carrying import Carrier, Mirror
from pipeline.manifest import Cost
from pipeline.spending import Spending
from pipeline.spent import Session
from pipeline.store import Store
from pipeline.stream import Emitter, Follower
from tests.modal_servicer.service import Service

CHUNKS = 30
LISTS, GETS = "VolumeListFiles2", "VolumeGetFile2"


@pytest.mark.slow
@pytest.mark.elsewhere
def test_a_look_costs_what_is_new_and_not_what_was_told_before(
    modal_service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORPUSMILL_MODAL_VOLUME", f"v{uuid.uuid4().hex[:10]}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    far, here = there(), Store(str(tmp_path / "here"))
    emit = Emitter(far, "r", "say")
    emit._closed.set()  # no heartbeat: it would part what is told together
    emit._heart.join()

    def told(number: int) -> None:
        emit("log", line=str(number))
        emit("cost", **Session(session="one", cost=Cost(wall_seconds=1, dollars=number / 1000)).model_dump())
        emit.flush()

    def asked() -> Counter[str]:
        calls = Counter(call.name for call in modal_service.calls[before:] if call.name in (LISTS, GETS))
        paths = [call.request.path for call in modal_service.calls[before:] if call.name == LISTS]
        assert not [path for path in paths if path.rstrip("/").endswith("events")], "it is never listed again"
        return calls

    for number in range(1, CHUNKS + 1):
        told(number)
    mirror, follower = Mirror(Carrier(here, far), "r"), Follower(far, "r", ["say"])
    mirror.look()
    assert len(list(follower.new())) == 2 * CHUNKS
    before = len(modal_service.calls)
    for _ in range(5):
        mirror.look(every=False)
        assert not list(follower.new())
    assert asked() == {LISTS: 10, GETS: 10}, "one for those who tell, and one for the next chunk"
    before = len(modal_service.calls)
    told(CHUNKS + 1)
    mirror.look(every=False)
    assert [event.kind for event in follower.new()] == ["log", "cost"]
    assert asked()[GETS] == 4
    before, spending = len(modal_service.calls), Spending(far, "r", 1.0)
    spending.look()
    assert sum(asked().values()) < 20 < CHUNKS, "the newest of them, and no more"
    emit.close()
    mirror.close()
    assert [line for line in events(here) if line["kind"] == "log"] == [
        line for line in events(far) if line["kind"] == "log"
    ]
    assert ledger.sessions(here, "r", {}).__next__().cost.dollars == (CHUNKS + 1) / 1000


def events(store: Store) -> list[dict[str, object]]:
    return [event.model_dump() for event in Follower(store, "r", ["say"]).new()]
