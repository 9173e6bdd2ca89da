"""llama.cpp through llama-cpp-python's low-level API, in objects that own what they allocate."""

# ruff: noqa: E402
import os

from templora_edge.host.cores import limit_spinning

limit_spinning(os.environ)  # libgomp reads it when llama.cpp is loaded, below

from templora_edge.engine.adapter import Adapter
from templora_edge.engine.context import Context
from templora_edge.engine.engine import LlamaEngine
from templora_edge.engine.model import Model
from templora_edge.engine.sampler import Sampler
from templora_edge.engine.vocab import Vocab

__all__ = ["Adapter", "Context", "LlamaEngine", "Model", "Sampler", "Vocab"]
