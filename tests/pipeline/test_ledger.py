"""The ledger: what runs did and cost, what an artifact is, where two differ; read from records alone, never with a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pipeline import Dag, UsageError, ledger
from pipeline.catalogue import everything, find, find_artifact
from pipeline.compare import artifacts
from pipeline.executor import Inline
from pipeline.lease import held
from pipeline.ledger import Account
from pipeline.ledger_lines import runs_table
from pipeline.manifest import Manifest
from pipeline.resources import Resources
from pipeline.run import run
from pipeline.spent import BEAT_SECONDS
from pipeline.store import Store, place_of
from pipeline.tables import dollars
from tests.pipeline.test_cli import HEAVY, corpusmill
from tests.pipeline.toys import Fails, Say, Upper, line

PRICED = Resources(dollars_per_hour=36)


def execute(root: Path, dag: Dag, name: str = "line", **dials: Any) -> str:
    return run(dag, Store(str(root)), name=name, dials=dials, executor=Inline).run


def account(root: Path, name: str) -> Account:
    found = ledger.account(Store(str(root)), name)
    assert isinstance(found, Account), found
    return found


def told(home: Path, *words: str) -> str:
    done = corpusmill(home, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_finished_run_is_accounted_for_stage_by_stage(tmp_path: Path) -> None:
    dag = Dag(Upper(words=Say(resources=PRICED).out, resources=PRICED))
    one = account(tmp_path, execute(tmp_path, dag, limit=3))
    assert (one.ended, one.dag, one.dials, one.executor) == ("done", "line", {"limit": 3}, "inline")
    assert {label: (stage.state, stage.reason) for label, stage in one.stages.items()} == {
        "say": ("finished", "never built"),
        "upper": ("finished", "never built"),
    }
    made = Store(str(tmp_path)).manifest(one.stages["upper"].attempt)
    assert made and made.label == "upper"
    assert one.cost.wall_seconds == pytest.approx(
        sum(stage.cost.wall_seconds for stage in one.stages.values()), abs=0.01
    )
    assert one.cost.dollars == pytest.approx(one.cost.wall_seconds / 100, abs=1e-4) and one.lost.wall_seconds == 0
    again = account(tmp_path, execute(tmp_path, Dag(Upper(words=Say().out, limit=1))))
    assert again.stages["say"].state == "cached" and again.stages["say"].attempt == one.stages["say"].attempt
    assert again.stages["say"].cost.wall_seconds == 0, "what is cached costs nothing again"
    assert ledger.runs(Store(str(tmp_path))) == [again.run, one.run]


def test_dollars_are_told_as_far_as_they_are_known(tmp_path: Path) -> None:
    one = account(tmp_path, execute(tmp_path, Dag(Upper(words=Say(resources=PRICED).out))))
    assert one.cost.dollars is None and one.priced == one.stages["say"].cost.dollars
    (_, row) = runs_table([one], False)
    assert f"  ≥ {dollars(one.priced)}  " in row


def test_a_failed_run_names_the_fault_and_what_was_lost_to_it(tmp_path: Path) -> None:
    one = account(tmp_path, execute(tmp_path, Dag(Upper(words=Fails(words=Say().out).out))))
    states = {label: stage.state for label, stage in one.stages.items()}
    assert one.ended == "failed" and states == {"say": "finished", "fails": "failed", "upper": "skipped"}
    assert "a bug" in one.stages["fails"].fault and one.stages["fails"].lost.wall_seconds > 0
    assert one.lost.wall_seconds == one.stages["fails"].lost.wall_seconds


def driver(root: Path, trace: Path) -> subprocess.Popen[bytes]:
    script = f"""
