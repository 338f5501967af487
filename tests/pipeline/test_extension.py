"""Extension: asking for more goes on from what a shorter attempt kept, to the bytes of one long run, and never from anything else."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import Dag, DagError
from pipeline.executor import Inline
from pipeline.manifest import Manifest
from pipeline.outcome import Outcome
from pipeline.plan import plan
from pipeline.request import Request
from pipeline.run import run
from pipeline.store import Store, place_of
from pipeline.workspace import Workspace
from tests.pipeline.folding import Fold, Late, fold
from tests.pipeline.objects import files
from tests.pipeline.toys import Say


def execute(dag: Dag, root: Path | str, **request: object) -> Outcome:
    return run(
        dag, Store(str(root)), name="toys", dials={}, executor=Inline, request=Request(**request)  # type: ignore[arg-type]
    )  # fmt: skip


def made(dag: Dag, root: Path | str, **request: object) -> Manifest:
    outcome = execute(dag, root, **request)
    assert outcome.ok, outcome.faults
    return outcome.manifests["fold"]


def numbers(trace: Path) -> list[int]:
    """Which numbers were folded since this was last asked."""
    found = [int(line) for line in trace.read_text().split()]
    trace.write_text("")
    return found


def reason(dag: Dag, root: Path | str) -> str:
    return plan(dag, Store(str(root))).entries["fold"].reason


def whole(root: Path, **settings: object) -> Manifest:
    """The same, made in one go in a store of its own."""
    found = made(fold(**settings), root / "whole")
    assert not found.extended_from
    Path(str(settings["trace"])).write_text("")
    return found


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    (tmp_path / "trace").touch()
    return tmp_path / "trace"


def test_more_is_made_from_where_no_count_changes_anything_and_is_what_one_long_run_makes(
    tmp_path: Path, trace: Path
) -> None:
    undisturbed = whole(tmp_path, count=40, trace=str(trace))
    short = made(fold(count=20, trace=str(trace)), tmp_path)
    assert (short.resume_at, short.extends, short.extended_from, numbers(trace)) == (12, "count", "", [*range(20)])
    assert list(short.resume) == ["12/state.json"] and list(short.files) == ["folded.txt"]
    assert reason(fold(count=40, trace=str(trace)), tmp_path) == "extend 20 → 40"
    long = made(fold(count=40, trace=str(trace)), tmp_path)
    assert numbers(trace) == [*range(12, 40)]
    assert (long.digest, long.resume_at, long.extended_from) == (undisturbed.digest, 24, short.attempt)
    assert reason(fold(count=40, trace=str(trace)), tmp_path) == ""


def test_the_plan_expects_the_part_that_is_still_to_be_done(tmp_path: Path) -> None:
    made(fold(count=2_000), tmp_path)
    entry = plan(fold(count=4_000), Store(str(tmp_path))).entries["fold"]
    assert (entry.state, entry.reason) == ("run", "extend 2,000 → 4,000")
    assert entry.last_cost and entry.forecast.seconds == pytest.approx(entry.last_cost.wall_seconds * 2 * 0.7)
    assert entry.forecast.basis == "last run × 2 count, 70% of it left"


def test_of_several_attempts_the_furthest_is_gone_on_from_and_an_extension_is_one_of_them(
    tmp_path: Path, trace: Path
) -> None:
    undisturbed = whole(tmp_path, count=100, trace=str(trace))
    for count in (30, 10, 60):
        made(fold(count=count, trace=str(trace)), tmp_path)
    assert numbers(trace) == [*range(30), *range(10), *range(18, 60)]
    long = made(fold(count=100, trace=str(trace)), tmp_path)
    assert numbers(trace) == [*range(36, 100)] and long.digest == undisturbed.digest
    middle = made(fold(count=50, trace=str(trace)), tmp_path)
    assert numbers(trace) == [*range(18, 50)] and middle.resume_at == 30


@pytest.mark.parametrize(
    "other", [{"seed": 2}, {"words": "b"}, {"count": 20}, {"count": 19}, {"count": 41}, {"settled": 0.5}]
)
def test_whatever_else_differs_it_begins_anew(tmp_path: Path, trace: Path, other: dict[str, object]) -> None:
    short = made(fold(count=20, trace=str(trace)), tmp_path)
    numbers(trace)
    dag = fold(**({"count": 40, "trace": str(trace)} | other))  # type: ignore[arg-type]
    assert "extend" not in reason(dag, tmp_path)
    again = made(dag, tmp_path)
    assert again == short if other == {"count": 20} else numbers(trace)[0] == 0 and not again.extended_from


def test_what_other_code_kept_is_left_alone(tmp_path: Path, trace: Path) -> None:
    short = made(fold(count=20, trace=str(trace)), tmp_path)
    path = tmp_path / place_of(short) / "manifest.json"
    path.write_text(path.read_text().replace(short.code.digest, "0" * 64))
    numbers(trace)
    assert "extend" not in reason(fold(count=40, trace=str(trace)), tmp_path)
    assert not made(fold(count=40, trace=str(trace)), tmp_path).extended_from and numbers(trace) == [*range(40)]


def test_with_nothing_settled_nothing_is_kept_and_with_all_settled_the_end_is(tmp_path: Path, trace: Path) -> None:
    assert made(fold(count=20, settled=0, trace=str(trace)), tmp_path).resume_at is None
    assert made(fold(count=20, settled=1, trace=str(trace)), tmp_path).resume_at == 20
    numbers(trace)
    assert not made(fold(count=40, settled=0, trace=str(trace)), tmp_path).extended_from
    assert numbers(trace) == [*range(40)]
    assert made(fold(count=40, settled=1, trace=str(trace)), tmp_path).resume_at == 40
    assert numbers(trace) == [*range(20, 40)]


@pytest.mark.parametrize("harm", ["altered", "missing", "dropped"])
def test_a_state_that_is_not_what_it_was_is_told_and_the_next_best_is_taken(
    tmp_path: Path, trace: Path, harm: str
) -> None:
    undisturbed = whole(tmp_path, count=40, trace=str(trace))
    made(fold(count=10, trace=str(trace)), tmp_path)
    short = made(fold(count=20, trace=str(trace)), tmp_path)
    folder = tmp_path / place_of(short) / "resume"
    if harm == "altered":
        (folder / "12" / "state.json").write_text("[12, 777777]")
    elif harm == "missing":
        (folder / "12" / "state.json").unlink()
    else:
        shutil.rmtree(folder)
    numbers(trace)
    outcome = execute(fold(count=40, trace=str(trace)), tmp_path)
    assert outcome.manifests["fold"].digest == undisturbed.digest and numbers(trace) == [*range(6, 40)]
    events = "".join(path.read_text() for path in (tmp_path / ".runs" / outcome.run / "events").rglob("*.jsonl"))
    assert (f"not going on from {short.attempt}" in events) == (harm != "dropped")


def killed(root: Path | str, *, before: str = "", **settings: object) -> None:
    """Make it in a process of its own, which kills itself; `before` is done there first."""
    asked = f"execute(fold(**{settings!r}), {str(root)!r})"
    script = f"from tests.pipeline.test_extension import execute, fold\n{before}\n{asked}"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL


@pytest.mark.parametrize(("die_at", "first"), [(15, 12), (22, 20), (24, 24), (25, 24), (37, 36)])
def test_a_killed_extension_goes_on_from_its_own_commits_where_they_are_further(
    tmp_path: Path, trace: Path, die_at: int, first: int
) -> None:
    undisturbed = whole(tmp_path, count=40, trace=str(trace))
    trace.write_text(f"{die_at}\n")  # the short one is not to die
    short = made(fold(count=20, trace=str(trace), die_at=die_at), tmp_path)
    numbers(trace)
    killed(tmp_path, count=40, trace=str(trace), die_at=die_at)
    assert trace.read_text().split()[0] == "12"
    found = len(trace.read_text().split())
    long = made(fold(count=40, trace=str(trace), die_at=die_at), tmp_path)
    assert (numbers(trace)[found:], long.digest) == ([*range(first, 40)], undisturbed.digest)
    assert (long.extended_from, long.resume_at, list(long.resume)) == (short.attempt, 24, ["24/state.json"])


def test_a_killed_beginner_goes_over_to_what_a_shorter_attempt_kept_further_on(tmp_path: Path, trace: Path) -> None:
    killed(tmp_path, count=40, trace=str(trace), die_at=39)
    trace.write_text("39\n")
    assert Workspace(next((tmp_path / ".partial" / "fold").glob("*/2*"))).kept() == 24
    short = made(fold(count=39, settled=1, trace=str(trace), die_at=39), tmp_path)
    assert short.resume_at == 39
    numbers(trace)
    trace.write_text("39\n")
    assert not made(fold(count=40, trace=str(trace), die_at=39), tmp_path).extended_from
    assert numbers(trace) == [39, *range(36, 40)]


@pytest.mark.parametrize("tree", ["resume", "data"])
def test_a_kill_in_the_middle_of_publishing_loses_no_state(tmp_path: Path, trace: Path, tree: str) -> None:
    dying = f"""import os, signal
