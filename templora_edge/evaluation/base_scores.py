"""Scores of the base in a file, so that rules compared on one text need not score it each time."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from templora_edge.engine.gpu import gpu_of
from templora_edge.errors import JobError
from templora_edge.host.files import replacing
from templora_edge.models.adapter_file import AdapterFile
from templora_edge.models.base_gguf import BaseGguf
from templora_edge.options import Options, ScoringProtocol

FORMAT: Final = "templora base scores 1"
FLAG: Final = "--base-scores"
WITHOUT_EFFECT: Final = frozenset(("n_threads", "capture", "train_prefix_len"))
"""Options of engine and blocks that do not change what the base scores."""

Source = dict[str, Any]
"""All that scores of the base depend on, ready for JSON."""


def source_of(base: BaseGguf, options: Options, protocol: ScoringProtocol) -> Source:
    """Everything that the base's scores of any text depend on, from resolved ``options``.

    Raises:
        AdapterError: a fixed adapter is not a LoRA adapter.
        OptionError: layers are asked for on a GPU, and there is none.
    """
    used = asdict(options.engine) | asdict(options.blocks)
    used["lora"] = [
        [AdapterFile.read(one.path).file.sha256(), one.scale] for one in options.engine.lora
    ]
    used["n_gpu_layers"] = [used["n_gpu_layers"], gpu_of(options.engine.n_gpu_layers)]
    return {
        "model": base.sha256(),
        "llama-cpp-python": version("llama-cpp-python"),
        "protocol": protocol,
        "options": {name: value for name, value in used.items() if name not in WITHOUT_EFFECT},
    }


def digest(tokens: Sequence[int]) -> str:
    """Hex SHA-256 of ``tokens``."""
    return hashlib.sha256(" ".join(map(str, tokens)).encode()).hexdigest()


class BaseScores:
    """A JSON file with the base's NLL of each scored token of some texts.

    The file is read anew at each call, so runs may share it; of two that add at the same moment,
    one is kept.

    Raises:
        JobError: the file holds something else, or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read()

    def find(self, source: Source, n: int) -> list[float] | None:
        """The NLL of the first ``n`` scored tokens, in nats; None if fewer were kept."""
        for entry in self._read():
            if entry["source"] == source and len(entry["nll"]) >= n:
                return list(entry["nll"][:n])
        return None

    def add(self, source: Source, nll: Sequence[float]) -> None:
        """Keep ``nll``, in nats a scored token, in place of a shorter score of the same source.

        Raises:
            OutputError: the file could not be written; the old one is left.
        """
        others = [entry for entry in self._read() if entry["source"] != source]
        scores = [*others, {"source": source, "nll": list(nll)}]
        with replacing(self._path, FLAG) as temporary:
            temporary.write_text(json.dumps({"format": FORMAT, "scores": scores}), "utf-8")

    def _read(self) -> list[dict[str, Any]]:
        try:
            document = json.loads(self._path.read_text("utf-8"))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._unusable(f"cannot be read ({error.strerror})") from error
        except (ValueError, RecursionError) as error:  # not UTF-8, or not JSON
            raise self._unusable("not JSON, or damaged") from error
        match document:
            case {"format": str(form), "scores": list(scores)} if form == FORMAT:
                if all(map(_is_score, scores)):
                    return scores
                raise self._unusable("damaged")
        raise self._unusable("JSON of another kind")

    def _unusable(self, found: str) -> JobError:
        return JobError(
            f"{FLAG} {self._path}: {found}; expected a file that {FLAG} wrote; give another name"
        )


def _is_score(entry: object) -> bool:
    match entry:
        case {"source": dict(), "nll": list(nll)}:
            return all(isinstance(value, float) for value in nll)
    return False