from pathlib import Path
from pipeline import Dag
from tests.pipeline.test_ledger import execute
from tests.pipeline.toys import Breathes, Say, Upper
slow = Breathes(words=("a", "b"), seconds=(0.2, 600), trace={str(trace)!r})
execute(Path({str(root)!r}), Dag(Upper(words=slow.out)), "slow")
"""
    return subprocess.Popen([sys.executable, "-c", script])


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_run_is_running_until_it_is_killed_and_what_it_lost_is_read_from_its_events(tmp_path: Path) -> None:
    root, trace, began = tmp_path / "store", tmp_path / "trace", time.monotonic()
    with driver(root, trace) as process:
        try:
            until(lambda: trace.exists() and trace.read_text() == "ab")  # what came of the first word is committed
            (name,), least = ledger.runs(Store(str(root))), max(time.monotonic() - began, BEAT_SECONDS)
            until(lambda: account(root, name).cost.wall_seconds > least)  # and a beat has told of it
            during = account(root, name)
        finally:
            process.kill()
    after = account(root, name)
    assert (during.ended, during.stages["breathes"].state, during.stages["upper"].state) == (
        "running",
        "running",
        "not begun",
    )
    assert (after.ended, after.stages["breathes"].state, after.stages["upper"].state) == (
        "killed",
        "killed",
        "not begun",
    )
    assert during.cost.wall_seconds > least and during.lost.wall_seconds == 0, "it may still come to something"
    assert 0 < after.lost.wall_seconds < after.cost.wall_seconds


def test_a_run_that_ends_while_it_is_looked_at_was_not_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, store, driving = execute(tmp_path, line()), Store(str(tmp_path)), ExitStack()
    store.files.remove(f".runs/{name}/{ledger.SETTLED}")
    driving.enter_context(held(store.logs(name).with_name("lease")))
    read = store.files.read

    def ends(asked: str) -> bytes:
        if asked.endswith("/end.json"):
            driving.close()
            raise FileNotFoundError
        return read(asked)

    with monkeypatch.context() as patch:
        patch.setattr(store.files, "read", ends)
        during = ledger.account(store, name)
    assert isinstance(during, Account) and during.ended == "running" and account(tmp_path, name).ended == "done"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose store holds three runs of two dags, the last of them failed."""
    home = tmp_path_factory.mktemp("home")
    execute(home / "store", line(), words="one two", limit=3)
    execute(home / "store", line(limit=2), words="one two", limit=2)
    execute(home / "store", Dag(Fails(words=Say(words=("c",)).out)), "fails")
    return home


def artifact(home: Path, name: str, dag: str = "") -> Manifest:
    return find_artifact(Store(str(home / "store")), name, dag)


def test_a_label_means_what_the_newest_run_has_of_it(home: Path) -> None:
    newest = artifact(home, "upper")
    assert newest.settings["limit"] == 2
    assert artifact(home, place_of(newest)) == newest
    assert (
        artifact(home, f"upper/{newest.key}")
        == artifact(home, f"upper/{newest.key[:6]}/{newest.attempt[:9]}")
        == newest
    )
    assert artifact(home, str(home / "store" / place_of(newest) / "data")) == newest
    assert (
        artifact(home, newest.digest[:8]) == artifact(home, newest.key[:8]) == artifact(home, newest.attempt) == newest
    )
    cached = artifact(home, "say", "line")
    assert cached.attempt == newest.inputs["words"].attempt


@pytest.mark.parametrize(
    ("name", "dag", "message"),
    [
        ("say", "", "say may mean 2 things: --dag fails, --dag line"),
        ("uper", "", "nothing in .* is called 'uper'\n.*did you mean 'upper'"),
        ("zzz", "", "nothing in .* is called 'zzz'\n.*corpusmill runs"),
        ("upper", "fails", "no run of dag 'fails' in .* has made 'upper'\n.*it is of: line"),
        ("upper/ffff", "", "there is no artifact upper/ffff"),
        ("upper/", "", "upper/ may mean 2 things: upper/"),
        ("20", "", "nothing in .* is called '20'"),
        ("2026", "", "2026 may mean"),
    ],
)
def test_what_is_unknown_or_ambiguous_is_one_error_that_names_the_candidates(
    home: Path, name: str, dag: str, message: str
) -> None:
    name = name.replace("2026", time.strftime("%Y", time.gmtime()))
    with pytest.raises(UsageError, match=message.replace("2026", time.strftime("%Y", time.gmtime()))):
        find(Store(str(home / "store")), name, dag)


def test_runs_lists_the_newest_first_as_a_table_and_as_json(home: Path) -> None:
    rows = told(home, "runs").splitlines()
    assert rows[0].split() == ["run", "began", "ended", "took", "CPU", "lost", "stages", "dag"], (
        "nothing here has a price"
    )
    assert [("failed" in row, "limit=2" in row, "limit=3" in row) for row in rows[1:]] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]
    listed = json.loads(told(home, "runs", "--json", "--limit", "2"))
    assert [(one["dag"], one["ended"]) for one in listed] == [("fails", "failed"), ("line", "done")]
    assert "… and 2 older" in told(home, "runs", "--limit", "1")


