"""A model loaded by llama.cpp."""

import ctypes
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import llama_cpp

from templora_edge.closing import Closing
from templora_edge.engine import backend, gpu
from templora_edge.engine.pointer import Pointer
from templora_edge.engine.vocab import Vocab
from templora_edge.errors import EngineError, ModelFileError
from templora_edge.models.gguf_file import GgufFile, check_is_gguf

if TYPE_CHECKING:
    from llama_cpp.llama_chat_format import Jinja2ChatFormatter


class Model(Closing):
    """Owns a `llama_model`; the file is mapped read-only, and repacked weights are a copy.

    Raises:
        ModelFileError: the file is not a model that llama.cpp can load.
        OptionError: layers are asked for on a GPU, and there is none.
    """

    pointer = Pointer()

    def __init__(self, path: Path, n_gpu_layers: int | str = 0, *, repack: bool = False) -> None:
        """Load the model at ``path``, ``n_gpu_layers`` and ``repack`` as in `EngineOptions`."""
        check_is_gguf(path)
        backend.start()
        backend.clear_errors()
        params = llama_cpp.llama_model_default_params()
        params.use_extra_bufts = repack
        self.gpu = gpu.configure(params, n_gpu_layers)
        """Name of the GPU that holds layers of the model; None: the processor computes alone."""
        pointer = llama_cpp.llama_model_load_from_file(bytes(path), params)
        if not pointer:
            GgufFile(path)  # raises a clearer error if the file is damaged or an adapter
            where = "" if self.gpu is None else f"that fits on {self.gpu} (lower -ngl; 0: no GPU), "
            raise ModelFileError(
                f"{path}: llama.cpp cannot load it ({backend.last_error()}); "
                f"expected a whole GGUF model {where}of an architecture it knows"
            )
        self.path = path
        self.pointer = pointer
        self.vocab = Vocab(llama_cpp.llama_model_get_vocab(pointer))
        if llama_cpp.llama_model_has_encoder(pointer):
            self.close()
            raise ModelFileError(f"{path}: an encoder model; expected a decoder-only one")

    @cached_property
    def gguf(self) -> GgufFile:
        """Metadata of the file, read once: a large vocabulary takes a tenth of a second."""
        return GgufFile(self.path)

    @property
    def n_swa(self) -> int:
        """Tokens in a sliding window, with the current one; 0 without sliding-window layers."""
        return int(llama_cpp.llama_model_n_swa(self.pointer))

    @property
    def n_layers(self) -> int:
        """Number of decoder layers."""
        return int(llama_cpp.llama_model_n_layer(self.pointer))

    @property
    def n_embd(self) -> int:
        """Width of hidden states."""
        return int(llama_cpp.llama_model_n_embd(self.pointer))

    @property
    def n_params(self) -> int:
        """Number of weights."""
        return int(llama_cpp.llama_model_n_params(self.pointer))

    def metadata(self, key: str) -> str | None:
        """The metadata value of ``key`` as llama.cpp prints it; None if absent."""
        size = llama_cpp.llama_model_meta_val_str(self.pointer, key.encode(), None, 0)
        if size < 0:
            return None
        buffer = ctypes.create_string_buffer(size + 1)
        llama_cpp.llama_model_meta_val_str(self.pointer, key.encode(), buffer, size + 1)
        return buffer.value.decode("utf-8", "replace")

    def chat_prompt(self, messages: Sequence[dict[str, str]]) -> str:
        """Render turns (role, content) in the GGUF's chat template, up to the model's next turn.

        The result is for `Vocab.tokenize_prompt`. Thinking is turned off if the template can do so
        (``enable_thinking``).

        Raises:
            EngineError: the GGUF has no chat template, or the template fails.
        """
        formatter = self._chat_formatter
        try:
            formatted = formatter(messages=cast(Any, messages), enable_thinking=False)
        except Exception as error:  # a template is foreign code and can raise anything
            raise self._template_failed(error) from error
        return str(formatted.prompt)

    @cached_property
    def _chat_formatter(self) -> "Jinja2ChatFormatter":
        from llama_cpp.llama_chat_format import Jinja2ChatFormatter

        template = self.metadata("tokenizer.chat_template")
        if template is None:
            raise EngineError(
                f"{self.path}: no chat template (tokenizer.chat_template) in the GGUF; "
                "give the prompt without --chat"
            )
        eos, bos = self.vocab.text(self.vocab.eos), self.vocab.text(self.vocab.bos)
        try:
            return Jinja2ChatFormatter(template, eos_token=eos, bos_token=bos)
        except Exception as error:
            raise self._template_failed(error) from error

    def _template_failed(self, error: Exception) -> EngineError:
        reason = " ".join(str(error).split())[:200]
        return EngineError(f"{self.path}: its chat template fails ({reason})")

    def close(self) -> None:
        """Free the model, after all contexts and adapters made from it."""
        if pointer := Model.pointer.take(self):
            llama_cpp.llama_model_free(pointer)
            Vocab.pointer.take(self.vocab)