from pipeline.files import LocalFiles
put = LocalFiles.publish
def publish(self, folder, name, stamps):
    put(self, folder, name, stamps)
    if name.startswith("fold") and name.endswith({tree!r}):
        os.kill(os.getpid(), signal.SIGKILL)
LocalFiles.publish = publish"""
    killed(tmp_path, before=dying, count=20, trace=str(trace))
    numbers(trace)
    short = made(fold(count=20, trace=str(trace)), tmp_path)
    assert (numbers(trace), short.resume_at) == ([], 12)
    assert Store(str(tmp_path)).resume(short).joinpath("12/state.json").exists()
    assert made(fold(count=40, trace=str(trace)), tmp_path).extended_from == short.attempt


def test_a_kill_while_a_state_is_being_kept_loses_what_came_since_the_last_commit(tmp_path: Path, trace: Path) -> None:
    dying = """import os, signal
from pipeline.workspace import Workspace
commit = Workspace.commit
def dying(self, path, tag="", value=None):
    os.kill(os.getpid(), signal.SIGKILL) if tag == "kept" else commit(self, path, tag, value)
Workspace.commit = dying"""
    killed(tmp_path, before=dying, count=20, trace=str(trace))
    assert numbers(trace) == [*range(12)]
    assert made(fold(count=20, trace=str(trace)), tmp_path).resume_at == 12 and numbers(trace) == [*range(8, 20)]


def test_what_is_there_and_asked_for_anew_begins_anew_and_what_was_dropped_or_only_chosen_does_not(
    tmp_path: Path, trace: Path
) -> None:
    made(fold(count=20, trace=str(trace)), tmp_path)
    numbers(trace)
    long = made(fold(count=40, trace=str(trace)), tmp_path, only="fold")
    assert long.extended_from and numbers(trace) == [*range(12, 40)]
    (tmp_path / place_of(long) / "dropped.json").write_text("{}")
    assert "its data was dropped, and the dag is for it; extend 20 → 40" in reason(
        fold(count=40, trace=str(trace)), tmp_path
    )
    assert made(fold(count=40, trace=str(trace)), tmp_path).extended_from and numbers(trace) == [*range(12, 40)]
    assert not made(fold(count=40, trace=str(trace)), tmp_path, rebuild=("fold",)).extended_from
    assert numbers(trace) == [*range(40)]


def test_a_state_that_more_would_change_cannot_be_kept(tmp_path: Path) -> None:
    outcome = execute(Dag(Late(words=Say().out)), tmp_path)
    assert "a state at 20: it would have to stand at most at 12" in str(outcome.faults["late"])


def test_a_stage_extends_along_one_of_its_settings() -> None:
    with pytest.raises(DagError, match="Odd extends along 'counts', which is none of its settings"):

        class Odd(Fold):
            """Misspelt."""

            extends = "counts"


@pytest.mark.slow
def test_it_is_the_same_on_an_object_store_and_on_machines_that_have_seen_nothing(
    s3_url: str, tmp_path: Path, trace: Path
) -> None:
    trace.write_text("29\n")  # this one is not to die
    undisturbed = whole(tmp_path, count=40, trace=str(trace), die_at=29)
    short = made(fold(count=20, trace=str(trace), die_at=29), s3_url)
    numbers(trace)
    shutil.rmtree(tmp_path / "cache")
    killed(s3_url, count=40, trace=str(trace), die_at=29)
    shutil.rmtree(tmp_path / "cache")
    long = made(fold(count=40, trace=str(trace), die_at=29), s3_url)
    assert numbers(trace) == [*range(12, 30), *range(28, 40)]
    assert (long.digest, long.extended_from, long.resume_at) == (undisturbed.digest, short.attempt, 24)
    shutil.rmtree(tmp_path / "cache")
    files(s3_url).replace(f"{place_of(long)}/resume/24/state.json", b"[24, 777777]")
    trace.write_text("29\n")
    assert reason(fold(count=80, trace=str(trace), die_at=29), s3_url) == "extend 40 → 80"
    assert made(fold(count=80, trace=str(trace), die_at=29), s3_url).extended_from == short.attempt
    assert numbers(trace) == [29, *range(12, 80)]
