"""Evaluation of translation files against references."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from templora_edge.errors import DocumentError
from templora_edge.extras import needs_extra
from templora_edge.host.text_file import read_text

TARGETS: Final = ("translation", "target", "tgt", "hypothesis")
"""Keys of a translation in JSON, other than the language code."""
SOURCES: Final = ("source", "src")
"""Keys of a source in JSON."""
COMET_MODEL: Final = "Unbabel/wmt22-comet-da"
"""The COMET model that the paper's authors use."""


@dataclass(frozen=True, slots=True)
class EvaluateJob:
    """The files to compare."""

    hypothesis: Path
    reference: Path
    source: Path | None = None
    against: Path | None = None
    """Another hypothesis, with which the first is compared."""
    target_language: str | None = None


@dataclass(frozen=True, slots=True)
class Side:
    """Segments of one file, in order."""

    path: Path
    texts: list[str]
    documents: list[str]
    sources: list[str] | None
    """Sources, if the file has them too."""


def evaluate(job: EvaluateJob) -> dict[str, Any]:
    """All scores, ready for JSON.

    Raises:
        DocumentError: a file cannot be read, or has another number of segments than the reference.
        MissingExtraError: sacrebleu, or what it needs for the language, is not installed.
    """
    with needs_extra("evaluate", "evaluate"):
        from templora_edge.evaluation.translation_scores import compare, score
    reference = read_side(job.reference, job.target_language)
    hypotheses = [read_side(job.hypothesis, job.target_language)]
    if job.against is not None:
        hypotheses.append(read_side(job.against, job.target_language))
    source = read_side(job.source, None, sources=True) if job.source is not None else None
    for side in (*hypotheses, *([source] if source else [])):
        if len(side.texts) != len(reference.texts):
            raise DocumentError(
                f"{side.path}: {len(side.texts)} segments; expected {len(reference.texts)}, as in "
                f"{reference.path}"
            )
    language = job.target_language
    result: dict[str, Any] = {
        "segments": len(reference.texts),
        "documents": len(dict.fromkeys(reference.documents)),
        "systems": {
            str(side.path): asdict(
                score(side.texts, reference.texts, reference.documents, language)
            )
            for side in hypotheses
        },
    }
    if len(hypotheses) == 2:
        pair = {str(side.path): side.texts for side in reversed(hypotheses)}
        result["bootstrap"] = compare(pair, reference.texts, language)
    sources = source.texts if source else reference.sources
    if sources is not None and _has_comet():
        for side in hypotheses:
            result["systems"][str(side.path)]["comet"] = _comet(sources, side, reference)
    return result


def read_side(path: Path, language: str | None, *, sources: bool = False) -> Side:
    """Read the segments of a file.

    A .jsonl file has one object per segment, with its document (``doc``, if there are several) and
    its text under its language code or one of `TARGETS`. A .json file has GuoFeng's format: a list
    of blocks whose ``inference`` is a list of pairs by language. Any other file has one segment per
    line.

    Args:
        path: file to read.
        language: language code of the texts; may be None if the file is unambiguous.
        sources: read the sources in a file of pairs.

    Raises:
        DocumentError: the file cannot be read, is empty, or has no such text.
    """
    try:
        text = read_text(path)
        if path.suffix.lower() == ".jsonl":
            entries = [json.loads(line) for line in text.split("\n") if line.strip()]
        elif path.suffix.lower() == ".json":
            entries = list(_guofeng(json.loads(text)))
        else:
            # like sacrebleu's command: only "\n" ends a line
            entries = text.removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(f"{path}: cannot be read ({error})") from error
    except (json.JSONDecodeError, TypeError, KeyError) as error:
        raise DocumentError(f"{path}: not pairs in JSON ({error}); see --help") from error
    if not text.strip():
        raise DocumentError(f"{path}: empty; expected segments")
    texts = [_text(path, entry, language, sources=sources) for entry in entries]
    documents = [str(e.get("doc", "")) if isinstance(e, dict) else "" for e in entries]
    found = [_first(entry, SOURCES) for entry in entries]
    return Side(path, texts, documents, [t for t in found if t is not None] or None)


def _guofeng(blocks: Any) -> Iterator[dict[str, str]]:
    for block in blocks:
        yield from block["inference"]


def _text(path: Path, entry: Any, language: str | None, *, sources: bool) -> str:
    if isinstance(entry, str):
        return entry
    keys = SOURCES if sources else (language, *TARGETS) if language else TARGETS
    text = _first(entry, keys)
    if text is None and isinstance(entry, dict):  # the only language that is neither
        others = [key for key in entry if len(key) == 2 and isinstance(entry[key], str)]
        if len(others) == 1:
            text = entry[others[0]]
    if text is None:
        wanted = "a source" if sources else f"{language or 'one language'} or {TARGETS[0]}"
        raise DocumentError(f"{path}: an entry without {wanted}; expected it in each")
    return " ".join(text.split())


def _first(entry: Any, keys: tuple[str, ...]) -> str | None:
    if not isinstance(entry, dict):
        return None
    return next((entry[key] for key in keys if isinstance(entry.get(key), str)), None)


def _has_comet() -> bool:
    from importlib.util import find_spec

    return find_spec("comet") is not None


def _comet(sources: list[str], hypothesis: Side, reference: Side) -> float:
    """COMET's system score (Rei et al. 2022), about -1 to 1.

    Raises:
        DocumentError: its model cannot be loaded.
    """
    from comet import download_model, load_from_checkpoint

    try:
        model = load_from_checkpoint(download_model(COMET_MODEL))
    except (OSError, KeyError, ValueError) as error:
        raise DocumentError(
            f"COMET: {COMET_MODEL} cannot be loaded ({error}); download it once while online, or "
            "uninstall unbabel-comet"
        ) from error
    triples = [
        {"src": source, "mt": mt, "ref": ref}
        for source, mt, ref in zip(sources, hypothesis.texts, reference.texts, strict=True)
    ]
    return float(model.predict(triples, batch_size=8, gpus=0, progress_bar=False).system_score)
