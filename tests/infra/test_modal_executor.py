"""Stages on Modal: what is carried, what is lost with a machine, what is spent. The servicer of the tests stands for Modal."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from infra.modal_executor import ModalExecutor
from pipeline import Dag, Resources, UsageError
from pipeline.errors import StageFailed, StoreError
from pipeline.executor import Inline
from pipeline.manifest import Manifest
from pipeline.outcome import Outcome
from pipeline.request import Request
from pipeline.run import run
from pipeline.store import Store
from tests.executors.helpers import SECONDS, Hand, words_in
from tests.executors.stages_for_tests import Sees, Sleeps
from tests.modal_servicer.service import Service
from tests.on_modal import a_trace, an_executor, carrier_of, until, why_not
from tests.pipeline.folding import Fold
from tests.pipeline.toys import Held, Join, Say, Slow, Upper
from tests.s3 import S3

pytestmark = [pytest.mark.slow, pytest.mark.elsewhere, pytest.mark.skipif(bool(why_not()), reason=why_not())]
PLANTED = "planted-4f1c0ffee"


@pytest.fixture
def executor(modal_executor: ModalExecutor) -> ModalExecutor:
    return modal_executor


@pytest.fixture
def trace() -> Iterator[Path]:
    with a_trace() as one:
        yield one


def test_only_what_is_missing_is_sent_and_what_is_made_comes_back(executor: ModalExecutor, tmp_path: Path) -> None:
    here = Hand(Inline(), tmp_path / "store")
    first, second = Say(words=("one",), label="first"), Say(words=("three",), label="second")
    made = [here.made(stage) for stage in (first, second)]
    hand = Hand(executor, tmp_path / "store")
    assert hand.text(hand.made(Join(parts=(first.out, second.out)))) == "one three"
    carrier = carrier_of(executor, hand)
    assert carrier.sent == sum(one.size for one in made) and carrier.fetched == 9
    assert hand.text(hand.made(Upper(words=first.out))) == "ONE"
    assert carrier.sent == sum(one.size for one in made), "what it reads was there already"


def test_a_stage_that_extends_goes_on_there_from_what_it_kept_here_and_here_from_what_it_kept_there(
    executor: ModalExecutor, tmp_path: Path, trace: Path
) -> None:
    here, there = Hand(Inline(), tmp_path / "store"), Hand(executor, tmp_path / "store")

    def made(hand: Hand, count: int) -> Manifest:
        trace.write_text("")
        return hand.made(Fold(words=Say().out, count=count, trace=str(trace)))

    whole = made(Hand(Inline(), tmp_path / "whole"), 60)
    first = made(there, 20)
    second = made(here, 40)
    assert (second.extended_from, trace.read_text().split()[0]) == (first.attempt, "12")
    third = made(there, 60)
    assert (third.extended_from, trace.read_text().split()[0]) == (second.attempt, "24")
    assert third.digest == whole.digest and third.resume == whole.resume
    assert here.store.has_resume(third)


def test_a_machine_like_the_one_asked_for_is_rented_and_given_back(
    executor: ModalExecutor, modal_service: Service, tmp_path: Path
) -> None:
    asked = Resources(gpu="h100", gpus=2, cpus=4, memory_gib=16, minutes=30)
    Hand(executor, tmp_path / "store").made(Say(resources=asked))
    container = modal_service.started("execute")[-1]
    definition = container.function.definition
    assert container.function.gpu == "H100:2" and definition.timeout_secs == 30 * 60 + 10
    assert (definition.resources.milli_cpu, definition.resources.memory_mb) == (4000, 16 * 1024)
    executor.close()
    modal_service.wait(lambda: not modal_service.running)  # a container that was stopped takes its time to end


@pytest.mark.parametrize("interrupted_first", [False, True])
def test_a_stage_whose_machine_is_taken_back_goes_on_from_its_commits(
    executor: ModalExecutor, modal_service: Service, tmp_path: Path, trace: Path, interrupted_first: bool
) -> None:
    hand, words, gate = Hand(executor, tmp_path / "store"), "abcdefghijklm", trace.with_name("gate")
    future = hand.over(Held(words=tuple(words), first=11, trace=str(trace), gate=str(gate)))["held"]
    until(lambda: len(words_in(trace)) == 11)
    assert modal_service.preempt("execute", graceful=interrupted_first) == 1
    gate.touch()
    made = future.result(SECONDS)
    assert hand.text(made) == " ".join(words)
    assert len(words_in(trace)) <= 15, "of what was committed nothing was made again"
    if interrupted_first:  # else what was lost is known as far as the last heartbeat
        assert made.lost.wall_seconds > 0
    stopped = [one.stopping for one in modal_service.started("execute")[-2:]]
    assert stopped[0] == "preempted"


def test_a_machine_that_is_lost_between_data_and_the_record_of_it_repeats_that_shard_alone(
    executor: ModalExecutor, modal_service: Service, tmp_path: Path, trace: Path
) -> None:
    modal_service.preempt_after(commits=2)
    hand = Hand(executor, tmp_path / "store")
    assert hand.text(hand.made(Slow(words=tuple("abc"), trace=str(trace)))) == "a b c"
    assert words_in(trace) == "abbc", "the data of b was committed, and no record named it"


def test_a_job_whose_time_on_one_machine_is_up_goes_on_at_another(
    executor: ModalExecutor, modal_service: Service, tmp_path: Path, trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORPUSMILL_MODAL_TRY_SECONDS", "12")  # it is handed over after half of them
    hand, before = Hand(executor, tmp_path / "store"), len(modal_service.started("execute"))
    words = "abcdefghijklmnopqrstuvwxyz"
    made = hand.made(Slow(words=tuple(words), trace=str(trace), resources=Resources(retries=0)))
    assert hand.text(made) == " ".join(words)
    assert words_in(trace) == words, "it was handed over at a commit: nothing is lost"
    assert len(modal_service.started("execute")) - before >= 2


def test_cancelling_leaves_nothing_that_costs_money(
    executor: ModalExecutor, modal_service: Service, tmp_path: Path, trace: Path
) -> None:
    futures = Hand(executor, tmp_path / "store").over(Sleeps(seconds=600, begun=str(trace)))
    until(trace.exists)
    assert len(modal_service.running) == 1
    executor.close(cancel=True)
    with pytest.raises(StageFailed, match="it was stopped"):
        futures["sleeps"].result(SECONDS)
    modal_service.wait(lambda: not modal_service.running)


def test_a_planted_secret_reaches_the_stage_by_its_name_and_is_found_nowhere_else(
    modal_service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import modal

    modal.Secret.objects.create("planted", {"PLANTED": PLANTED}, allow_existing=True)
    monkeypatch.setenv("CORPUSMILL_MODAL_SECRETS", "planted")
    monkeypatch.setenv("HERE_ONLY", PLANTED)
    asked = len(modal_service.calls)
    with an_executor() as executor:
        hand = Hand(executor, tmp_path / "store")
        assert hand.text(hand.made(Sees(place="/"))) != ""
    requests = [call for call in modal_service.calls[asked:] if call.name != "SecretGetOrCreate"]
    assert not [call.name for call in requests if PLANTED in repr(call.request)]
    assert PLANTED not in modal_service.logs()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and PLANTED.encode() in path.read_bytes()]
    assert modal_service.started("execute")[-1].environment["PLANTED"] == PLANTED


@pytest.mark.parametrize(
    ("setting", "value", "told", "mend"),
    [
        ("CORPUSMILL_MODAL_SECRETS", "nowhere", "Modal: .*nowhere", "modal secret create"),
        ("MODAL_ENVIRONMENT", "nowhere", "Modal: .*nowhere", "modal environment list"),
        ("MODAL_TOKEN_ID", "ak-wrong", "does not know who you are", "modal setup"),
    ],
)
def test_what_modal_lacks_is_one_error_with_its_mend(
    modal_service: Service,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    value: str,
    told: str,
    mend: str,
) -> None:
    import modal

    monkeypatch.setenv(setting, value)
    modal.Client._set_env_client(None)
    try:
        with an_executor() as executor, pytest.raises(Exception, match=told) as raised:
            Hand(executor, tmp_path / "store").made(Say())
        assert mend in raised.value.mend  # type: ignore[attr-defined]
    finally:
        monkeypatch.undo()
        modal.Client._set_env_client(None)


def test_a_store_in_a_bucket_without_a_secret_is_refused_before_anything_is_rented(modal_service: Service) -> None:
    from infra.modal_names import needs_secret

    with pytest.raises(UsageError, match="have no credentials") as raised:
        needs_secret("s3://bucket/store")
    assert "modal secret create" in raised.value.mend


def test_a_store_on_a_volume_is_a_store_like_any_other(executor: ModalExecutor, modal_service: Service) -> None:
    import modal

    modal.Volume.objects.create("shared", version=2, allow_existing=True)
    hand = Hand(executor, "modal://shared/store")
    say = Say(words=("one",))
    cached: Future[Manifest] = Future()
    cached.set_result(Hand(Inline(), hand.root).made(say))
    futures = hand.over(Upper(words=say.out))
    assert hand.text(futures["upper"].result(SECONDS)) == "ONE"
    assert Store(hand.root).stages() == ["say", "upper"]
    assert os.environ["CORPUSMILL_MODAL_VOLUME"] != "shared"


def test_a_store_in_a_bucket_is_reached_with_a_secret_and_nothing_is_carried(
    modal_service: Service, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import modal

    modal.Secret.objects.create("bucket", s3.environment, allow_existing=True)
    monkeypatch.setenv("CORPUSMILL_MODAL_SECRETS", "bucket")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = len(modal_service.asked("VolumePutFiles2"))
    with an_executor() as executor:
        hand = Hand(executor, f"{s3.bucket()}/store")
        assert hand.text(hand.made(Say(words=("one",)))) == "one"
    assert len(modal_service.asked("VolumePutFiles2")) == before


def test_one_stage_goes_and_the_others_stay_with_the_keys_they_have_anywhere(
    modal_service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORPUSMILL_MODAL_VOLUME", "of-one-stage")

    def made(root: str, **asked: object) -> Outcome:
        dag = Dag(Upper(words=Say(words=("one", "two")).out, limit=2))
        return run(
            dag, Store(str(tmp_path / root)), name="toys", dials={}, executor=Inline, elsewhere=lambda place: ModalExecutor(),
            request=Request.model_validate({"on": "inline", **asked}),
        )  # fmt: skip

    here, there = made("here"), made("there", place=("upper=modal",))
    assert here.ok and there.ok
    assert [one.manifests["upper"].executor for one in (here, there)] == ["inline", "modal"]
    assert there.manifests["say"].executor == "inline"
    assert [here.manifests[label].key for label in here.manifests] == [
        there.manifests[label].key for label in there.manifests
    ]
    assert here.manifests["upper"].digest == there.manifests["upper"].digest
    assert there.data("upper").joinpath("upper.txt").read_text() == "ON TW"
    assert (there.manifests["upper"].cost.dollars or 0) > 0 and there.manifests["upper"].idle.wall_seconds > 0


def test_without_the_package_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.modal_faults.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs the package 'modal'") as raised:
        ModalExecutor()
    assert raised.value.mend == "pip install 'corpusmill[modal]'"


def test_a_volume_that_is_not_there_is_one_error_that_says_how_to_make_it(modal_service: Service) -> None:
    with pytest.raises(StoreError, match="the store modal://nowhere/store is not there") as raised:
        Store("modal://nowhere/store").files.check()
    assert "modal volume create NAME --version=2" in raised.value.mend
