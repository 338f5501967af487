"""Which files of a folder travel to other machines: one rule, whether Ray, Modal or a manifest takes them there."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.described_dag import own_files
from infra.modal_image import _left_out_of
from infra.travels import LARGE_BYTES, stays_below, travelling

STAYS = {
    "hidden": (".env", ".git/config", ".corpusmill/a/manifest.json", "a/.cache/words.txt"),
    "made by a tool": ("a/__pycache__/b.pyc", "b.pyc", "node_modules/x.js", "x.egg-info/PKG-INFO", "lib/site-packages/x.py"),
    "an environment": ("venv/lib/x.py", "env/pyvenv.cfg", "env/lib/x.py"),
    "a store": ("mill/.runs/1/run", "mill/say/1/data/words.txt"),
    "data": ("model.safetensors", "ids.bin", "raw.jsonl.gz", "a/docs.parquet", "MODEL.GGUF", "mlflow.db", "_fast.so"),
    "a secret by its name": (
        "key.pem", "secrets.toml", "aws-credentials.json", "my_token.txt", "a/API-TOKEN.txt", "passwords.txt", "id_rsa", "id_ecdsa.pub",
        "vault.kdbx",
    ),
}  # fmt: skip
TRAVELS = ("mine.py", "tokens.py", "secrets.py", "a/b/template.html", "rules.json", "tokenizer.json", "words.txt")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of a dag's, with all that tools and people leave in one."""
    for name in (*TRAVELS, *(name for names in STAYS.values() for name in names)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    with (tmp_path / "raw.jsonl").open("wb") as file:
        file.truncate(LARGE_BYTES + 1)
    with (tmp_path / "generated.py").open("wb") as file:
        file.truncate(LARGE_BYTES + 1)
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    return tmp_path


def test_code_and_its_small_files_travel_and_nothing_else(folder: Path) -> None:
    assert sorted(path.relative_to(folder).as_posix() for path in travelling(folder)) == sorted(TRAVELS)


@pytest.mark.parametrize("name", [name for names in STAYS.values() for name in names])
def test_each_of_these_stays_wherever_it_is_asked_about_alone(folder: Path, name: str) -> None:
    assert stays_below(folder, folder / name)
    assert _left_out_of(folder)(Path(name)) and _left_out_of(folder)(folder / name), "as Modal asks"


@pytest.mark.parametrize("name", TRAVELS)
def test_each_of_these_travels_when_asked_about_alone(folder: Path, name: str) -> None:
    assert not _left_out_of(folder)(Path(name)) and not _left_out_of(folder)(folder / name)


def test_a_manifest_names_the_python_files_among_them(folder: Path) -> None:
    assert own_files(f"{folder}/mine.py:words") == (folder, ("mine.py", "secrets.py", "tokens.py"))
