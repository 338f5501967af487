"""A model made elsewhere: a Hugging Face checkpoint in safetensors, whole and of one shape with its config, or a GGUF file.

Nothing that can run code comes in: no pickle, no module. Headers are read with bounds; the weights themselves are not read.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import SourceError, StageFailed
from stages.checks import tokenizer
from stages.checks.safetensors import tensors
from stages.kinds import ORIGINAL_CARD

CONFIG, INDEX, GGUF = "config.json", "model.safetensors.index.json", "model.gguf"
BESIDE = re.compile(r"generation_config\.json|quantization\.json|tokenizer\.model|(LICENSE|NOTICE)[\w.-]*")
WEIGHTS = re.compile(r"model(-(?P<number>\d{5})-of-(?P<all>\d{5}))?\.safetensors")
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
MEND = "save it in safetensors: AutoModelForCausalLM.from_pretrained(…).save_pretrained(FOLDER)"
MOST = 1 << 31
"""No side of a model, and no count in a GGUF header, is as large."""


def layout(names: Sequence[str]) -> dict[str, str]:
    """The weights with their config and tokenizer; a GGUF file becomes model.gguf, README.md README.original.md.

    README.md is where our own card goes; what the author wrote is content under a name of its own, so that it is never lost.
    Raises SourceError where there are no weights.
    """
    kept = {name: name for name in names if name in (CONFIG, INDEX, *tokenizer.NAMES) or BESIDE.fullmatch(name)}
    theirs = next(
        (name for name in (ORIGINAL_CARD, "README.md") if name in names), ""
    )  # beside an original, README.md is ours
    kept |= {theirs: ORIGINAL_CARD} if theirs else {}
    weights = [name for name in names if WEIGHTS.fullmatch(name)]
    exports = [name for name in names if name.endswith(".gguf")]
    if weights:
        if CONFIG not in kept:
            raise SourceError(
                f"there is no {CONFIG} beside {weights[0]}", mend="adopt the whole folder of the checkpoint"
            )
        return kept | {name: name for name in [*weights, *(GGUF for name in exports if name == GGUF)]}
    if len(exports) > 1:
        raise SourceError(f"there are {len(exports)} GGUF files", mend=f"give one of them: …/{exports[0]}")
    if exports:
        return kept | {exports[0]: GGUF}
    if "adapter_config.json" in names:
        raise SourceError("this is an adapter, not a model", mend="merge it into its base model and adopt the result")
    if pickles := [name for name in names if name.endswith(PICKLES)]:
        raise SourceError(f"{pickles[0]} is a pickle, which can run code when it is read, and is not taken", mend=MEND)
    raise SourceError("there is neither model.safetensors nor a GGUF file", mend="give the folder of a checkpoint")


def check(folder: Path) -> list[str]:
    """Check headers, completeness and shapes; say what is missing beside the weights."""
    for path in folder.glob("*.gguf"):
        _check_gguf(path)
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return []
    config = tokenizer.read_json(folder / CONFIG)
    _check_whole(folder, [path.name for path in files])
    shapes: dict[str, list[int]] = {}
    for path in files:
        found = tensors(path)
        if twice := shapes.keys() & found.keys():
            raise SourceError(f"{path.name} holds {min(twice)}, which another file holds too", mend="fetch it again")
        if not found:
            raise SourceError(f"{path.name} holds no tensor", mend="fetch it again, whole")
        shapes |= found
    _check_index(folder / INDEX, shapes)
    _check_shapes(config, shapes)
    return _notes(folder)


def _check_whole(folder: Path, names: list[str]) -> None:
    """Every shard that the names count is there, and the index by which they are found."""
    parts = [match for name in names if (match := WEIGHTS.fullmatch(name)) and match["number"]]
    if not parts:
        return
    missing = sorted(set(range(1, int(parts[0]["all"]) + 1)) - {int(part["number"]) for part in parts})
    if len(parts) < len(names) or len({part["all"] for part in parts}) > 1:
        raise SourceError(f"{names[0]} and {names[-1]} are of two checkpoints", mend="give the folder of one")
    if missing:
        raise SourceError(f"the shard {missing[0]} of {int(parts[0]['all'])} is missing", mend="fetch the rest of it")
    if not (folder / INDEX).exists():
        raise SourceError(f"there is no {INDEX}", mend="fetch it: it says which shard holds which tensor")


def _check_index(path: Path, shapes: dict[str, list[int]]) -> None:
    if not path.exists():
        return
    places = tokenizer.read_json(path).get("weight_map")
    if not isinstance(places, dict) or not places or places.keys() - shapes.keys():
        raise SourceError(f"{path.name} does not name the tensors that the files hold", mend="fetch it again")
    if strange := [place for place in places.values() if not (path.parent / str(place)).is_file() or "/" in str(place)]:
        raise SourceError(f"{path.name} names {strange[0]}, which is not there", mend="fetch the rest of it")


def _check_shapes(config: dict[str, Any], shapes: dict[str, list[int]]) -> None:
    sides = {name: config.get(name) for name in ("vocab_size", "hidden_size", "num_hidden_layers")}
    for name, side in sides.items():
        if side is not None and (type(side) is not int or not 0 < side < MOST):
            raise SourceError(f"{CONFIG}: {name} is {side!r}", mend="fetch it again")
    name, wanted = "model.embed_tokens.weight", [sides["vocab_size"], sides["hidden_size"]]
    if name in shapes and None not in wanted and shapes[name] != wanted:
        raise SourceError(
            f"{name} is {' × '.join(map(str, shapes[name]))}, and {CONFIG} says {wanted[0]} × {wanted[1]}",
            mend="give weights and config of one model",
        )


def _check_gguf(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(24)
    version, tensor_count, pairs = struct.unpack("<IQQ", head[4:]) if len(head) == 24 else (0, 0, 0)
    if head[:4] != b"GGUF" or version not in (2, 3) or not 0 < tensor_count < MOST or not pairs < MOST:
        raise SourceError(f"{path.name} is no GGUF file of version 2 or 3", mend="fetch it again, whole")


def _notes(folder: Path) -> list[str]:
    from stages.text.tokenizer import chat_template

    if not (folder / "tokenizer.json").exists():
        return ["it has no tokenizer.json: no stage here can read or write text with it"]
    tokenizer.load(folder)
    try:
        chat_template(folder)
    except StageFailed:
        return ["it has no chat template: Sft, Dpo and Serve need a chat_template.jinja beside tokenizer.json"]
    return []
