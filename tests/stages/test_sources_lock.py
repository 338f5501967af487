"""sources.lock: what a dag reads from outside is pinned, a pin is identity, and what changed since is noticed before it counts."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from pipeline import Dag, SourceError, StageFailed, UsageError
from pipeline.canonical import key
from pipeline.cli import app
from pipeline.executor import Inline
from pipeline.job import Job
from pipeline.loading import load
from pipeline.plan import plan as make_plan
from pipeline.run import run
from pipeline.sources import read, sources, unpinned, write
from pipeline.store import Store
from pipeline.stream import Follower
from stages.collect import Collect
from stages.sources import Source
from tests.on_modal import until

DAG = """
from pipeline import Dag
from stages.collect import Collect
from stages.dedup import Dedup
from stages.sources import Source

PINNED = Source(at="fixed.txt", sha256="{pin}")

def texts(*, tales: str = "pypi:tiny-tales==1.0/tiny_tales/*.txt") -> Dag:
    own = Collect(source=Source(at="raw/*.txt", licence="MIT"), label="own")
    return Dag(Dedup(documents=own.out), Collect(source=tales, label="tales"), Collect(source=PINNED, label="fixed"))
"""
TALES = "pypi:tiny-tales==1.0/tiny_tales/*.txt"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with a dag of three sources: files, a package that only pip in this test finds, and one pinned in the dag."""
    import hashlib

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with zipfile.ZipFile(tmp_path / "tiny_tales-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("tiny_tales/a.txt", "Once upon a time.")
        archive.writestr("tiny_tales-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-tales\nVersion: 1.0\n")
        archive.writestr("tiny_tales-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("tiny_tales-1.0.dist-info/RECORD", "")
    home = tmp_path / "home"
    (home / "raw").mkdir(parents=True)
    (home / "raw" / "a.txt").write_text("A tale of one city.")
    (home / "fixed.txt").write_text("A tale that stays.")
    pin = hashlib.sha256(b"A tale that stays.").hexdigest()
    (home / "lock_texts.py").write_text(DAG.replace("{pin}", pin))
    monkeypatch.chdir(home)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "lock_texts", raising=False)
    return home


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What the command prints. Raises what ends it."""
    app([*words, "lock_texts.py:texts"], standalone_mode=False)
    return capsys.readouterr().out


def states(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """The state of each source, by its address, as `sources list` shows it."""
    lines = said(capsys, "sources", "list").splitlines()[1:]
    return {line.split("  ")[0]: next(word for word in line.split("  ")[1:] if word).strip() for line in lines}


def plan() -> None:
    make_plan(load("lock_texts.py:texts", [])[1], Store("store"))


def test_a_package_without_a_pin_takes_it_from_the_lock(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceError, match=r"is not pinned\n.*corpusmill sources update DAG"):
        plan()
    assert states(capsys) == {"raw/*.txt": "not pinned", TALES: "not pinned", "fixed.txt": "pinned"}
    assert f"{TALES}: pinned to " in said(capsys, "sources", "update")
    plan()
    assert states(capsys) == {"raw/*.txt": "pinned", TALES: "pinned", "fixed.txt": "pinned"}


def test_a_pin_from_the_lock_is_the_same_identity_as_one_in_the_dag(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "sources", "update")
    _, dag, _ = load("lock_texts.py:texts", [])
    pin = read(home / "sources.lock")[TALES]
    inline = Collect(source=Source(at=TALES, sha256=pin))
    assert key(dag.stages["tales"], {}) == key(inline, {})
    bare = Collect(source=Source(at="raw/*.txt", licence="MIT"))
    assert key(dag.stages["own"], {}) == key(bare, {}), "of a local source the content counts, pinned or not"
    assert list(dag.stages) == ["own", "dedup", "tales", "fixed"]
    assert dag.parents(dag.stages["dedup"]) == [dag.stages["own"]]
    outcome = run(dag, Store("store"), name="texts", dials={}, executor=Inline)
    assert outcome.ok, outcome.faults


def test_the_lock_is_sorted_text_that_names_the_digest_alone(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "sources", "update")
    text = (home / "sources.lock").read_text()
    entries = tomllib.loads(text)["source"]
    assert [entry["at"] for entry in entries] == [TALES, "raw/*.txt"] and text.startswith("# Written by `corpusmill")
    assert all(set(entry) == {"at", "sha256"} for entry in entries)


def test_a_changed_file_is_an_error_until_the_lock_is_written_anew(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "sources", "update")
    (home / "raw" / "a.txt").write_text("A tale of two cities.")
    assert states(capsys)["raw/*.txt"] == "changed since"
    with pytest.raises(SourceError, match=r"raw/\*.txt has sha256 .*\n.*corpusmill sources update DAG"):
        plan()
    before = read(home / "sources.lock")["raw/*.txt"]
    told = said(capsys, "sources", "update")
    assert f"raw/*.txt: {before[:12]} → {read(home / 'sources.lock')['raw/*.txt'][:12]}" in told
    assert f"{TALES}: unchanged" in told
    plan()
    (home / "raw" / "a.txt").unlink()
    assert states(capsys)["raw/*.txt"] == "missing"


def test_an_update_that_changes_nothing_leaves_the_file_alone_and_others_entries_stay(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "sources", "update")
    write(home / "sources.lock", read(home / "sources.lock") | {"of/another/dag": "0" * 64})
    before = (home / "sources.lock").stat()
    said(capsys, "sources", "update")
    assert (home / "sources.lock").stat().st_ino == before.st_ino
    (home / "raw" / "a.txt").write_text("A tale of three cities.")
    said(capsys, "sources", "update")
    assert read(home / "sources.lock")["of/another/dag"] == "0" * 64


def test_an_update_that_cannot_read_a_source_writes_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "raw" / "a.txt").unlink()
    with pytest.raises(SourceError, match=r"the source 'raw/\*.txt' does not exist"):
        said(capsys, "sources", "update")
    assert not list(home.glob("*.lock")) and not list(home.glob(".sources-*"))


def test_the_lock_stands_beside_the_dag_wherever_one_works(home: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "sources"]
    (home / "raw").rename(tmp_path / "raw")
    for verb, told in (("update", f"{home / 'sources.lock'}: 2 pinned"), ("list", "pinned")):
        done = subprocess.run(
            [*command, verb, f"{home}/lock_texts.py:texts"], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0 and told in done.stdout, done.stderr


@pytest.mark.parametrize(
    "text", ["[[source]]", '[[source]]\nat = "a"\nsha256 = "short"\n', "source = 3", "not toml", "source = [3]"]
)
def test_a_damaged_lock_is_one_clear_error(home: Path, text: str) -> None:
    (home / "sources.lock").write_text(text)
    with pytest.raises(UsageError, match=r"sources\.lock .*\n.*corpusmill sources update DAG"):
        load("lock_texts.py:texts", [])


def test_any_address_comes_back_from_the_lock_as_it_was(tmp_path: Path) -> None:
    pins = {at: "0" * 64 for at in ('a "quoted" \\ path', "tab\there", "ünï ✓ 🎈", "\x7f\x01", "new\nline")}
    write(tmp_path / "sources.lock", pins)
    assert read(tmp_path / "sources.lock") == pins


def test_sources_are_found_wherever_a_stage_holds_them(tmp_path: Path) -> None:
    stage = Collect(source="a.txt")
    assert list(sources(Dag(stage))) == ["a.txt"] and list(sources(Dag(stage))["a.txt"]) == ["collect.source"]
    assert unpinned(Dag(Collect(source=Source(at="a.txt", sha256="0" * 64)))) == {}


def test_a_source_that_is_edited_between_the_plan_and_its_stage_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("tale")
    stage = Collect(source=str(tmp_path / "a.txt"))
    job = Job.of(stage, [], run="r", store=str(tmp_path / "store"))
    job = Job.model_validate_json(job.model_dump_json())
    (tmp_path / "a.txt").write_text("tile")
    with pytest.raises(
        StageFailed, match="what stage 'collect' reads changed while the run was on: source.content .* → "
    ):
        job.resolve([])
    with pytest.raises(StageFailed, match="source.content"):
        job.execute([], executor="inline")
    assert not list((tmp_path / "store").glob("collect/*/*"))
    (tmp_path / "a.txt").write_text("tale")
    assert job.execute([], executor="inline").kind == "Documents"


def test_a_source_that_is_edited_while_its_stage_waits_for_another_run_is_noticed(tmp_path: Path) -> None:
    import threading

    (tmp_path / "a.txt").write_text("tale")
    stage = Collect(source=str(tmp_path / "a.txt"))
    store = Store(str(tmp_path / "store"))
    job = Job.of(stage, [], run="r", store=str(tmp_path / "store"))
    faults, told = list[BaseException](), Follower(store, "r", ["collect"])

    def execute() -> None:
        try:
            job.execute([], executor="inline")
        except StageFailed as fault:
            faults.append(fault)

    waiting = threading.Thread(target=execute)
    with store.attempt("collect", key(stage, {}), job.code, lambda: None):
        waiting.start()
        until(lambda: any(event.data.get("state") == "waiting" for event in told.new()), 240)
        (tmp_path / "a.txt").write_text("tile")
    waiting.join()
    assert "changed while the run was on" in str(faults[0])
    assert not store.of_stage("collect")
