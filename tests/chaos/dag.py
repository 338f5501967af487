"""What is killed: three folders of generated text to a tiny model, through every kind of stage that commits."""

from __future__ import annotations

import random
from pathlib import Path

from pipeline import Dag
from stages.collect import Collect
from stages.dedup import Dedup
from stages.encode import Encode
from stages.filter import Filter
from stages.pretrain import Pretrain
from stages.train_tokenizer import TrainTokenizer

FOLDERS, TEXTS, SENTENCES = 3, 40, 12
VOCABULARY = """
the a this that every old young quiet river mountain village garden window letter teacher farmer sailor child horse bird
walks sings remembers carries opens finds follows watches answers builds slowly gladly never often and but because while
under over beside towards before after with without of in from to summer winter morning evening rain snow bread stone song
"""
WORDS = VOCABULARY.split()


def write_texts(folder: Path, seed: int = 0) -> None:
    """Generate the folders of text, a tenth of it said twice."""
    draw = random.Random(seed)
    texts: list[str] = []
    for number in range(FOLDERS * TEXTS):
        sentences = (" ".join(draw.choices(WORDS, k=draw.randint(8, 16))).capitalize() + "." for _ in range(SENTENCES))
        texts.append(draw.choice(texts) if texts and draw.random() < 0.1 else " ".join(sentences))
        place = folder / f"texts-{number % FOLDERS}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:04d}.txt").write_text(texts[-1] + "\n")


def chaos(*, texts: str, steps: int = 60) -> Dag:
    """The data stages and a short pretraining on the CPU."""
    filtered = [
        Filter(
            documents=Collect(source=f"{texts}/texts-{number}", label=f"collect-{number}").out,
            rules=("quality",), min_words=30, min_stop_words=1, label=f"filter-{number}",
        ).out
        for number in range(FOLDERS)
    ]  # fmt: skip
    unique = Dedup(documents=tuple(filtered))
    tokenizer = TrainTokenizer(documents=unique.out, vocab_size=384)
    tokens = Encode(documents=unique.out, tokenizer=tokenizer.out, validation=0.1)
    return Dag(
        Pretrain(
            tokens=tokens.out, tokenizer=tokenizer.out, depth=1, width=64, steps=steps, sequence=32, batch=8, threads=1,
            checkpoint_every=5, evaluate_every=0, evaluate_tokens=1024,
        )
    )  # fmt: skip
