"""The context: metrics, shards that are not repeated, commits and gangs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipeline import Context, digest
from pipeline.workspace import Workspace

CALLS: list[str] = []


def write(word: str, folder: Path, *, times: int = 1) -> int:
    """Write a word into a file of its own name; note the call."""
    CALLS.append(word)
    if word == "bad":
        raise ValueError(word)
    (folder / word).write_text(word * times)
    return len(word)


def heard(folder: Path) -> tuple[Context, list[tuple[str, dict[str, Any]]]]:
    events: list[tuple[str, dict[str, Any]]] = []
    return Context(Workspace(folder), emit=lambda kind, **data: events.append((kind, data))), events


def test_values_come_in_the_order_of_the_items_and_files_in_the_data(tmp_path: Path) -> None:
    ctx = Context.local(tmp_path)
    assert ctx.map(partial(write, times=2), ["ccc", "a", "bb"]) == [3, 1, 2]
    assert {path.name: path.read_text() for path in (tmp_path / "data").iterdir()} == {
        "a": "aa",
        "bb": "bbbb",
        "ccc": "cccccc",
    }


def test_a_second_context_repeats_only_what_had_not_ended(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bad"):
        Context.local(tmp_path).map(write, ["one", "two", "bad", "four"])
    CALLS.clear()
    with pytest.raises(ValueError, match="bad"):
        Context.local(tmp_path).map(write, ["one", "two", "bad", "four"])
    assert CALLS == ["bad"]


def test_shards_may_go_elsewhere_under_a_name_of_their_own(tmp_path: Path) -> None:
    ctx = Context.local(tmp_path)
    ctx.map(write, ["x"], into=ctx.scratch / "first")
    ctx.map(write, ["y"], name="second", into=ctx.scratch / "second")
    assert sorted(path.relative_to(ctx.scratch).as_posix() for path in digest.files_below(ctx.scratch)) == [
        "first/x",
        "second/y",
    ]
    assert ctx.map(write, []) == []


def test_a_value_that_is_no_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises((TypeError, ValueError)):
        Context.local(tmp_path).map(lambda item, folder: float("nan"), [1])


def test_what_is_said_goes_to_the_sink_and_the_last_metric_is_kept(tmp_path: Path) -> None:
    ctx, events = heard(tmp_path)
    ctx.log(step=1, loss=2.5)
    ctx.log(loss=1)
    ctx.progress(1, 2, "steps")
    ctx.note("a line")
    assert ctx.metrics == {"loss": 1.0}
    assert events == [
        ("metrics", {"step": 1, "values": {"loss": 2.5}}),
        ("metrics", {"step": None, "values": {"loss": 1.0}}),
        ("progress", {"done": 1, "total": 2, "unit": "steps"}),
        ("log", {"line": "a line"}),
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_metric_that_is_no_number_is_refused_by_name(tmp_path: Path, value: float) -> None:
    ctx = Context.local(tmp_path)
    with pytest.raises(ValueError, match="metric loss"):
        ctx.log(loss=value)
    assert ctx.metrics == {}


def test_what_is_committed_in_scratch_survives_and_the_rest_does_not(tmp_path: Path) -> None:
    ctx = Context.local(tmp_path)
    (ctx.scratch / "kept").write_text("x")
    (ctx.scratch / "lost").write_text("x")
    ctx.commit(ctx.scratch / "kept")
    assert [path.name for path in Context.local(tmp_path).scratch.iterdir()] == ["kept"]


def test_what_is_kept_takes_the_place_of_what_was_kept_and_survives(tmp_path: Path) -> None:
    ctx = Context.local(tmp_path)
    for at in (1, 2.5, 1_200):
        (ctx.scratch / "state").write_text(f"{at}")
        ctx.keep(ctx.scratch / "state", at=at)
    assert [path.name for path in (tmp_path / "resume").iterdir()] == ["1200"]
    again = Context.local(tmp_path)
    earlier = again.earlier(beyond=7)
    assert earlier and (earlier.at, (earlier.path / "state").read_text()) == (1_200, "1200")
    assert again.earlier(beyond=1_200) is None


def test_a_kill_before_an_older_state_is_removed_leaves_the_newer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as cut:
        cut.setattr(Workspace, "_keep_only", lambda self, at: None)
        for at in (9, 10):
            ctx = Context.local(tmp_path)
            (ctx.scratch / "state").write_text(f"{at}")
            ctx.keep(ctx.scratch / "state", at=at)
        assert len([*(tmp_path / "resume").iterdir()]) == 2
    earlier = Context.local(tmp_path).earlier()
    assert earlier and earlier.at == 10 and [path.name for path in (tmp_path / "resume").iterdir()] == ["10"]


def test_a_gang_of_one_is_a_call_and_a_larger_one_needs_another_executor(tmp_path: Path) -> None:
    ctx = Context.local(tmp_path)
    assert ctx.gang(lambda: 7) == [7]
    with pytest.raises(ValueError, match="ray executor"):
        ctx.gang(lambda: 7, workers=2)


def test_digests_are_of_content_and_names_alone(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b").write_text("b")
    (tmp_path / "a").write_text("a")
    assert [path.name for path in digest.files_below(tmp_path)] == ["a", "b"]
    record = digest.of_file(tmp_path / "a")
    assert (record.size, record.sha256) == (1, digest.of_bytes(b"a"))
    assert digest.of_files({"x": record, "y": record}) == digest.of_files({"y": record, "x": record})
    assert digest.of_files({"x": record}) != digest.of_files({"y": record})
    with pytest.raises(ValueError):
        digest.of_json(float("nan"))
