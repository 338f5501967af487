"""What of the code travels to another machine, and what stays."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from infra import shipped
from infra.travels import LARGE_BYTES
from pipeline import UsageError

PACKS = """
import sys
sys.path.append(sys.argv[1])
import mine
from pathlib import Path
from infra.shipped import pack, place_of, roots
pack(Path(sys.argv[2]))
print(place_of(Path(sys.argv[1]) / "below"))
"""


def _packed(folder: Path, target: Path) -> tuple[list[str], str]:
    """The names in the zip that a process writes which has imported `mine` from `folder`, and where it says a folder is."""
    done = subprocess.run([sys.executable, "-c", PACKS, str(folder), str(target)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(target).namelist(), done.stdout.strip()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of a dag's, with all that tools and people leave in one."""
    made = tmp_path / "own"
    (made / "below").mkdir(parents=True)
    (made / "mine.py").write_text("import helper\n")
    (made / "helper.py").write_text("WORDS = open(__file__).read()\n")
    (made / "below" / "words.txt").write_text("words")
    (made / "below" / "tokens.py").write_text("TOKENS = 3\n")
    for name in (
        ".env",
        "below/api-token.txt",
        "below/server.pem",
        ".git/config",
        ".venv/pyvenv.cfg",
        "env/pyvenv.cfg",
        "__pycache__/mine.pyc",
        "mill/.runs/1/run",
    ):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text("secret")
    with (made / "raw.jsonl").open("wb") as file:
        file.truncate(LARGE_BYTES + 1)
    return made


def test_the_project_and_the_users_own_folder_travel_without_what_is_hidden_made_or_large(
    folder: Path, tmp_path: Path
) -> None:
    names, place = _packed(folder, tmp_path / "code.zip")
    assert {"pipeline/job.py", "stages/dedup.py", "infra/ray_jobs.py", "dags/quickstart.py"} <= set(names)
    root = place.removesuffix("/below")
    below = [name.removeprefix(f"{root}/") for name in names if name.startswith(f"{root}/")]
    assert sorted(below) == ["below/tokens.py", "below/words.txt", "helper.py", "mine.py"]
    assert not [name for name in names if name.endswith(".pyc") or "/." in name or name.startswith(".")]


def test_the_same_code_makes_the_same_bytes_so_that_a_cluster_unpacks_it_once(folder: Path, tmp_path: Path) -> None:
    for name in ("one.zip", "two.zip"):
        _packed(folder, tmp_path / name)
        (folder / "mine.py").touch()
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_a_folder_that_holds_too_much_is_one_clear_error(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "roots", lambda: [folder])
    monkeypatch.setattr(shipped, "MOST_BYTES", 10_000_000)
    for number in range(3):
        with (folder / f"pages-{number}.html").open("wb") as file:
            file.truncate(4_000_000)
    with pytest.raises(UsageError, match=r"more than 10\.0 MB, and \d+\.\d MB of it lie in .*own") as raised:
        shipped.pack(tmp_path / "code.zip")
    assert "a folder of their own, without data" in raised.value.mend
