"""What was made elsewhere is copied, checked and kept under the digest of its content, and a dag takes it as if made here."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import Context, Dag, DagError, SourceError, StageFailed, StoreError, UsageError
from pipeline.adopt import Adopted, adopt
from pipeline.executor import Inline
from pipeline.outcome import Outcome
from pipeline.plan import plan
from pipeline.run import run
from pipeline.store import Store
from stages.adopt import KINDS, AdoptChats, AdoptDocuments, AdoptModel, AdoptTokenizer
from stages.chat_documents import ChatDocuments
from stages.evaluation.answering import Manner, chat, stop_ids
from stages.kinds import Chats
from stages.sft import Sft
from stages.tuning import conversations
from stages.tuning.conversations import Chat, dialogue
from tests.s3 import S3

CHAT = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

KILLED = """
import os, signal, sys
from pipeline import adopt, elsewhere
from pipeline.store import Store
def die(file, target, room):
    elsewhere.pour(file, target, room)
    if file.name == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)
    return target.stat().st_size
adopt.pour = die
adopt.adopt("chats", sys.argv[2], Store(sys.argv[3]), most=1 << 20)
"""


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """A folder with two parquet files of conversations, and what data sets have beside them."""
    for name, word in (("b.parquet", "two"), ("a.parquet", "one")):
        conversations.write(tmp_path / "talk" / name, [Chat(dialogue(f"Say {word}.", word), "x", "train", word, "")])
    (tmp_path / "talk" / "README.md").write_text("talk")
    (tmp_path / "talk" / "loader.py").write_text("raise SystemExit")
    return tmp_path / "talk"


def adopted(folder: Path, tmp_path: Path, kind: str = "chats", most: int = 1 << 30) -> Adopted:
    return adopt(kind, str(folder), Store(str(tmp_path / "store")), licence="MIT", most=most)


def texts(dag: Dag, tmp_path: Path) -> str:
    outcome = run(dag, Store(str(tmp_path / "store")), name="adopted", dials={}, executor=Inline)
    assert outcome.ok, outcome.faults
    (shard,) = outcome.data("chat-documents").glob("*.parquet")
    import pyarrow.parquet as pq

    return str(pq.read_table(shard)["text"].to_pylist()[0])


def test_a_dag_takes_what_was_adopted_as_if_it_were_made_here(talk: Path, tmp_path: Path) -> None:
    made = adopted(talk, tmp_path).manifest
    assert sorted(made.files) == ["part-00000.parquet", "part-00001.parquet"]
    dag = Dag(ChatDocuments(chats=AdoptChats(digest=made.digest).out))
    entry = plan(dag, Store(str(tmp_path / "store"))).entries["adopt-chats"]
    assert (entry.state, entry.reason) == ("cached", f"adopted from {talk}")
    assert "Say one." in texts(dag, tmp_path) and "Say two." in texts(dag, tmp_path)


def test_its_origin_is_on_record(talk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORPUSMILL_USER", "ada")
    made = adopted(talk, tmp_path)
    assert made.manifest.origin.pop("when") and made.manifest.origin == {
        "from": str(talk), "who": "ada", "licence": "MIT",
    }  # fmt: skip
    assert made.left_out == ("README.md", "loader.py")


def test_the_same_content_adds_nothing_wherever_it_lies(talk: Path, tmp_path: Path) -> None:
    first = adopted(talk, tmp_path)
    shutil.copytree(talk, tmp_path / "copy")
    second = adopted(tmp_path / "copy", tmp_path)
    assert not first.known and second.known and second.manifest == first.manifest
    assert len(Store(str(tmp_path / "store")).of_stage("adopt-chats")) == 1
    assert not [path for path in (tmp_path / "store" / ".partial").rglob("*") if path.suffix == ".parquet"]


def test_what_happens_to_the_original_later_changes_nothing(talk: Path, tmp_path: Path) -> None:
    made = adopted(talk, tmp_path).manifest
    with (talk / "a.parquet").open("r+b") as file:
        file.write(b"XXXX")
    shutil.rmtree(talk)
    folder = Store(str(tmp_path / "store")).data(made)
    assert Chats(folder).count() == 2


def test_data_that_was_dropped_can_be_adopted_again(talk: Path, tmp_path: Path) -> None:
    from pipeline.store import place_of

    made = adopted(talk, tmp_path).manifest
    place = tmp_path / "store" / place_of(made)
    shutil.rmtree(place / "data")
    (place / "dropped.json").write_text('{"who": "ada", "when": 1, "size": 1}')
    again = adopted(talk, tmp_path)
    assert not again.known and again.manifest.digest == made.digest
    store = Store(str(tmp_path / "store"))
    entry = plan(Dag(AdoptChats(digest=made.digest)), store).entries["adopt-chats"]
    assert entry.state == "cached" and entry.manifest == again.manifest


def test_data_that_was_damaged_is_mended_by_adopting_it_again(talk: Path, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    made = adopted(talk, tmp_path).manifest
    with (store.data(made) / "part-00000.parquet").open("r+b") as file:
        file.write(b"XXXX")
    with pytest.raises(StoreError, match=f"adopt it again: corpusmill adopt chats {talk}"):
        store.data(made)
    again = adopted(talk, tmp_path)
    assert not again.known and again.manifest.digest == made.digest
    assert store.in_force(made.stage, made.key, "") == again.manifest and Chats(store.data(again.manifest)).count() == 2


def test_a_store_on_s3_takes_what_lies_on_s3(
    talk: Path, tmp_path: Path, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    theirs, ours = s3.bucket(), s3.bucket()
    fsspec.filesystem("s3").put(f"{talk}/", f"{theirs}/talk/", recursive=True)
    first = adopt("chats", f"{theirs}/talk", Store(ours), most=1 << 20)
    assert first.manifest.origin["from"] == f"{theirs}/talk" and first.left_out == ("README.md", "loader.py")
    shutil.rmtree(tmp_path / "cache")
    assert Chats(Store(ours).data(first.manifest)).count() == 2
    assert adopt("chats", str(talk), Store(ours), most=1 << 20).known
    assert plan(Dag(AdoptChats(digest=first.manifest.digest)), Store(ours)).complete
    with pytest.raises(SourceError, match=f"{theirs}/nothing cannot be read"):
        adopt("chats", f"{theirs}/nothing", Store(ours), most=1 << 20)


def test_edited_code_leaves_what_was_adopted_in_force(talk: Path, tmp_path: Path) -> None:
    made = adopted(talk, tmp_path).manifest
    assert Store(str(tmp_path / "store")).in_force(made.stage, made.key, "another digest") == made


@pytest.mark.parametrize("last", ["a.parquet", "b.parquet"])
def test_a_kill_in_the_middle_leaves_nothing_that_is_half_there(talk: Path, tmp_path: Path, last: str) -> None:
    command = [sys.executable, "-c", KILLED, last, str(talk), str(tmp_path / "store")]
    assert subprocess.run(command, check=False).returncode == -9
    store = Store(str(tmp_path / "store"))
    assert store.of_stage("adopt-chats") == []
    assert not adopted(talk, tmp_path).known
    assert not list((tmp_path / "store" / ".partial").rglob("*.parquet"))


def test_what_is_too_large_is_refused_before_it_is_copied(talk: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=f"{talk}: it holds .*, more than 100 B\n.*--max-gb"):
        adopted(talk, tmp_path, most=100)
    assert not list((tmp_path / "store").rglob("*.parquet"))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system of some kilobytes")
def test_a_full_disk_is_one_clear_error_and_the_copy_is_gone(talk: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (talk / "a.parquet").write_bytes(bytes(1 << 20))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(tmp_path / "store")], check=True)
    try:
        with pytest.raises(StoreError, match="no space left on the disk"):
            adopted(talk, tmp_path)
        assert not list((tmp_path / "store").rglob("*.parquet"))
    finally:
        subprocess.run(["umount", "-l", str(tmp_path / "store")], check=True)


def test_a_stage_whose_content_was_never_adopted_names_the_command(tmp_path: Path) -> None:
    for kind, found in KINDS.items():
        stage = found.stage(digest="0" * 64)
        with pytest.raises(StageFailed, match=f"adopt it first: corpusmill adopt {kind} PATH"):
            stage.run(stage.makes(tmp_path), Context.local(tmp_path / "work"))


@pytest.mark.parametrize("digest", ["", "3f9a", "0" * 63 + "G", "0" * 65])
def test_what_is_no_digest_is_refused_when_the_dag_is_drawn(digest: str) -> None:
    with pytest.raises(DagError, match=r"AdoptModel\.digest.*no content digest: give the 64 hex digits"):
        AdoptModel(digest=digest)


def test_a_misspelt_kind_is_one_clear_error(talk: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'chats'?"):
        adopted(talk, tmp_path, "chat")


def test_the_command_says_what_it_took_and_how_a_dag_uses_it(talk: Path, tmp_path: Path) -> None:
    def said(*words: str) -> str:
        command = [sys.executable, "-c", "from pipeline.cli import main; main()", "adopt", *words]
        done = subprocess.run([*command, "--store", str(tmp_path / "store")], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    first = said("chats", str(talk))
    digest = re.search('AdoptChats\\(digest="([0-9a-f]{64})"\\).out', first)
    assert digest and re.match(rf"adopted: chats, 2 files, .* kB, digest {digest[1][:12]}…  \(from .*talk\)", first)
    assert "left out: README.md, loader.py" in first
    assert said("chats", str(talk)).startswith("adopted already: chats, 2 files")
    assert said("chats", str(talk), "--quiet") == f"{digest[1]}\n"


def test_encode_ends_documents_with_the_eos_token_of_a_tokenizer_made_elsewhere(tmp_path: Path) -> None:
    import numpy as np
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    from stages.encode import Encode
    from stages.kinds import Tokens
    from stages.text.shards import document, write_documents

    engine = Tokenizer(models.BPE())
    engine.pre_tokenizer, engine.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    engine.train_from_iterator(["tale"], trainers.BpeTrainer(special_tokens=["<s>", "</s>"], initial_alphabet=alphabet))
    engine.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    (tmp_path / "theirs").mkdir()
    engine.save(str(tmp_path / "theirs" / "tokenizer.json"))
    with pytest.raises(SourceError, match=f"{tmp_path / 'theirs'}: .*no token that ends a document"):
        adopted(tmp_path / "theirs", tmp_path, "tokenizer")
    (tmp_path / "theirs" / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "</s>"}}))
    found = adopted(tmp_path / "theirs", tmp_path, "tokenizer")
    assert found.notes == ("it has no <|pad|> and no <|end|>: Encode takes it, Pretrain does not",)
    rows = [document(text, text, source="x", url="", metadata={}) for text in ("one tale", "another tale")]
    write_documents(tmp_path / "texts", "part-00000", rows)
    texts = adopted(tmp_path / "texts", tmp_path, "documents").manifest.digest
    dag = Dag(
        Encode(
            documents=AdoptDocuments(digest=texts).out,
            tokenizer=AdoptTokenizer(digest=found.manifest.digest).out,
            validation=0,
        )
    )
    outcome = run(dag, Store(str(tmp_path / "store")), name="adopted", dials={}, executor=Inline)
    assert outcome.ok, outcome.faults
    tokens = Tokens(outcome.data("encode"))
    ids = np.fromfile(tokens.path / "train.bin", dtype="<u2").tolist()
    assert tokens.info()["boundary"] == 1 and ids.count(1) == 2 and ids[-1] == 1 and 0 not in ids
    assert sorted(engine.decode(ids).split()) == ["another", "one", "tale", "tale"]
    assert not adopted(tokens.path, tmp_path, "tokens").known


def chat_model(folder: Path, template: str | None) -> Path:
    """A Llama in bfloat16 with a tokenizer and special tokens of its own, as transformers saves one."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    engine = Tokenizer(models.BPE())
    engine.pre_tokenizer, engine.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<|im_start|>", "<|im_end|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    engine.train_from_iterator(["tale"], trainers.BpeTrainer(special_tokens=special, initial_alphabet=alphabet))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=engine, eos_token="<|im_end|>", pad_token="<|im_end|>")
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        eos_token_id=1, bos_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).to(dtype=torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_sft_goes_on_from_a_published_model_with_a_tokenizer_of_its_own(talk: Path, tmp_path: Path) -> None:
    def tuned(place: str, template: str | None) -> Outcome:
        made = adopted(chat_model(tmp_path / place, template), tmp_path, "model")
        assert bool(made.notes) == (template is None)
        stage = Sft(
            model=AdoptModel(digest=made.manifest.digest).out, chats=chats.out, steps=2, batch_size=2, threads=1
        )
        return run(Dag(stage), Store(str(tmp_path / "store")), name="adopted", dials={}, executor=Inline)

    chats = AdoptChats(digest=adopted(talk, tmp_path).manifest.digest)
    good = tuned("marked", CHAT)
    assert good.ok, good.faults
    assert stop_ids(good.data("sft")) == [1]
    assert chat(good.data("sft"), [dialogue("Say one.", "")[:1]], Manner(max_tokens=2))
    unmarked = CHAT.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    assert "does not mark the assistant's part" in str(tuned("unmarked", unmarked).faults["sft"])
    assert "put a chat_template.jinja beside tokenizer.json" in str(tuned("none", None).faults["sft"])