def test_show_tells_a_run_and_an_artifact(home: Path) -> None:
    last = told(home, "show")
    assert "failed" in last and "a bug" in last
    shown = told(home, "show", "say", "--dag", "line")
    assert "Say" in shown and "['one', 'two']" in shown and "made from it" in shown and "upper/" in shown
    record = json.loads(told(home, "show", "upper", "--json"))
    assert (
        record["settings"] == {"limit": 2, "words": {"$input": "Words"}} and record["inputs"]["words"]["label"] == "say"
    )
    assert record["cost"]["wall_seconds"] >= 0 and record["dropped"] == "" and record["kept"] == []


def test_diff_tells_only_what_differs_between_artifacts_and_between_runs(home: Path) -> None:
    store = Store(str(home / "store"))
    newer, older = (made for made in everything(store).manifests if made.label == "upper")
    found = json.loads(told(home, "diff", place_of(older), place_of(newer), "--json"))
    assert found["settings"] == {"limit": [3, 2]} and found["metrics"] == {"letters": [7, 5]}
    assert not {"inputs", "code", "packages", "environment", "machine"} & set(found)
    second, first = ledger.runs(store)[1:]
    shown = told(home, "diff", first, second)
    assert (
        "dials\n  limit  3 → 2\n" in shown
        and "upper: settings\n  limit  3 → 2\n" in shown
        and "say: artifact" not in shown
    )
    assert "dag  line → fails" in told(home, "diff"), "the last two runs"
    assert corpusmill(home, "diff", first).returncode == 2
    assert told(home, "diff", first, first) == "no difference in anything that is recorded\n"
    assert corpusmill(home, "diff", first, place_of(newer)).returncode == 2


def test_a_difference_in_code_is_told_by_definition(home: Path) -> None:
    made = artifact(home, "upper")
    other = made.code.model_copy(
        update={"definitions": {**made.code.definitions, "a.py:new": "1"}, "packages": {"x": "2"}}
    )
    found = artifacts(made, made.model_copy(update={"code": other}))
    assert found == {"code": {"a.py:new": (None, "1")}, "packages": {"x": (None, "2")}}


def test_a_record_that_is_cut_short_is_told_and_the_rest_is_listed(home: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    execute(store, line())
    name = execute(store, line(limit=1))
    (made,) = [one for one in everything(Store(str(store))).manifests if one.settings.get("limit") == 1]
    own = store / ".runs" / name
    for record in (store / place_of(made) / "manifest.json", own / "end.json", own / ledger.SETTLED):
        record.write_text(record.read_text()[:40])
    (store / ".runs" / "20990101-000000-000aaa").mkdir()
    chunk = max((store / ".runs" / name / "events" / "upper").glob("*.jsonl"))
    chunk.write_text(chunk.read_text() + '{"label": ')
    pin = store / ".pins" / "x" / "1.json"
    pin.parent.mkdir(parents=True)
    pin.write_text("{")
    for words in (["runs"], ["show", name], ["show", "say"], ["runs", "--json"]):
        done = corpusmill(tmp_path, *words)
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
        assert "warning: " in done.stderr, words
    assert corpusmill(tmp_path, "show", "20990101-000000-000aaa").stderr.startswith("error: ")
    assert corpusmill(tmp_path, "show", "upper").stderr.startswith("error: "), "its newest manifest cannot be read"
    assert corpusmill(home, "show", "--store", str(tmp_path / "none")).returncode == 2


def test_the_ledger_imports_nothing_heavy_and_writes_nothing(home: Path, unmeasured: dict[str, str]) -> None:
    before = sorted(home.rglob("*"))
    script = f"""
import resource, sys
from pipeline.cli import main
sys.argv = ["corpusmill", "show", "upper", "--store", {str(home / "store")!r}]
try:
    main()
except SystemExit as end:
    assert end.code == 0
assert not {{name for name in sys.modules if name.split(".")[0] in {HEAVY!r}}}
print(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))
"""
    done = subprocess.run([sys.executable, "-c", script], env=unmeasured, capture_output=True, text=True, check=True)
    assert float(done.stdout.splitlines()[-1]) < 1.5
    assert sorted(home.rglob("*")) == before
