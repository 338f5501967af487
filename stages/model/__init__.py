"""A Llama in plain torch: its shape, its checkpoint and its generation. Needs torch and numpy alone."""

from stages.model.checkpoint import load, load_config, save
from stages.model.config import LlamaConfig, shape
from stages.model.generation import generate
from stages.model.llama import Llama

__all__ = ["Llama", "LlamaConfig", "generate", "load", "load_config", "save", "shape"]
