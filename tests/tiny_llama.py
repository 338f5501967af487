"""A Llama so small that a test trains it in a second: it knows two capitals, and has all that a checkpoint has."""

import atexit
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path

FACTS = {"What is the capital of France?": "Paris.", "What is the capital of Peru?": "Lima."}
TEXT = "The quick brown fox jumps over the lazy dog, and it's 1234 of them! "


def write_tokenizer(folder: Path, vocabulary: int = 384) -> None:
    """A byte-level BPE with the project's special tokens and chat template."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    from stages.text.tokenizer import CHAT_TEMPLATE, END_OF_TEXT, PAD, SPECIAL, SPLIT

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    texts = [TEXT, *FACTS, *FACTS.values(), "Once upon a time there was a king who had three sons and a golden bird."]
    tokenizer.train_from_iterator([text for text in texts for _ in range(4)], trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "pad_token": PAD,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")


def write_model(folder: Path, *, updates: int = 80, tied: bool = True, kv_heads: int = 2, width: int = 64) -> Path:
    """A checkpoint in `folder` that answers FACTS after enough updates; returns `folder`."""
    import torch

    from stages.model import Llama, LlamaConfig, save
    from stages.text.tokenizer import load_tokenizer, render_chat

    write_tokenizer(folder)
    tokenizer = load_tokenizer(folder)
    torch.set_num_threads(1)  # two threads that share a core with other work are many times slower
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(), layers=2, width=width, heads=4, kv_heads=kv_heads, hidden=2 * width,
        sequence=128, tied=tied, bos=0, eos=(0, 5), pad=1,
    )  # fmt: skip
    model = Llama(config)
    with torch.no_grad():  # norms that are not all 1 would otherwise hide a norm that went to the wrong place
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.copy_(1 + 0.2 * torch.randn_like(parameter))
            elif name == "embed.weight":
                parameter.normal_(0, 0.5)
    chats = [
        [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        for question, answer in FACTS.items()
    ]
    encoded = [tokenizer.encode(render_chat(folder, chat), add_special_tokens=False).ids for chat in chats]
    longest = max(map(len, encoded))
    ids = torch.tensor([[*found, *[1] * (longest - len(found))] for found in encoded])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(updates):
        logits = model(ids[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    save(model, folder)
    return folder


def write_gguf(model: Path, folder: Path) -> Path:
    """A folder with the model.gguf (Q8_0) of a checkpoint; returns `folder`."""
    from stages.quant.gguf_export import export

    folder.mkdir(parents=True)
    export(model, folder / "model.gguf", "q8_0")
    return folder


@cache
def trained() -> tuple[Path, Path]:
    """A trained checkpoint and a folder with its GGUF, made once in this process and removed when it ends."""
    folder = Path(tempfile.mkdtemp(prefix="tiny-llama-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    model = write_model(folder / "model")
    return model, write_gguf(model, folder / "gguf")
