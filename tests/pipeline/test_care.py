"""Care for a store: every byte is read again, and what nothing needs goes, never more, whenever it is interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import Dag, StoreError, UsageError, care, digest, ledger
from pipeline.catalogue import everything, find_artifact
from pipeline.keeping import dropped, pin, pins
from pipeline.lease import held
from pipeline.manifest import Manifest, Registration
from pipeline.store import Store, place_of
from tests.pipeline.test_cli import corpusmill
from tests.pipeline.test_ledger import execute, told
from tests.pipeline.toys import Fails, Join, Say, Upper

LATER = time.time() + 31 * care.DAY


def made(root: Path, label: str) -> Manifest:
    return find_artifact(Store(str(root)), label)


def data(root: Path, manifest: Manifest) -> Path:
    return root / place_of(manifest) / "data"


def register(root: Path, manifest: Manifest) -> None:
    about = {"stage": manifest.stage, "key": manifest.key, "attempt": manifest.attempt, "when": 1.0}
    Store(str(root)).register(Registration(name="line", version="1", alias="champion", **about))


def swept(root: Path, now: float = LATER, drop: list[Manifest] | None = None) -> list[str]:
    """The labels that a sweep drops, sorted."""
    store = Store(str(root))
    found = care.survey(store, 30, drop or [], now)
    care.sweep(store, found)
    return sorted(manifest.label for manifest in found.drops)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store in which a dag of three stages was run."""
    root = tmp_path / "store"
    say = Say()
    execute(root, Dag(Upper(words=Join(parts=(say.out,)).out)))
    return root


def damage(root: Path) -> None:
    say, join, upper = (data(root, made(root, label)) for label in ("say", "join", "upper"))
    before = (upper / "upper.txt").stat()
    (upper / "upper.txt").write_text("a b C")  # the same length, at the same time
    os.utime(upper / "upper.txt", ns=(before.st_atime_ns, before.st_mtime_ns))
    (say / "000.txt").unlink()
    (join / "stray.txt").write_text("x")


def test_verify_finds_what_is_missing_corrupt_and_extra_and_reads_every_byte(root: Path) -> None:
    store = Store(str(root))
    damage(root)
    sizes: list[int] = []
    found = [one for manifest in care.chosen(store, [])[0] for one in care.verify(store, manifest, sizes.append)]
    assert sorted((one.manifest.label, one.file, one.what) for one in found) == [
        ("join", "data/stray.txt", "extra"),
        ("say", "data/000.txt", "missing"),
        ("upper", "data/upper.txt", "corrupt"),
    ]
    assert sum(sizes) == sum(manifest.size for manifest in everything(store).manifests)
    with pytest.raises(StoreError, match="not what its manifest says"):
        store.data(made(root, "upper"))  # though it was remembered as sound


def test_verify_on_the_command_line_ends_with_the_list_and_the_mend(root: Path) -> None:
    home = root.parent
    assert "3 artifacts, 13 B: every byte is as recorded" in told(home, "verify")
    damage(root)
    bad = root / place_of(made(root, "say")) / "manifest.json"
    bad.write_text(bad.read_text()[:50])
    done = corpusmill(home, "verify")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"corrupt  {data(root, made(root, 'upper'))}/upper.txt" in done.stdout
    assert f"unreadable {bad}" in done.stdout
    assert "2 files are not as recorded, 1 manifest cannot be read" in done.stderr and "--rebuild upper" in done.stderr
    assert corpusmill(home, "verify", "join").returncode == 1
    unknown = corpusmill(home, "verify", "uper")
    assert unknown.returncode == 2 and "did you mean 'upper'" in unknown.stderr


def test_what_is_young_stays_and_goes_when_it_is_old(root: Path) -> None:
    assert swept(root, time.time()) == []
    assert swept(root) == ["join", "say", "upper"]


