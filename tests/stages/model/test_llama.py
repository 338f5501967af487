"""Our Llama beside the one in transformers: same logits, same answers, same files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from stages.model import Llama, LlamaConfig, generate, load, save

SHAPES = {
    "tied": LlamaConfig(vocab_size=97, layers=2, width=32, heads=4, kv_heads=4, hidden=48, sequence=64, pad=1),
    "untied and grouped": LlamaConfig(
        vocab_size=97,
        layers=3,
        width=32,
        heads=4,
        kv_heads=2,
        hidden=48,
        sequence=64,
        tied=False,
        eos=(0, 5),
        rope_theta=5e3,
    ),
}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(params=SHAPES)
def model(request: pytest.FixtureRequest) -> Llama:
    model = Llama(SHAPES[request.param]).initialise(1)
    with torch.no_grad():  # larger weights than at birth, so that attention and norms matter
        for parameter in model.parameters():
            parameter.mul_(4.0)
    return model.eval()


def prompts(count: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(6, 97, (1 + place % 7,), generator=generator).tolist() for place in range(count)]


def test_a_saved_model_loads_to_the_same_logits(model: Llama, tmp_path: Path) -> None:
    save(model, tmp_path)
    tokens = torch.tensor([[3, 14, 15, 92]])
    with torch.inference_mode():
        assert torch.equal(model(tokens), load(tmp_path)(tokens))
    assert load(tmp_path).config == model.config


def test_the_cache_changes_no_answer(model: Llama) -> None:
    for prompt, answer in zip(prompts(9), generate(model, prompts(9), 12), strict=True):
        seen = list(prompt)
        for token in answer:
            with torch.inference_mode():
                assert model(torch.tensor([seen]))[0, -1].argmax().item() == token
            seen.append(token)


def test_an_answer_does_not_depend_on_its_batch(model: Llama) -> None:
    alone = [generate(model, [prompt], 12)[0] for prompt in prompts(9)]
    assert generate(model, prompts(9), 12) == alone
    assert generate(model, prompts(9), 12, batch=4) == alone


def test_a_stop_token_ends_its_answer_alone(model: Llama) -> None:
    free = generate(model, prompts(9), 12)
    stop = free[4][3]
    stopped = generate(model, prompts(9), 12, stop_ids=[stop])
    assert stopped == [answer[: answer.index(stop)] if stop in answer else answer for answer in free]
    assert len(stopped[4]) < 12


def test_sampling_follows_its_seed(model: Llama) -> None:
    first = generate(model, prompts(9), 12, temperature=1.0, seed=1)
    assert first == generate(model, prompts(9), 12, temperature=1.0, seed=1)
    assert first != generate(model, prompts(9), 12, temperature=1.0, seed=2)
    assert generate(model, prompts(9), 12, temperature=1.0, top_k=1) == generate(model, prompts(9), 12)


def test_an_empty_prompt_is_refused(model: Llama) -> None:
    with pytest.raises(ValueError, match="at least one token"):
        generate(model, [[]], 3)


def test_a_model_of_another_family_is_refused(tmp_path: Path, model: Llama) -> None:
    save(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "gpt2"}))
    with pytest.raises(ValueError, match="model_type is 'gpt2'"):
        load(tmp_path)


@pytest.mark.parametrize("wrong", [{"heads": 5}, {"kv_heads": 3}, {"head_width": 7}])
def test_a_shape_that_cannot_be_built_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="width|kv_heads"):
        LlamaConfig(
            **(
                {"vocab_size": 8, "layers": 1, "width": 32, "heads": 4, "kv_heads": 4, "hidden": 8, "sequence": 8}
                | wrong
            )
        )  # type: ignore[arg-type]


@pytest.mark.slow
def test_transformers_reads_the_checkpoint_as_it_is(model: Llama, tmp_path: Path) -> None:
    from transformers import LlamaForCausalLM

    save(model, tmp_path)
    theirs = LlamaForCausalLM.from_pretrained(tmp_path).eval()
    tokens = torch.tensor(prompts(7)[6:]) % 97
    with torch.inference_mode():
        assert (theirs(tokens).logits - model(tokens)).abs().max() < 1e-4
        assert sum(p.numel() for p in theirs.parameters()) == model.parameter_count()
    for prompt in prompts(5):
        answer = generate(model, [prompt], 10, stop_ids=model.config.eos)[0]
        given = theirs.generate(torch.tensor([prompt]), max_new_tokens=10, do_sample=False)[0, len(prompt) :].tolist()
        assert [token for token in given if token not in model.config.eos] == answer
    theirs.save_pretrained(tmp_path / "theirs")
    with torch.inference_mode():
        assert torch.equal(load(tmp_path / "theirs")(tokens), model(tokens))
