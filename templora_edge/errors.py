"""Every error this project raises on purpose.

    TemploraError
    ├── OptionError                  options that contradict each other or the model
    ├── ConfigError                  a configuration file that cannot be used
    ├── MissingExtraError            an optional dependency that is not installed
    ├── PromptError                  a prompt that cannot be used
    ├── DocumentError                a document that cannot be translated
    ├── ModelFileError               a path that is not a readable GGUF model
    │   └── UnsupportedModelError    a GGUF that Temp-LoRA does not know how to train
    ├── HubError                     a model's name that leads to no file
    ├── EngineError                  llama.cpp refused, or ran into an error
    ├── AdapterError                 weights that are not a LoRA adapter for this base
    ├── CheckpointError              a checkpoint directory that cannot be converted
    ├── InsufficientMemoryError      a request that does not fit in memory
    ├── SidecarError                 the training process failed or died
    ├── JobError                     a job whose durable state cannot be used
    ├── ClusterError                 no scheduler answers, or it is gone
    ├── ReportError                  a report that cannot be shown
    └── OutputError                  a result that could not be written

A message names the file or flag, what was found, what was expected and what to do. The command
line prints it as one line and exits with 1; any other exception is a bug and shows its traceback.
"""

from collections.abc import Iterable


def listed(items: Iterable[object], separator: str = ", ", most: int = 4) -> str:
    """The first ``most`` of ``items``, and how many more there are, for a message."""
    words = [str(item) for item in items]
    more = [f"and {len(words) - most} more"] if len(words) > most else []
    return separator.join([*words[:most], *more])


class TemploraError(Exception):
    """Base of all errors raised on purpose."""


class OptionError(TemploraError):
    """Options contradict each other, or the model they are used with."""


class ConfigError(TemploraError):
    """A configuration file is missing, unreadable, not TOML, or has what no flag takes."""


class MissingExtraError(TemploraError):
    """A package is needed that belongs to an extra and is not installed."""


class PromptError(TemploraError):
    """A prompt is empty, unreadable or not text."""


class DocumentError(TemploraError):
    """A document is unreadable, damaged, protected, empty, or of an unknown format."""


class ModelFileError(TemploraError):
    """A path does not lead to a readable GGUF model."""


class UnsupportedModelError(ModelFileError):
    """A GGUF whose architecture Temp-LoRA cannot train."""


class HubError(TemploraError):
    """A model that is given by its name is not on the hub, or cannot be had."""


class EngineError(TemploraError):
    """llama.cpp refused a request or failed to carry it out."""


class AdapterError(TemploraError):
    """Weights are not a LoRA adapter for this base."""


class CheckpointError(TemploraError):
    """A checkpoint directory cannot be converted."""


class InsufficientMemoryError(TemploraError):
    """A request does not fit in memory."""


class SidecarError(TemploraError):
    """The training process failed or died."""


class SidecarKilledError(SidecarError):
    """The training process was killed, perhaps because memory ran out."""


class JobError(TemploraError):
    """A job's durable state is in use, damaged, of other settings, or cannot be written."""


class ClusterError(TemploraError):
    """The scheduler of a cluster does not answer, or is gone."""


class ReportError(TemploraError):
    """A file is no report of a run, has no blocks, or is of another version."""


class OutputError(TemploraError):
    """A result could not be written."""
