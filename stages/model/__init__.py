"""A Llama in plain torch: its shape, its checkpoint and its generation. Needs torch and numpy alone.

Each name is imported when it is first asked for: a plan reads a model's shape and must not pay for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stages.model.checkpoint import load, load_config, save
    from stages.model.config import LlamaConfig, shape
    from stages.model.generation import generate
    from stages.model.llama import Llama

__all__ = ["Llama", "LlamaConfig", "generate", "load", "load_config", "save", "shape"]

_PLACES = {"Llama": "llama", "LlamaConfig": "config", "generate": "generation", "shape": "config"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'stages.model' has no attribute {name!r}")
    return getattr(import_module(f"stages.model.{_PLACES.get(name, 'checkpoint')}"), name)
