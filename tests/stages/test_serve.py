"""Serve: the folder holds a service that has answered; what it said is written down, right or wrong."""

import json
from pathlib import Path

import pytest

from pipeline import Context, StageFailed
from stages.kinds import Model, Service
from stages.serve import Question, Serve
from tests.tiny_llama import FACTS, trained

QUESTIONS = (
    *(Question(text=text, expected=answer) for text, answer in FACTS.items()),
    Question(text="What is the capital of France?", expected="London", held_out=True),
    Question(text="What is the capital of Peru?"),
)


def serve(work: Path, **settings: object) -> tuple[Path, dict[str, float]]:
    ctx = Context.local(work)
    given = {"model": Model(trained()[1]), "questions": QUESTIONS, "max_tokens": 12, **settings}
    Serve(**given).run(Service(work / "data"), ctx)  # type: ignore[arg-type]
    return work / "data", ctx.metrics


def test_the_answers_are_kept_and_marked_right_or_wrong(tmp_path: Path) -> None:
    folder, metrics = serve(tmp_path)
    answers = json.loads((folder / "smoke.json").read_text())["answers"]
    assert [answer["answer"] for answer in answers] == ["Paris.", "Lima.", "Paris.", "Lima."]
    assert [answer["right"] for answer in answers] == [True, True, False, None]
    assert [answer["held_out"] for answer in answers] == [False, False, True, False]
    assert metrics["right"] == 2 and metrics["marked"] == 3 and metrics["asked"] == 4
    assert metrics["tokens_per_second"] > 0 and metrics["first_token_seconds"] > 0
    assert metrics["bytes"] == (folder / "model.gguf").stat().st_size


def test_two_services_of_one_model_have_the_same_bytes_and_name_no_machine(tmp_path: Path) -> None:
    first, second = serve(tmp_path / "first")[0], serve(tmp_path / "second")[0]
    assert sorted(path.name for path in first.iterdir()) == ["model.gguf", "service.json", "smoke.json"]
    for path in first.iterdir():
        data = path.read_bytes()
        assert data == (second / path.name).read_bytes()
        assert str(tmp_path).encode() not in data and b"127.0.0.1" not in data


def test_the_folder_starts_as_its_service_json_says(tmp_path: Path) -> None:
    from stages.service.client import Client
    from stages.service.launch import app_of
    from stages.service.local import serving

    folder, _ = serve(tmp_path, name="tiny/v1", limit=3)
    with serving(app_of(folder)) as url:
        client = Client(url)
        assert client.models() == ["tiny/v1"]
        found = client.complete([{"role": "user", "content": "What is the capital of France?"}], max_tokens=9)
        assert found["usage"]["completion_tokens"] <= 3


def test_a_model_without_gguf_cannot_be_served(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match=r"holds no model.gguf") as fault:
        serve(tmp_path, model=Model(trained()[0]))
    assert "Quantize" in fault.value.mend


def test_a_file_that_is_no_gguf_cannot_be_served(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "model.gguf").write_bytes(b"GGUF" + b"\0" * 100)
    with pytest.raises(StageFailed, match=r"llama.cpp cannot load model.gguf"):
        serve(tmp_path / "work", model=Model(folder), context=64)
    assert "".join(capfd.readouterr()) == ""
