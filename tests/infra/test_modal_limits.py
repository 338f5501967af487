"""What Modal would not say on this machine is said here, before anything is rented."""

from __future__ import annotations

import pytest

from infra.modal_limits import MOST_GPUS, check, gpu_of, longest
from pipeline import Resources, UsageError


@pytest.mark.parametrize(
    ("asked", "told", "mend"),
    [
        (Resources(gpu="H10O"), "stage 'pretrain': Modal has no GPU 'H10O'; did you mean 'H100'?", "mend gpu="),
        (Resources(gpu="A100-80G"), "did you mean 'A100-80GB'?", "mend gpu="),
        (Resources(gpu="H100:8"), "the number goes into gpus=", "mend gpu="),
        (Resources(gpu="any"), "Modal has no GPU 'any'", "mend gpu="),
        (Resources(gpus=2), "asks for 2 GPUs of no type", "gpu='H100'"),
        (Resources(gpu="H100", gpus=9), "9 GPUs of type H100, and a container on Modal has 8 at most", "gpus=8"),
        (Resources(gpu="A10", gpus=5), "has 4 at most", "gpus=4"),
        (Resources(cpus=65), "asks for 65 CPU cores, and Modal gives 0.125 to 64", "cpus="),
        (Resources(memory_gib=400), "asks for 400 GiB of memory", "memory_gib="),
        (Resources(minutes=1441), "one try on Modal takes 1440 at most", "minutes=0 sets no limit"),
        (Resources(retries=11), "may be tried again 11 times, and Modal allows 10", "retries=10"),
    ],
)
def test_what_cannot_be_rented_is_one_error_with_the_stage_and_the_mend(asked: Resources, told: str, mend: str) -> None:
    with pytest.raises(UsageError) as raised:
        check("pretrain", asked)
    assert "'pretrain'" in raised.value.message and told in raised.value.message
    assert mend in raised.value.mend


@pytest.mark.parametrize("name", MOST_GPUS)
def test_every_type_that_modal_lists_is_taken_in_any_writing(name: str) -> None:
    check("pretrain", Resources(gpu=name.lower(), gpus=MOST_GPUS[name]))
    assert gpu_of(Resources(gpu=name.lower(), gpus=2)) == f"{name}:2"


def test_one_gpu_is_written_without_a_number_and_none_not_at_all() -> None:
    assert [gpu_of(Resources(gpu="h100!")), gpu_of(Resources(gpu="L4", gpus=1)), gpu_of(Resources())] == [
        "H100!",
        "L4",
        None,
    ]


def test_a_longest_try_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORPUSMILL_MODAL_TRY_SECONDS", "a day")
    with pytest.raises(UsageError, match="is no number of seconds"):
        longest()
    monkeypatch.setenv("CORPUSMILL_MODAL_TRY_SECONDS", "8")
    assert longest() == 8
