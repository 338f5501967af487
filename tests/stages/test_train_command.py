"""`python -m stages.train` where Python sees torch and numpy alone: trains, is killed, goes on to the same bytes, generates."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec
from pathlib import Path

import pytest

from pipeline import Context
from pipeline.prices import LISTED
from stages.kinds import Model, Tokenizer, Tokens
from stages.pretrain import Pretrain
from stages.train.bytewise import pack
from stages.train.figures import PEAKS, peak_of
from stages.train.options import BOUNDED, Options
from tests.house import ROOT

BARE = ("pydantic", "ray", "transformers", "tokenizers", "safetensors", "pyarrow", "mlflow", "typer")
DYING = """
import os, signal, sys
from stages.train import command, loop
save, seen = loop.torch.save, []
def dying(state, path):
    save(state, path)
    seen.append(path)
    if len(seen) == 7:  # written, and not yet in its place
        os.kill(os.getpid(), signal.SIGKILL)
loop.torch.save = dying
sys.exit(command.main(sys.argv[1:]))
"""
SMALL = [
    "--depth",
    "1",
    "--sequence",
    "32",
    "--batch",
    "4",
    "--warmup",
    "5",
    "--threads",
    "1",
    "--evaluate-tokens",
    "2000",
]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that sees torch, numpy and what torch itself needs, and no other package."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    [site] = folder.glob("lib/python*/site-packages")
    spec = find_spec("torch")
    assert spec is not None and spec.origin is not None
    here = Path(spec.origin).parents[1]
    for name in ("torchgen", "functorch", "numpy.libs", *_needed("torch"), *_needed("numpy")):
        for path in (here / name, here / f"{name}.py"):
            if path.exists():
                (site / path.name).symlink_to(path)
    return folder / "bin" / "python"


def _needed(package: str) -> set[str]:
    """The modules of a package and of all that it requires."""
    found, pending = set[str](), [package]
    while pending:
        name = pending.pop()
        module = name.lower().replace("-", "_")
        if module in found or module.startswith("nvidia"):
            continue
        found.add(module)
        try:
            asked = requires(name) or []
        except PackageNotFoundError:
            continue
        pending += [re.split(r"[\s;\[<>=!~(]", one)[0] for one in asked if "extra ==" not in one]
    return found


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tokens and their tokenizer, packed from a few pages of the standard library."""
    folder = tmp_path_factory.mktemp("text")
    source = Path(os.__file__).parent
    pack(
        [source / f"{name}.py" for name in ("this", "abc", "stat", "types", "heapq", "bisect")],
        folder / "tokens",
        folder / "tokenizer",
    )
    return folder


def command(bare: Path, text: Path, out: Path, *words: str) -> list[str]:
    places = ["--tokens", str(text / "tokens"), "--tokenizer", str(text / "tokenizer"), "--out", str(out)]
    return [str(bare), "-m", "stages.train", *places, *SMALL, *words]


