"""Pretrain extends along its steps: more of them cost only those after the settled ones, and give the bytes of one long run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline import Context, Dag, Stage
from pipeline.executor import Inline
from pipeline.manifest import Manifest
from pipeline.plan import plan
from pipeline.request import Request
from pipeline.run import run
from pipeline.store import Store
from stages.encode import Encode
from stages.kinds import Documents, write_shard
from stages.pretrain import Pretrain
from stages.train import loop
from stages.train_tokenizer import TrainTokenizer

SMALL: dict[str, Any] = {"depth": 1, "sequence": 32, "batch": 4, "threads": 1, "evaluate_tokens": 512, "warmup": 5}


class Wolves(Stage[Documents]):
    """Some hundred sentences about sheep."""

    def run(self, out: Documents, ctx: Context) -> None:
        texts = [
            f"The {place % 7}th wolf met {place} sheep by the river; they were not amused." for place in range(300)
        ]
        rest = {name: ["x"] * 300 for name in ("source", "url")} | {"metadata": ["{}"] * 300}
        columns = {"id": [str(place) for place in range(300)], "text": texts, **rest}
        write_shard(out.path / "part-00000.parquet", pa.table(columns))


def training(**settings: Any) -> Dag:
    """Wolves, tokenizer, tokens, Pretrain."""
    documents = Wolves().out
    tokenizer = TrainTokenizer(documents=documents, vocab_size=290).out
    tokens = Encode(documents=documents, tokenizer=tokenizer, validation=0.1).out
    return Dag(Pretrain(tokens=tokens, tokenizer=tokenizer, **(SMALL | settings)))


def trained(root: Path, *, anew: bool = False, **settings: Any) -> Manifest:
    request = Request(rebuild=("pretrain",) if anew else ())
    outcome = run(training(**settings), Store(str(root)), name="wolves", dials={}, executor=Inline, request=request)
    assert outcome.ok, outcome.faults
    return outcome.manifests["pretrain"]


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with everything above Pretrain."""
    root = tmp_path_factory.mktemp("store")
    trained(root, steps=1, seed=9)
    return root


@pytest.fixture
def root(tokens: Path, tmp_path: Path) -> Path:
    """A store of the test's own with everything above Pretrain."""
    return Path(shutil.copytree(tokens, tmp_path / "store"))


@pytest.fixture
def updates(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Gets an item for every update that is computed."""
    done: list[int] = []
    update = loop.update
    monkeypatch.setattr(loop, "update", lambda *given: done.append(1) or update(*given))
    return done


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        pytest.param({}, 12, id="a fall over the last 40 percent"),
        pytest.param(
            {"decay": 0.8, "checkpoint_every": 2, "evaluate_every": 3}, 4, id="a longer fall, watched closely"
        ),
        pytest.param({"decay": 0, "checkpoint_every": 0}, 20, id="no fall: the state at the end"),
        pytest.param({"decay": 1, "warmup": 30}, 12, id="a climb longer than the whole training"),
        pytest.param({"decay": 1, "warmup": 0}, None, id="nothing settled: from the beginning"),
    ],
)
def test_more_steps_end_in_the_bytes_of_one_long_run_for_the_price_of_the_rest(
    root: Path, updates: list[int], settings: dict[str, Any], kept: int | None
) -> None:
    short = trained(root, steps=20, **settings)
    assert (short.resume_at, len(updates)) == (kept, 20)
    reason = plan(training(steps=40, **settings), Store(str(root))).entries["pretrain"].reason
    assert reason == ("extend 20 → 40" if kept else "steps 20 → 40")
    long = trained(root, steps=40, **settings)
    assert (len(updates), long.extended_from) == (60 - (kept or 0), short.attempt if kept else "")
    whole = trained(root, anew=True, steps=40, **settings)
    assert (len(updates), whole.extended_from) == (100 - (kept or 0), "")
    assert whole.attempt != long.attempt and long.files == whole.files
    assert long.metrics["bits_per_byte"] == whole.metrics["bits_per_byte"]


def test_an_extension_is_extended_in_its_turn(root: Path, updates: list[int]) -> None:
    for steps in (20, 30, 41):
        last = trained(root, steps=steps)
    assert len(updates) == 20 + (30 - 12) + (41 - 18)
    assert last.digest == trained(root, anew=True, steps=41).digest


@pytest.mark.slow
@pytest.mark.parametrize("dies_at", [3, 15, 25])
def test_an_extension_killed_outright_goes_on_to_the_same_bytes(root: Path, updates: list[int], dies_at: int) -> None:
    settings = {"checkpoint_every": 5}
    trained(root, steps=20, **settings)
    script = f"""import os, signal
from pathlib import Path
from stages.train import loop
from tests.stages.test_pretrain_extended import trained
update, done = loop.update, []
def dying(*given):
    done.append(1)
    if len(done) == {dies_at}:
        os.kill(os.getpid(), signal.SIGKILL)
    return update(*given)
loop.update = dying
trained(Path({str(root)!r}), steps=40, **{settings!r})"""
    ended = subprocess.run([sys.executable, "-c", script], env=dict(os.environ), check=False)
    assert ended.returncode == -signal.SIGKILL
    updates.clear()
    long = trained(root, steps=40, **settings)
    assert len(updates) == {3: 40 - 12, 15: 40 - 25, 25: 40 - 35}[dies_at] and long.extended_from
    assert long.digest == trained(root, anew=True, steps=40, **settings).digest