def test_a_run_keeps_what_it_used_as_long_as_the_run_is_young(root: Path) -> None:
    store = Store(str(root))
    for manifest in everything(store).manifests:  # made long ago, as is the run that made them
        age(root / place_of(manifest) / "manifest.json", "created")
    (run,) = ledger.runs(store)
    age(root / ".runs" / run / ledger.SETTLED, "started")
    execute(root, Dag(Upper(words=Join(parts=(Say().out,)).out, limit=1)))  # uses say and join today
    assert swept(root, time.time()) == ["upper"], "the upper of long ago"


def age(path: Path, name: str) -> None:

    record = json.loads(path.read_text())
    record[name] -= 40 * care.DAY
    path.write_text(json.dumps(record))


def test_a_pin_keeps_an_artifact_and_its_ancestors_until_it_is_taken_away(root: Path) -> None:
    store = Store(str(root))
    join = made(root, "join")
    pin(store, join, "a good one")
    assert [word.why for word in pins(store).values()] == ["a good one"]
    assert swept(root) == ["upper"] and data(root, join).exists()
    pin(store, join, "", pinned=False)
    assert not pins(store) and swept(root) == ["join", "say"]


def test_a_registered_model_keeps_its_ancestors_unless_one_is_named(root: Path) -> None:
    store = Store(str(root))
    register(root, made(root, "upper"))
    assert swept(root) == []
    say = made(root, "say")
    assert swept(root, drop=[say]) == ["say"]
    gone = dropped(store, say)
    assert gone and gone.size == say.size and not data(root, say).exists() and store.manifest(place_of(say)) == say
    with pytest.raises(UsageError, match="was dropped before"):
        care.survey(store, 30, [say])
    assert data(root, made(root, "upper")).exists() and data(root, made(root, "join")).exists()


def test_what_was_adopted_is_never_dropped_unasked(root: Path) -> None:
    manifest = made(root, "say")
    file = root / place_of(manifest) / "manifest.json"
    file.write_text(manifest.model_copy(update={"origin": {"from": "elsewhere"}}).model_dump_json())
    assert swept(root) == ["join", "upper"]


def test_a_dropped_artifact_that_is_needed_is_built_again(root: Path) -> None:
    first = made(root, "say")
    swept(root)
    execute(root, Dag(Upper(words=Join(parts=(Say().out,)).out)))
    again = made(root, "say")
    assert again.attempt != first.attempt and again.digest == first.digest and data(root, again).exists()


def test_what_is_pinned_or_in_use_cannot_be_dropped_by_name(root: Path) -> None:
    store, say = Store(str(root)), made(root, "say")
    (run,) = ledger.runs(store)
    for record in ("end.json", ledger.SETTLED):
        (root / ".runs" / run / record).unlink()
    with held(store.logs(run).with_name("lease")), pytest.raises(UsageError, match="in use by a run"):
        care.survey(store, 30, [say])
    pin(store, say, "")
    with pytest.raises(UsageError, match="is pinned\n.*corpusmill unpin"):
        care.survey(store, 30, [say])


def test_nothing_goes_while_a_record_cannot_be_read(root: Path) -> None:
    file = root / place_of(made(root, "upper")) / "manifest.json"
    file.write_text("{")
    with pytest.raises(StoreError, match="while a manifest cannot be read.*\n.*corpusmill verify"):
        swept(root)
    assert data(root, made(root, "say")).exists()


def test_scratch_of_long_ago_goes_and_that_which_is_held_stays(root: Path) -> None:
    execute(root, Dag(Fails(words=Say().out)))
    (scratch,) = (root / ".partial").glob("fails/*/*-*")
    assert care.survey(Store(str(root)), 30, now=time.time()).partials == {}
    with held(scratch.parent / "lease"):
        swept(root)
        assert scratch.exists()
    swept(root)
    assert not scratch.exists()


