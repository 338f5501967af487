"""Pretraining in plain torch: the recipe, the data's order, one loop and its checkpoints. Needs torch and numpy alone."""

from stages.train.data import PackedTokens, window_starts
from stages.train.loop import Progress, bits_per_byte, load_state, make_optimizer, save_state, state_of, train, update
from stages.train.recipe import Recipe

__all__ = [
    "PackedTokens", "Progress", "Recipe", "bits_per_byte", "load_state", "make_optimizer", "save_state", "state_of", "train",
    "update", "window_starts",
]  # fmt: skip
