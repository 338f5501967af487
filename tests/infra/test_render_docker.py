"""The Dockerfile: read by a parser, an ordinary user, pinned packages, an allow-list; what pip is told resolves to our pins."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser

from infra.render_docker import PARTS
from pipeline.errors import UsageError
from tests.house import ROOT
from tests.infra.rendering import own_dag, render


def parsed(folder: Path, *words: str) -> list[tuple[str, str]]:
    """Each instruction with its value."""
    (folder / "out").mkdir()
    render("dockerfile", *words, "-o", str(folder / "out" / "Dockerfile"))
    parser = DockerfileParser(str(folder / "out"))
    return [(one["instruction"], one["value"]) for one in parser.structure if one["instruction"] != "COMMENT"]


@pytest.fixture
def steps(tmp_path: Path) -> list[tuple[str, str]]:
    return parsed(tmp_path, own_dag(tmp_path), "--store", "s3://corpus/mill")


def values(steps: list[tuple[str, str]], name: str) -> list[str]:
    return [value for instruction, value in steps if instruction == name]


def test_it_ends_as_an_ordinary_user_who_runs_our_command(steps: list[tuple[str, str]]) -> None:
    names = [name for name, _ in steps]
    assert names[0] == "FROM" and set(names) <= {"FROM", "ARG", "RUN", "WORKDIR", "COPY", "USER", "ENV", "CMD"}
    assert values(steps, "USER") == ["1000"] and names.index("USER") > max(
        place for place, name in enumerate(names) if name == "RUN"
    )
    [command] = values(steps, "CMD")
    assert json.loads(command)[:3] == ["corpusmill", "run", "/opt/dag/words.py:words"]


def test_a_linter_finds_nothing_to_say(tmp_path: Path) -> None:
    own = own_dag(tmp_path)
    for text in (render("dockerfile", own, "--store", "s3://corpus/mill"), render("dockerfile", "quickstart")):
        hadolint = Path(sys.executable).with_name("hadolint")
        done = subprocess.run(
            [hadolint, "--failure-threshold", "style", "-"], input=text, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_it_copies_what_is_named_and_of_an_own_dag_its_sources_alone(steps: list[tuple[str, str]]) -> None:
    copied = [words.split() for words in values(steps, "COPY")]
    ours = [one for words in copied if not words[0].startswith("--") for one in words[:-1]]
    assert sorted(ours) == sorted(PARTS)
    own = [words[1:] for words in copied if words[0] == "--from=dag"]
    assert own == [["*.py", "/opt/dag/"], ["helpers/*.py", "/opt/dag/helpers/"]]


def test_the_dockerignore_lets_in_nothing_else(tmp_path: Path) -> None:
    parsed(tmp_path, "quickstart")
    lines = (tmp_path / "out" / "Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in lines if not line.startswith("#")]
    assert rules[0] == "*" and {line[1:] for line in rules if line.startswith("!")} == set(PARTS)
    assert "**/.*" in rules


def test_every_pip_line_is_bound_by_the_constraints(steps: list[tuple[str, str]]) -> None:
    installs = [shlex.split(value) for value in values(steps, "RUN") if "pip install" in value]
    assert len(installs) == 2
    assert all(words[words.index("-c") + 1] == "constraints.txt" for words in installs)
    assert "torch" in installs[0] and installs[1][-2:] == ["-e", ".[all,s3]"]


@pytest.mark.slow
def test_what_pip_is_told_resolves_to_our_pins(steps: list[tuple[str, str]]) -> None:
    words = shlex.split(next(value for value in values(steps, "RUN") if "-e" in value.split()))
    asked = [sys.executable, *words[1:], "--dry-run", "--no-index", "--quiet", "--report", "-"]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr  # all of it is here as it is pinned, and nothing else is asked for
    names = [one["metadata"]["name"] for one in json.loads(done.stdout)["install"]]
    assert names == ["corpusmill"]


def test_another_index_for_torch_is_an_argument_of_the_build(tmp_path: Path) -> None:
    steps = parsed(tmp_path, "quickstart", "--torch-index", "https://index.example/cpu")
    assert 'TORCH_INDEX="https://index.example/cpu"' in values(steps, "ARG")
    assert "TORCH_INDEX" in next(value for value in values(steps, "RUN") if value.endswith("torch setuptools"))


def test_a_file_that_was_not_rendered_is_never_written_over(tmp_path: Path) -> None:
    place = tmp_path / "Dockerfile"
    place.write_text("FROM scratch\n")
    with pytest.raises(UsageError, match="was not rendered by this command"):
        render("dockerfile", "quickstart", "-o", str(place))
    assert place.read_text() == "FROM scratch\n"
    render("dockerfile", "quickstart", "-o", str(tmp_path / "Other"))
    render("dockerfile", "quickstart", "--store", "s3://corpus/mill", "-o", str(tmp_path / "Other"))
    assert "s3://corpus/mill" in (tmp_path / "Other").read_text()
