"""A store on S3 keeps every promise of a local one: kills, two runs at once, corruption, and a server that is not there."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import Dag, StoreError, UsageError
from pipeline.digest import of_file
from pipeline.executor import Inline, check_reach
from pipeline.files import check_writable, open_root
from pipeline.job import Job
from pipeline.object_files import ObjectFiles
from pipeline.outcome import Outcome
from pipeline.request import Request
from pipeline.run import run
from pipeline.store import Store, place_of
from pipeline.store_faults import Unsound
from tests.house import ROOT
from tests.on_modal import until
from tests.pipeline.objects import Gate, files
from tests.pipeline.toys import Fails, Fills, Say, Upper, line
from tests.s3 import S3

SCRIPT = """
import sys
from pipeline import Dag
from pipeline.executor import Inline
from pipeline.run import run
from pipeline.store import Store
from tests.pipeline.toys import Held, Say
root, trace, die_at, gate = sys.argv[1:]
said = {"words": ("a", "b", "c", "d"), "trace": trace, "die_at": die_at}
run(Dag(Held(**said, gate=gate) if gate else Say(**said)), Store(root), name="toys", dials={}, executor=Inline)
"""


def forget(tmp_path: Path) -> None:
    """Be a machine that has never seen this store."""
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)


def execute(dag: Dag, url: str, force: tuple[str, ...] = ()) -> Outcome:
    return run(dag, Store(url), name="toys", dials={}, executor=Inline, request=Request(rebuild=force))


def start(url: str, trace: Path, die_at: str = "", gate: Path | str = "") -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SCRIPT, url, str(trace), die_at, str(gate)])


def test_a_run_that_was_killed_goes_on_at_its_shard_on_a_machine_that_has_nothing(s3_url: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    assert start(s3_url, trace, die_at="c").wait(240) == -signal.SIGKILL and trace.read_text() == "abc"
    assert Store(s3_url).of_stage("say") == [], "data without a manifest does not count"
    forget(tmp_path)
    outcome = execute(Dag(Say(words=("a", "b", "c", "d"), trace=str(trace), die_at="c")), s3_url)
    assert outcome.states == {"say": "finished"} and trace.read_text() == "abccd"
    forget(tmp_path)
    assert [path.read_text() for path in sorted(outcome.data("say").iterdir())] == ["a", "b", "c", "d"]
    place = f"say/{outcome.manifests['say'].key}"
    assert files(s3_url).below(f".partial/{place}") == [], "nothing is left of the attempt that was killed"
    assert [
        name for name in files(s3_url).below(place) if "/data/" in name and outcome.manifests["say"].attempt not in name
    ] == []


def test_a_second_run_waits_for_the_first_and_uses_what_it_made(s3_url: str, tmp_path: Path) -> None:
    trace, gate = tmp_path / "trace", tmp_path / "gate"

    def told() -> str:
        events = [name for name in files(s3_url).below(".runs") if name.endswith(".jsonl")]
        return "".join(files(s3_url).read(f".runs/{name}").decode() for name in events)

    runs = [start(s3_url, trace, gate=gate) for _ in range(2)]
    until(lambda: '"waiting"' in told(), 240)
    gate.touch()
    assert [one.wait(240) for one in runs] == [0, 0]
    assert trace.read_text() == "abcd", "the words were said once"
    assert len(Store(s3_url).of_stage("held")) == 1


def test_a_kill_between_data_and_manifest_is_finished_by_the_next_run(
    s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = tmp_path / "trace"
    dag = Dag(Say(words=("a", "b"), trace=str(trace)))
    create = ObjectFiles.create

    def killed(self: ObjectFiles, name: str, data: bytes) -> bool:
        if name.endswith("manifest.json"):
            raise KeyboardInterrupt
        return create(self, name, data)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(ObjectFiles, "create", killed)
        execute(dag, s3_url)
    assert [name for name in files(s3_url).below("say") if name.endswith("/data/000.txt")]
    assert Store(s3_url).of_stage("say") == []
    forget(tmp_path)
    assert execute(dag, s3_url).states == {"say": "finished"} and trace.read_text() == "ab"


def test_an_object_with_other_bytes_is_never_an_input(s3_url: str, tmp_path: Path) -> None:
    said = execute(Dag(Say(words=("one", "two"))), s3_url).manifests["say"]
    files(s3_url).replace(f"{place_of(said)}/data/000.txt", b"eno")
    forget(tmp_path)
    failed = execute(line(), s3_url)
    told = str(failed.faults["upper"])
    assert f"{s3_url}/{place_of(said)}/data/000.txt is not what its manifest says" in told and "--rebuild say" in told
    files(s3_url).remove(f"{place_of(said)}/data/000.txt")
    assert "000.txt is not what" in str(execute(line(), s3_url).faults["upper"])
    files(s3_url).remove(f"{place_of(said)}/data")
    forget(tmp_path)
    assert "the data of say is missing" in str(execute(line(), s3_url).faults["upper"])
    assert execute(line(), s3_url, force=("say",)).ok


def test_a_spoilt_copy_on_this_machine_is_fetched_again(s3_url: str) -> None:
    outcome = execute(line(), s3_url)
    copy = outcome.data("say")
    (copy / "000.txt").write_text("eno")
    (copy / "stray.txt").write_text("stray")
    assert execute(line(limit=1), s3_url).ok
    assert (copy / "000.txt").read_text() == "one" and not (copy / "stray.txt").exists()


def test_a_large_file_travels_in_parts_and_arrives_whole(
    s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.object_files.PART_BYTES", 5 * 2**20)  # the least that S3 takes
    (tmp_path / "large").write_bytes(os.urandom(11 * 2**20))
    record = of_file(tmp_path / "large")
    files(s3_url).put(tmp_path / "large", "a/large")
    files(s3_url).get("a/large", record, tmp_path / "back")
    assert of_file(tmp_path / "back") == record == files(s3_url).digest("a/large")
    with pytest.raises(Unsound, match="a/large"):
        files(s3_url).get("a/large", record.model_copy(update={"sha256": "0"}), tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back", "large"]


def test_what_a_run_needs_is_fetched_and_no_more(s3_url: str, tmp_path: Path) -> None:
    execute(line(), s3_url)
    forget(tmp_path)
    assert execute(line(), s3_url).states == {"say": "cached", "upper": "cached"}
    copies = tmp_path / "cache" / "corpusmill" / "stores"
    assert not [path for path in copies.rglob("*") if path.is_file()]
    execute(line(limit=2), s3_url)
    assert {path.name for path in copies.glob("*/*/*/*/data/*")} == {"000.txt", "001.txt", "upper.txt"}


def test_the_log_of_a_failed_stage_lies_in_the_store_where_the_message_says(s3_url: str) -> None:
    outcome = execute(Dag(Fails(words=Say().out)), s3_url)
    told = str(outcome.faults["fails"])
    place = f".runs/{outcome.run}/logs/fails.txt"
    assert f"read the traceback in {s3_url}/{place}" in told
    assert "ValueError: a bug" in files(s3_url).read(place).decode()


def test_a_server_that_is_not_there_is_one_error_within_seconds(s3: S3, tmp_path: Path) -> None:
    words = ["run", f"{ROOT}/tests/pipeline/toys.py:line", "--store", "s3://bucket/store"]
    words += ["--on", "inline", "--tracker", "none"]
    nowhere = {**os.environ, "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "XDG_CACHE_HOME": str(tmp_path)}
    began = time.monotonic()
    done = subprocess.run(
        [Path(sys.executable).parent / "corpusmill", *words], env=nowhere, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 1 and time.monotonic() - began < 90
    assert "error: the store s3://bucket/store cannot be reached" in done.stderr and "AWS_ENDPOINT_URL" in done.stderr
    assert "Traceback" not in done.stderr and "secret" not in done.stderr


def test_what_was_opened_at_one_address_does_not_answer_for_another(
    s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files(s3_url).replace("a", b"1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match="cannot be reached"):
        files(s3_url).read("a")


def test_a_server_that_goes_away_in_the_middle_is_one_error_and_what_was_committed_is_kept(
    s3_url: str, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(*s3.address)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{gate.port}")
    say, trace = Say._say, tmp_path / "trace"

    def shut_at_c(self: Say, word: str, folder: Path) -> int:
        if word == "c" and not trace.with_name("shut").exists():
            trace.with_name("shut").touch()
            gate.shut()
        return say(self, word, folder)

    monkeypatch.setattr(Say, "_say", shut_at_c)
    dag = Dag(Say(words=("a", "b", "c", "d"), trace=str(trace)))
    began = time.monotonic()
    failed = execute(dag, s3_url)
    assert time.monotonic() - began < 180
    assert isinstance(failed.faults["say"], StoreError) and "cannot be reached" in str(failed.faults["say"])
    gate.open()
    assert execute(dag, s3_url).states == {"say": "finished"} and trace.read_text() == "abccd"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system of one megabyte")
def test_a_full_disk_for_the_copies_is_one_error(s3_url: str, tmp_path: Path) -> None:
    execute(Dag(Fills(size=2_000_000)), s3_url)
    forget(tmp_path)
    (tmp_path / "cache").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path / "cache")], check=True)
    try:
        failed = execute(Dag(Upper(words=Fills(size=2_000_000).out)), s3_url)
        assert "no space left on the disk of " + str(tmp_path / "cache") in str(failed.faults["upper"])
    finally:
        subprocess.run(["umount", "-l", str(tmp_path / "cache")], check=True)


def test_a_bucket_that_does_not_exist_is_one_error(s3: S3) -> None:
    with pytest.raises(StoreError, match="the store s3://no-such-bucket-here/x is not there"):
        check_writable(files("s3://no-such-bucket-here/x"))


def test_a_server_without_conditional_writes_is_refused(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = files(s3_url)
    check_writable(store)
    put = store._patient.pipe_file
    monkeypatch.setattr(store._patient, "pipe_file", lambda path, data, mode="overwrite": put(path, data))
    with pytest.raises(StoreError, match="overwrites what is to be put only if absent"):
        check_writable(store)


def test_a_local_store_that_is_copied_into_a_bucket_is_found_there(s3_url: str, tmp_path: Path) -> None:
    made = execute(line(), str(tmp_path / "root"))
    for path in (path for path in (tmp_path / "root").rglob("*") if path.is_file()):
        files(s3_url).put(path, path.relative_to(tmp_path / "root").as_posix())
    assert execute(line(), s3_url).states == {"say": "cached", "upper": "cached"}
    assert (Store(s3_url).data(made.manifests["upper"]) / "upper.txt").read_text() == "ONE TWO"


def test_an_address_with_a_password_or_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UsageError, match="holds no user or password"):
        open_root("s3://me:secret@bucket/x")
    with pytest.raises(UsageError, match="s3:// names no bucket"):
        open_root("s3://")
    with pytest.raises(StoreError, match="a store at gs:// is not supported"):
        open_root("gs://bucket/x")


def test_a_folder_of_this_machine_is_refused_where_the_executor_works_on_others(s3_url: str, tmp_path: Path) -> None:
    class Far(Inline):
        name, remote = "far", True

    with pytest.raises(
        UsageError, match="is a folder of this machine, and the executor 'far' works on others\n.*s3://"
    ):
        check_reach(Far(), open_root(str(tmp_path)))
    with pytest.raises(UsageError, match="is a folder of this machine"):
        run(line(), Store(str(tmp_path / "store")), name="toys", dials={}, executor=Far)
    assert not (tmp_path / "store").exists()
    check_reach(Far(), files(s3_url))


def test_no_secret_reaches_a_job_or_the_store(s3_url: str) -> None:
    outcome = execute(line(), s3_url)
    job = Job.of(Say(), [], run=outcome.run, store=s3_url)
    everything = [files(s3_url).read(name) for name in files(s3_url).below("")]
    assert not [text for text in (job.model_dump_json().encode(), *everything) if b"loopback-secret" in text]
