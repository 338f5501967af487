"""How a model is used, as its card shows it: by what its folder holds."""

from __future__ import annotations

from pipeline.card_facts import Facts

_CHAT = """messages = [{"role": "user", "content": "Hello!"}]
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)"""
_TEXT = """inputs = tokenizer("Once upon a time", return_tensors="pt")"""
_TRANSFORMERS = """from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("FOLDER")
model = AutoModelForCausalLM.from_pretrained("FOLDER")
{inputs}
answer = model.generate(**inputs, max_new_tokens=64)
print(tokenizer.decode(answer[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))"""


def use(facts: Facts) -> str:
    """The lines that load it, with ``FOLDER`` for the folder or the name on the Hub, and those that ask for its lineage."""
    parts = []
    if facts.gguf:
        asked = "llama-server -m" if facts.chat else 'llama-cli -p "Once upon a time" -m'
        parts.append(f"With llama.cpp:\n\n{_block('sh', f'{asked} FOLDER/{facts.gguf}')}")
    if any(name.endswith(".safetensors") for name in facts.made.files):
        rounded = ", and compressed-tensors installed" if "quantization.json" in facts.made.files else ""
        snippet = _TRANSFORMERS.format(inputs=_CHAT if facts.chat else _TEXT)
        parts.append(f"With transformers{rounded}:\n\n{_block('python', snippet)}")
    parts.append(
        f"What it was made of, where its store is:\n\n{_block('sh', f'corpusmill lineage {facts.made.digest[:12]}')}"
    )
    return "\n\n".join(parts)


def _block(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"