def run(words: list[str]) -> subprocess.CompletedProcess[str]:
    """Run it as on a machine of its own: no PYTHONPATH, no user's packages."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
    return subprocess.run(words, cwd=ROOT, env={**own, "PYTHONNOUSERSITE": "1"}, capture_output=True, text=True)


def ran(words: list[str]) -> str:
    """What it printed."""
    done = run(words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def model(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "model").iterdir())}


@pytest.mark.slow
def test_killed_and_resumed_with_torch_and_numpy_alone_it_ends_in_the_same_bytes(
    bare: Path, text: Path, tmp_path: Path
) -> None:
    for package in BARE:
        assert subprocess.run([bare, "-c", f"import {package}"], stderr=subprocess.DEVNULL).returncode == 1, package
    words = ["--steps", "40", "--checkpoint-every", "1"]
    quiet = ran(command(bare, text, tmp_path / "quiet", *words, "--sample", "20"))
    _, _, _, *rest = command(bare, text, tmp_path / "killed", *words)
    assert run([str(bare), "-c", DYING, *rest]).returncode == -signal.SIGKILL
    again = ran(command(bare, text, tmp_path / "killed", *words, "--sample", "20"))
    assert "going on from step-00000006" in again and "going on" not in quiet
    assert model(tmp_path / "killed") == model(tmp_path / "quiet")
    told = json.loads(quiet.splitlines()[-1])
    assert told["tokens_per_second"] > 0 and told["bits_per_byte"] < 8 and told["device"] == "cpu"
    assert "goes on:" in quiet
    assert re.findall("goes on:.*", again) == re.findall("goes on:.*", quiet)

    ctx = Context.local(tmp_path / "stage")
    settings = {"depth": 1, "sequence": 32, "batch": 4, "warmup": 5, "threads": 1, "evaluate_tokens": 2000, "steps": 40}
    made = Model(tmp_path / "stage" / "data")
    Pretrain(tokens=Tokens(text / "tokens"), tokenizer=Tokenizer(text / "tokenizer"), **settings).run(made, ctx)
    assert {path.name: path.read_bytes() for path in made.path.iterdir()} == model(tmp_path / "quiet"), (
        "the stage's own"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--steps", "0"], "0 is not between 1"),
        (["--width", "100"], "a multiple of 64"),
        (["--rate", "nan"], "nan is not above 0"),
        (["--clip", "0"], "0 is not above 0"),
        (["--step", "9"], "unrecognized arguments"),
        (["--device", "tpu"], "invalid choice"),
        (["--device", "cuda"], "torch sees no GPU here"),
        (["--sequence", "1000000"], "do not fill one window"),
        (["--tokens", "nowhere"], "No such file or directory"),
    ],
)
def test_what_is_out_of_bounds_is_one_line(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    from stages.train.command import main

    places = ["--tokens", str(text / "tokens"), "--out", str(tmp_path / "out")]
    try:
        status: object = main([*places, *SMALL, *words])
    except SystemExit as fault:
        status = fault.code
    told = capsys.readouterr().err.strip().splitlines()
    assert status in (1, 2) and said in told[-1]


def test_another_training_is_not_gone_on_with(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from stages.train.command import main

    words = ["--tokens", str(text / "tokens"), "--out", str(tmp_path), *SMALL, "--steps", "1"]
    assert main(words) == 0
    assert main([*words, "--seed", "1"]) == 1
    assert "holds another training (seed 0 there, 1 here)" in capsys.readouterr().err
    assert main(words) == 0
    assert "finished before" in capsys.readouterr().out


def test_its_options_are_those_of_the_stage() -> None:
    own = {"tokens", "out", "tokenizer", "device", "sample"}
    stage = {name: one.default for name, one in Pretrain.model_fields.items()}
    for one in fields(Options):
        if one.name not in own:
            assert one.default == stage[one.name], one.name
    assert {name for name, *_ in BOUNDED} | {"tied", "precision"} | own == {one.name for one in fields(Options)}
    assert set(stage) - {one.name for one in fields(Options)} == {"label", "resources", "evaluate_every"}


def test_bytes_are_read_back_as_they_were_by_the_library_too(text: Path) -> None:
    from tokenizers import Tokenizer as Engine

    from stages.train.bytewise import Vocabulary

    engine, ours = Engine.from_file(str(text / "tokenizer" / "tokenizer.json")), Vocabulary(text / "tokenizer", 262)
    said = "Grüße, 世界!\n\t\x00\x7f"
    ids = engine.encode(said).ids
    assert ids == [6 + byte for byte in said.encode()]
    assert ours.text(ids) == said == engine.decode(ids)


def test_the_speeds_of_gpus_are_those_of_the_price_list() -> None:
    listed = {name.partition("-")[0]: gpu.flops for name, gpu in LISTED.gpu.items()}
    assert {name: speed for name, speed in PEAKS.items() if name != "A10G"} == listed
    named = {
        "NVIDIA H100 80GB HBM3": "H100",
        "NVIDIA A100-SXM4-80GB": "A100",
        "NVIDIA L40S": "L40S",
        "Tesla T4": "T4",
        "NVIDIA A10G": "A10G",
    }
    assert {device: peak_of(device) for device in named} == {device: PEAKS[word] for device, word in named.items()}
    assert peak_of("NVIDIA GeForce RTX 4090") is None
