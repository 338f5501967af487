"""Every stage of the chain at its smallest: a few pages and tales to a model of one block that knows six capitals."""

from __future__ import annotations

from dags.quickstart import TALES
from pipeline import Dag, Resources
from pipeline.outcome import Outcome
from stages.collect import Collect
from stages.collect_facts import CollectFacts
from stages.collect_preferences import CollectPreferences
from stages.collect_pydoc import CollectPydoc
from stages.dedup import Dedup
from stages.dpo import Dpo
from stages.encode import Encode
from stages.evaluate import Evaluate
from stages.filter import Filter
from stages.pretrain import Pretrain
from stages.quantize import Quantize
from stages.serve import Question, Serve
from stages.sft import Sft
from stages.train_tokenizer import TrainTokenizer


def base(*, steps: int = 12, threshold: float = 0.8) -> Dag:
    """The data stages and the base model alone."""
    return Dag(_base(steps, threshold)[0])


def quantized(*, steps: int = 24, gpu: str = "") -> Dag:
    """The base model made smaller; it is trained on a GPU of type `gpu`, if one is named."""
    base, tokens = _base(steps, 0.8, gpu)
    return Dag(Quantize(model=base.out, tokens=tokens.out, windows=4, length=32, parity=0.05))


def smallest(*, steps: int = 12, threshold: float = 0.8, sft_steps: int = 160) -> Dag:
    """Two sources, one model, all stages; less than a minute."""
    base, tokens = _base(steps, threshold)
    facts = CollectFacts(capitals=6, currencies=0, symbols=0, largest_operand=-1)
    sft = Sft(model=base.out, chats=facts.out, steps=sft_steps, learning_rate=5e-3, threads=1)
    preferences = CollectPreferences(model=sft.out, chats=facts.out, questions=60, samples=8, temperature=1.5, least=4)
    dpo = Dpo(model=sft.out, preferences=preferences.out, steps=4, batch_size=4, heldout=0.4, threads=1)
    small = Quantize(model=dpo.out, tokens=tokens.out, windows=4, length=32, parity=0.05)
    return Dag(
        Serve(model=small.out, questions=(Question(text="What is the capital of India?", expected="New Delhi"),)),
        Evaluate(model=base.out, chats=facts.out, shots=2, label="evaluate-base"),
        Evaluate(model=small.out, chats=facts.out, label="evaluate-small"),
        summary=_told,
    )


def _told(outcome: Outcome) -> list[str]:
    metrics = outcome.manifests["serve"].metrics
    return [f"answered: {metrics['right']:.0f} of {metrics['asked']:.0f}"]


def _base(steps: int, threshold: float, gpu: str = "") -> tuple[Pretrain, Encode]:
    pages = Filter(
        label="filter-pages", documents=CollectPydoc(modules=("bisect", "heapq", "json", "textwrap")).out,
        language_score=0.3, min_alpha_words=0.5, repetition_scale=2, whole_sentences=False, no_curly_brackets=False,
    )  # fmt: skip
    tales = Filter(
        label="filter-tales", rules=("language", "quality"), min_alpha_words=0.6,
        documents=Collect(
            label="collect-tales", source=TALES, name="tales", format="orange", text_field="Content", paragraph_mark="  ", limit=12
        ).out,
    )  # fmt: skip
    unique = Dedup(documents=(pages.out, tales.out), threshold=threshold)
    tokenizer = TrainTokenizer(documents=unique.out, vocab_size=1024)
    tokens = Encode(documents=unique.out, tokenizer=tokenizer.out, validation=0.1)
    return Pretrain(
        tokens=tokens.out,
        tokenizer=tokenizer.out,
        depth=1,
        width=64,
        steps=steps,
        sequence=64,
        threads=1,
        checkpoint_every=4,
        resources=Resources(gpu=gpu),
    ), tokens
