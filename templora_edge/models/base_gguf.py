"""The GGUF of a base model, and what the defaults of options depend on."""

from templora_edge.models.gguf_file import GgufFile
from templora_edge.models.repacking import repacking_pays
from templora_edge.models.rope import Scaling
from templora_edge.options import DEFAULT_MAX_CTX, RopeOptions


class BaseGguf(GgufFile):
    """A GGUF model that options can be resolved for (`options.Base`)."""

    @property
    def n_ctx_train(self) -> int:
        """Trained context in tokens; a common one if the file does not name it."""
        return int(self.get("{arch}.context_length", 0)) or DEFAULT_MAX_CTX

    @property
    def n_layers(self) -> int:
        """Number of decoder layers; 0 if the file does not name it."""
        return int(self.get("{arch}.block_count", 0))

    @property
    def repacking_pays(self) -> bool:
        """Whether llama.cpp computes faster with repacked weights here, and memory allows it."""
        return repacking_pays(self)

    def n_trained(self, rope: RopeOptions) -> int:
        """Number of positions the model was trained on, after the scaling in ``rope``.

        Raises:
            ModelFileError: the file does not name its trained context.
            UnsupportedModelError: a scaling that llama.cpp itself does not know.
        """
        return Scaling.of(self, rope).n_trained
