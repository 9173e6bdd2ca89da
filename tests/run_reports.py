"""Reports of runs as `generate` and `perplexity` write them, made up, for tests of their pages."""

import math
from typing import Any

HOSTILE = (
    "</script><script>window.hacked = 1</script>",
    '<img src=x onerror="window.hacked = 2">',
    "\"><svg onload='window.hacked = 3'>",
    "--></style></title></textarea><b>{{ 7 * 7 }}{% raw %}&lt;&amp;&#60;",
    "\0\x1b[31m\ud800\ufffe\u202egnirts\u2028",
    "javascript:alert(1)",
)
"""Texts that do something where they are taken for markup or code."""


def generated(n_given: int = 5, n_written: int = 4, text: str = "some words ") -> dict[str, Any]:
    """A report of `generate`: given blocks, then written ones, of which the second loops and the
    last is not learned."""
    blocks = []
    for index in range(n_given + n_written):
        given, looped = index < n_given, index == n_given + 1
        learned = not looped and index < n_given + n_written - 1
        loss = 3 + math.sin(index)
        blocks.append(
            {
                "index": index,
                "begin": 7 + 64 * index,
                "tokens": 64,
                "given": given,
                "looped": looped,
                "text": f"{index}: {text}",
                "generate_s": 0.0 if given else 2.0 + index,
                "train_s": 1.5 if learned else 0.0,
                "convert_s": 0.02 if learned and not given else 0.0,
                "swap_s": 0.03 if learned and not given else 0.0,
                "loss_before": loss if learned else None,
                "loss_after": loss - 0.1 if learned else None,
                "scale": 0.2 * 1.1**index if learned else None,
                "rss_bytes": 2**30 + 2**20 * index,
            }
        )
    return {
        "settings": {"n_ctx": 512, "lora": [], "templora": True, "sampling": {"top_p": 0.95}},
        "versions": {"templora-edge": "0.1.0", "python": "3.11.7"},
        "model": {"path": "models/small.gguf", "sha256": "00ff", "parameters": 1000},
        "before": "Once. ",
        "blocks": blocks,
        "total": {"tokens": 200, "seconds": 75.2, "peak_rss_bytes": 2**31, "finished": True},
    }


def scored(
    names: tuple[str, ...] = ("a.txt", "b.txt"), text: str = "some words "
) -> dict[str, Any]:
    """A report of `perplexity` on texts, with the base and with the adapter."""
    report = generated(n_given=6, n_written=0, text=text)
    blocks = report.pop("blocks")
    del report["total"], report["before"]
    for block in blocks:
        block |= {"base_loss": 3.2, "loss": 3.0 + 0.1 * block["index"], "loss_after": None}
    file = {
        "base": {"ppl": 24.53},
        "templora": {"ppl": 20.09},
        "change_percent": -18.1,
        "change_percent_se": 1.25,
        "seconds": {"load": 1.0, "score_base": 4.5},
        "peak_rss_bytes": 2**30,
        "blocks": blocks,
    }
    return report | {"files": [{"file": name} | file for name in names]}


def hostile() -> dict[str, Any]:
    """A report whose every text is hostile."""
    words = " ".join(HOSTILE)
    report = generated(text=words)
    report["before"] = words
    report["model"]["path"] = words
    report["settings"] |= {words: words, "sampling": {words: [words]}}
    report["versions"][words] = words
    file = scored((words,), words)["files"][0]
    return report | {"files": [file, {"file": words} | report]}
