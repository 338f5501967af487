"""Pretraining in plain torch: the recipe, the data's order, one loop and its checkpoints. Needs torch and numpy alone.

Each name is imported when it is first asked for: a plan reads a recipe and must not pay for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stages.train.data import PackedTokens, window_starts
    from stages.train.loop import (
        Progress,
        bits_per_byte,
        load_state,
        make_optimizer,
        save_state,
        state_of,
        train,
        update,
    )
    from stages.train.recipe import Recipe

__all__ = [
    "PackedTokens", "Progress", "Recipe", "bits_per_byte", "load_state", "make_optimizer", "save_state", "state_of", "train",
    "update", "window_starts",
]  # fmt: skip

_PLACES = {"PackedTokens": "data", "Recipe": "recipe", "window_starts": "data"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'stages.train' has no attribute {name!r}")
    return getattr(import_module(f"stages.train.{_PLACES.get(name, 'loop')}"), name)