def test_scratch_that_changes_while_it_is_looked_at_stays(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    execute(root, Dag(Fails(words=Say().out)))
    below = digest.files_below

    def working(folder: Path) -> list[Path]:
        found = below(folder)
        found[0].unlink()
        return found

    monkeypatch.setattr(digest, "files_below", working)
    assert care.survey(Store(str(root)), 30, now=LATER).partials == {}


def test_events_of_long_ago_go_and_the_accounts_stay(root: Path) -> None:
    store = Store(str(root))
    before = {run: ledger.account(store, run) for run in ledger.runs(store)}
    swept(root)
    assert not list((root / ".runs").glob("*/events")) and before
    assert {run: ledger.account(store, run) for run in ledger.runs(store)} == before
    assert care.survey(store, 30, now=LATER).empty


def test_gc_says_what_it_frees_and_asks_first(root: Path) -> None:
    home = root.parent
    shown = told(home, "gc", "--keep-days", "0", "--dry-run")
    assert [row.split()[:3] for row in shown.splitlines()[1:4]] == [
        ["join", "1", "5"],
        ["say", "1", "3"],
        ["upper", "1", "5"],
    ]
    assert "13 B in all" in shown and care.verify(Store(str(root)), made(root, "say")) == []
    asked = corpusmill(home, "gc", "--keep-days", "0")
    assert asked.returncode == 3 and "add --yes" in asked.stderr
    told(home, "pin", "join", "--why", "it is good")
    told(home, "gc", "--keep-days", "0", "--yes")
    assert not data(root, made(root, "upper")).exists() and data(root, made(root, "say")).exists()
    lost = corpusmill(home, "pin", "upper")
    assert lost.returncode == 2 and "was dropped\n  → build it again first" in lost.stderr
    assert "pinned by" in told(home, "show", "join") and "dropped" in told(home, "show", "upper")
    assert told(home, "unpin", "join").startswith("unpinned join")
    again = told(home, "unpin", "join")
    assert again.startswith("join (join/") and again.endswith(") is not pinned\n")
    told(home, "gc", "--keep-days", "0", "--yes")
    assert told(home, "gc", "--keep-days", "0") == "nothing to remove\n"
    assert "0 artifacts" in told(home, "verify")


def test_what_a_run_found_complete_is_in_use_as_well(root: Path) -> None:
    store = Store(str(root))
    (run,) = ledger.runs(store)
    assert swept(root, time.time()) == []
    for manifest in everything(store).manifests:
        age(root / place_of(manifest) / "manifest.json", "created")
    age(root / ".runs" / run / ledger.SETTLED, "started")
    execute(root, Dag(Join(parts=(Say().out,))))
    assert ledger.runs(store) == [run], "nothing had to run"
    assert swept(root, time.time()) == ["upper"]


def test_killed_in_the_middle_the_next_gc_finishes(root: Path) -> None:
    script = f"""
import os, shutil, signal
from pathlib import Path
from pipeline import care
from pipeline.object_lease import kept
from pipeline.run import run
from pipeline.store import Store
real = shutil.rmtree
def dies(path, *rest, **more):
    next(one for one in Path(path).rglob("*") if one.is_file()).unlink()
    os.kill(os.getpid(), signal.SIGKILL)
shutil.rmtree = dies
store = Store({str(root)!r})
care.sweep(store, care.survey(store, 30, now={LATER}))
"""
    done = subprocess.run([sys.executable, "-c", script])
    assert done.returncode == -signal.SIGKILL
    store = Store(str(root))
    half = [one for one in everything(store).manifests if store.is_dropped(one)]
    assert len(half) == 1 and data(root, half[0]).exists(), "its data went in part"
    assert [one.label for one in care.chosen(store, [])[0]] == [
        one.label for one in everything(store).manifests if one != half[0]
    ]
    assert len(care.survey(store, 30, now=LATER).unfinished) == 1
    swept(root)
    assert not list(root.glob("*/*/*/data")) and len(everything(store).manifests) == 3
    assert care.survey(store, 30, now=LATER).empty
