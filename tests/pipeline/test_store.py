"""An attempt exists once its manifest does; a kill at any moment before that loses nothing that was committed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import Dag, StoreError
from pipeline.digest import of_file
from pipeline.executor import Inline
from pipeline.outcome import Outcome
from pipeline.request import Request
from pipeline.run import run
from pipeline.store import Store
from tests.on_modal import until
from tests.pipeline.toys import Fills, Say, Upper, line

SCRIPT = """
import sys
from pathlib import Path
from pipeline import Dag
from pipeline.executor import Inline
from pipeline.run import run
from pipeline.store import Store
from tests.pipeline.toys import Held, Say
root, trace, gate = sys.argv[1:]
said = {"words": ("a", "b", "c", "d"), "trace": trace}
run(Dag(Held(**said, gate=gate) if gate else Say(**said, die_at="c")), Store(root), name="toys", dials={}, executor=Inline)
"""


def execute(dag: Dag, root: Path, force: tuple[str, ...] = ()) -> Outcome:
    return run(dag, Store(str(root)), name="toys", dials={}, executor=Inline, request=Request(rebuild=force))


def killed_once(tmp_path: Path) -> Dag:
    trace = tmp_path / "trace"
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "store"), str(trace), ""]
    assert subprocess.run(command, check=False).returncode == -9 and trace.read_text() == "abc"
    return Dag(Say(words=("a", "b", "c", "d"), trace=str(trace), die_at="c"))


def test_a_killed_stage_goes_on_at_the_shard_where_it_was(tmp_path: Path) -> None:
    dag = killed_once(tmp_path)
    outcome = execute(dag, tmp_path / "store")
    assert outcome.ok and (tmp_path / "trace").read_text() == "abccd"
    assert [path.read_text() for path in sorted(outcome.data("say").glob("*.txt"))] == ["a", "b", "c", "d"]


def test_nothing_of_a_killed_stage_is_an_artifact(tmp_path: Path) -> None:
    killed_once(tmp_path)
    assert Store(str(tmp_path / "store")).of_stage("say") == []


def test_scratch_of_other_code_is_not_gone_on_with(tmp_path: Path) -> None:
    dag = killed_once(tmp_path)
    (partial,) = [path for path in (tmp_path / "store/.partial/say").glob("*/*") if path.is_dir()]
    partial.rename(partial.with_name(partial.name[:-12] + "0" * 12))
    execute(dag, tmp_path / "store")
    assert (tmp_path / "trace").read_text() == "abcabcd"


def test_a_kill_between_data_and_manifest_is_finished_by_the_next_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    dag = Dag(Say(words=("a", "b"), trace=str(trace)))
    outcome = execute(dag, tmp_path)
    made = outcome.manifests["say"]
    place = tmp_path / "say" / made.key / made.attempt
    scratch = tmp_path / ".partial" / "say" / made.key / made.attempt
    kept = {path.name: path.read_bytes() for path in (place / "data").iterdir()}
    (place / "manifest.json").unlink()
    (scratch / "commits").mkdir(parents=True)
    for number, name in enumerate(sorted(kept), 1):
        stat = (place / "data" / name).stat()
        record = made.files[name]
        stamp = {"size": record.size, "sha256": record.sha256, "mtime_ns": stat.st_mtime_ns}
        commit = {"tag": f"map:_say:{number - 1}/2", "value": 1, "files": {f"data/{name}": stamp}}
        (scratch / "commits" / f"{number:06d}.json").write_text(json.dumps(commit))
    again = execute(dag, tmp_path)
    assert again.states == {"say": "finished"} and again.manifests["say"].digest == made.digest
    assert trace.read_text() == "ab", "no shard was made twice"


def test_scratch_left_beside_a_complete_attempt_is_swept(tmp_path: Path) -> None:
    made = execute(line(), tmp_path).manifests["say"]
    left = tmp_path / ".partial" / "say" / made.key / made.attempt
    (left / "data").mkdir(parents=True)
    outcome = run(
        line(), Store(str(tmp_path)), name="toys", dials={}, executor=Inline, request=Request(rebuild=("say",))
    )
    assert outcome.manifests["say"].attempt != made.attempt and not left.exists()


def test_data_that_has_gone_is_one_clear_error(tmp_path: Path) -> None:
    outcome = execute(line(), tmp_path)
    shutil.rmtree(outcome.data("say"))
    failed = execute(Dag(Upper(words=Say(words=("one", "two")).out, limit=1)), tmp_path)
    assert "the data of say is missing" in str(failed.faults["upper"])


def test_data_that_was_cut_short_is_never_an_input(tmp_path: Path) -> None:
    outcome = execute(line(), tmp_path)
    (outcome.data("say") / "000.txt").write_text("")
    failed = execute(Dag(Upper(words=Say(words=("one", "two")).out, limit=1)), tmp_path)
    assert "000.txt is not what its manifest says" in str(failed.faults["upper"])


def spoil(path: Path) -> None:
    """Other bytes, as many."""
    path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))


def test_a_stage_never_starts_on_an_input_with_other_bytes(tmp_path: Path) -> None:
    outcome = execute(line(), tmp_path)
    spoil(outcome.data("say") / "000.txt")
    failed = execute(line(limit=1), tmp_path)
    told = str(failed.faults["upper"])
    assert "000.txt is not what its manifest says" in told and "--rebuild say" in told
    assert Store(str(tmp_path)).of_stage("upper") == [outcome.manifests["upper"]]
    assert execute(line(limit=1), tmp_path, force=("say",)).ok, "the mend that was named mends it"


def test_a_file_that_is_not_of_the_artifact_is_no_input(tmp_path: Path) -> None:
    (execute(line(), tmp_path).data("say") / "extra.txt").write_text("stray")
    assert "extra.txt is not what its manifest says" in str(execute(line(limit=1), tmp_path).faults["upper"])


def test_a_digest_is_taken_again_only_where_a_file_was_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = execute(line(), tmp_path).manifests["say"]
    taken: list[str] = []
    monkeypatch.setattr("pipeline.verified.digest.of_file", lambda path: taken.append(path.name) or of_file(path))
    data = Store(str(tmp_path)).data(made)
    assert taken == [], "publishing took them"
    os.utime(data / "001.txt")
    Store(str(tmp_path)).data(made)
    assert taken == ["001.txt"]
    (data.parent / "data-verified.json").write_text("{")
    Store(str(tmp_path)).data(made)
    Store(str(tmp_path)).data(made)
    assert taken == ["001.txt", "000.txt", "001.txt"]


def test_another_keys_broken_manifest_stops_nobody(tmp_path: Path) -> None:
    made = execute(line(words="old"), tmp_path).manifests["say"]
    (tmp_path / "say" / made.key / made.attempt / "manifest.json").write_text("{")
    assert execute(line(words="new"), tmp_path).ok


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system of one megabyte")
def test_a_full_disk_is_one_clear_error_and_the_next_run_goes_on(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path / "store")], check=True)
    try:
        dag = Dag(Fills(size=2_000_000))
        failed = execute(dag, tmp_path / "store")
        assert str(failed.faults["fills"]).startswith("stage 'fills': no space left on the disk of")
        assert "what was committed is kept" in str(failed.faults["fills"])
        assert Store(str(tmp_path / "store")).of_stage("fills") == []
        subprocess.run(["mount", "-o", "remount,size=16m", str(tmp_path / "store")], check=True)
        assert execute(dag, tmp_path / "store").states == {"fills": "finished"}
    finally:
        subprocess.run(["umount", "-l", str(tmp_path / "store")], check=True)


@pytest.mark.parametrize("text", ["", "{", '{"schema_version": 2}', "[]"])
def test_a_manifest_that_was_cut_short_is_one_clear_error(tmp_path: Path, text: str) -> None:
    made = execute(line(), tmp_path).manifests["say"]
    (tmp_path / "say" / made.key / made.attempt / "manifest.json").write_text(text)
    with pytest.raises(StoreError, match=f"{made.attempt}/manifest.json is truncated or damaged"):
        execute(line(), tmp_path)


@pytest.mark.parametrize("novel", [{"novel": 1}, {}])
def test_a_manifest_of_a_newer_schema_asks_for_an_upgrade(tmp_path: Path, novel: dict[str, int]) -> None:
    made = execute(line(), tmp_path).manifests["say"]
    path = tmp_path / "say" / made.key / made.attempt / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 99, **novel}))
    with pytest.raises(StoreError, match="manifest of schema 99, and this corpusmill reads schemas up to 4\n.*upgrade"):
        execute(line(), tmp_path)


def test_a_store_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be made"):
        Store(str(tmp_path / "file" / "store"))


def test_a_second_run_waits_for_the_first_and_uses_what_it_made(tmp_path: Path) -> None:
    trace, gate, root = tmp_path / "trace", tmp_path / "gate", tmp_path / "store"
    command = [sys.executable, "-c", SCRIPT, str(root), str(trace), str(gate)]
    runs = [subprocess.Popen(command) for _ in range(2)]
    until(lambda: any('"waiting"' in path.read_text() for path in root.glob(".runs/*/events/held/*.jsonl")), 240)
    gate.touch()
    assert [one.wait(timeout=240) for one in runs] == [0, 0]
    assert trace.read_text() == "abcd", "the words were said once"
    assert len(Store(str(root)).of_stage("held")) == 1
