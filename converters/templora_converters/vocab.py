"""Conversion of a Hugging Face checkpoint's tokenizer to a GGUF's."""

import json
from pathlib import Path
from typing import Any, Final

import gguf

from templora_edge.errors import CheckpointError

_LLAMA3_SPLIT: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def add_vocab(writer: gguf.GGUFWriter, hf_dir: Path, n_vocab: int) -> None:
    """Write tokens, merges and special tokens of ``hf_dir`` in llama.cpp's form.

    Args:
        writer: writer of the GGUF.
        hf_dir: folder of the checkpoint.
        n_vocab: number of rows of the embedding; those without a token become unused tokens.

    Raises:
        CheckpointError: the folder has no tokenizer that llama.cpp can reproduce.
    """
    byte_level = False
    if (hf_dir / "tokenizer.model").is_file():
        _add_scored(writer, gguf.SentencePieceVocab(hf_dir), n_vocab)
    else:
        tokenizer = _read_tokenizer_json(hf_dir)
        byte_level = not tokenizer["model"].get("byte_fallback")
        if byte_level:
            _add_byte_level(writer, tokenizer, hf_dir, n_vocab)
        else:
            _add_scored(writer, gguf.LlamaHfVocab(hf_dir), n_vocab)
    special = gguf.SpecialVocab(hf_dir, load_merges=byte_level, n_vocab=n_vocab)
    special.add_to_gguf(writer, quiet=True)


def _read_tokenizer_json(hf_dir: Path) -> dict[str, Any]:
    path = hf_dir / "tokenizer.json"
    try:
        tokenizer = json.loads(path.read_text(encoding="utf-8"))
        kind = tokenizer["model"]["type"]
    except OSError as error:
        raise CheckpointError(
            f"{path}: {error.strerror}; expected tokenizer.json or tokenizer.model"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not a tokenizer ({error!r})") from error
    if kind != "BPE":
        raise CheckpointError(f"{path}: tokenizer of type {kind}; expected BPE")
    return dict(tokenizer)


def _add_scored(writer: gguf.GGUFWriter, vocab: gguf.Vocab, n_vocab: int) -> None:
    tokens, scores, types = (list(column) for column in zip(*vocab.all_tokens(), strict=True))
    for index in range(len(tokens), n_vocab):
        tokens.append(f"[PAD{index}]".encode())
        scores.append(-1000.0)
        types.append(gguf.TokenType.UNUSED)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)


def _add_byte_level(
    writer: gguf.GGUFWriter, tokenizer: dict[str, Any], hf_dir: Path, n_vocab: int
) -> None:
    tokens = [f"[PAD{index}]" for index in range(n_vocab)]
    types = [int(gguf.TokenType.UNUSED)] * n_vocab
    added = {entry["id"]: entry for entry in tokenizer.get("added_tokens", [])}
    known = {index: text for text, index in tokenizer["model"]["vocab"].items()}
    known |= {index: entry["content"] for index, entry in added.items()}
    if max(known) >= n_vocab:
        raise CheckpointError(
            f"{hf_dir}: token id {max(known)} in tokenizer.json, but vocab_size is {n_vocab}"
        )
    for index, text in known.items():
        tokens[index] = text
        if index not in added:
            types[index] = gguf.TokenType.NORMAL
        elif added[index].get("special"):
            types[index] = gguf.TokenType.CONTROL
        else:
            types[index] = gguf.TokenType.USER_DEFINED
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre_tokenizer_name(tokenizer.get("pre_tokenizer"), hf_dir))
    writer.add_token_list(tokens)
    writer.add_token_types(types)


def pre_tokenizer_name(pre_tokenizer: Any, hf_dir: Path) -> str:
    """llama.cpp's name for a byte-level pre-tokenizer (`tokenizer.ggml.pre`), from its structure.

    Raises:
        CheckpointError: llama.cpp would split text differently.
    """
    steps = (pre_tokenizer or {}).get("pretokenizers", [pre_tokenizer])
    kinds = [step and step.get("type") for step in steps]
    match kinds:
        case ["ByteLevel"] if steps[0].get("use_regex", True):
            return "gpt-2"
        case ["Digits", "ByteLevel"] if steps[0].get("individual_digits"):
            return "smollm"
        case ["Split", "ByteLevel"]:
            pattern = steps[0]["pattern"].get("Regex")
            if pattern == _LLAMA3_SPLIT:
                return "llama-bpe"
            if pattern == _LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}"):
                return "qwen2"
    raise CheckpointError(
        f"{hf_dir / 'tokenizer.json'}: pre-tokenizer {kinds} is not one of the known byte-level "
        "ones (GPT-2, SmolLM, Llama 3, Qwen 2); convert with llama.cpp's convert_hf_to_gguf.py"
    )
