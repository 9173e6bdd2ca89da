"""Measure what Temp-LoRA does to the text that a model writes itself.

Usage: python -m scripts.benchmarks.own_text RESULTS.jsonl -m MODEL.gguf --judge OTHER.gguf
           [--prompts FILE...] [--absorb STORY.txt] [--absorb-tokens N] [--variants NAME...]
           [--seeds N...] [--tokens N] [-c N] [-t THREADS] [--repeat-penalty X]

The model writes N tokens from each prompt with each seed and variant; with --absorb it reads the
beginning of a story instead, and continues it. Measured by quarter of what it wrote: words in
8-grams that occurred before, distinct 4-grams of words, perplexity under the judge, which is
another base without Temp-LoRA; after a story also the story's names, and the perplexity of its real
continuation. Every run adds a line of JSON to RESULTS.jsonl; runs that are already there are
skipped. `python -m scripts.benchmarks.report own-text` makes the tables.
"""

import argparse
import math
import sys
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from scripts.benchmarks.runs import Results, Settings
from scripts.benchmarks.words import (
    capitalised,
    distinct_shares,
    names_of,
    quarters,
    repeated_shares,
)
from templora_edge import SamplingOptions, TempLora
from templora_edge.assets import BUNDLED_MODEL
from templora_edge.events import ScoredBlock
from templora_edge.options import FixedAdapter, Options

VARIANTS: Final[dict[str, Settings]] = {
    "none": {"templora": False},
    "default": {},
    "own rate 1e-5": {"own_learning_rate": 1e-5},
    "own rate 5e-5": {"own_learning_rate": 5e-5},
}
"""Variant -> keywords of `Options.changed`. The report compares each with `none`."""
PROMPTS: Final = {
    "harbour": "The harbour master had counted the boats twice, and both times there was one more "
    "than in the morning. He put down his lantern and walked to the end of the pier, where a woman "
    "in a green coat was",
    "clock": "Nobody in the village of Arlen could remember who had built the clock tower, but "
    "everybody knew why its hands were never set. When Tobias Renn came back from the war, the "
    "first thing he did was",
    "letter": "My sister wrote only once from the mountains, and her letter took three winters to "
    "reach us. I have kept it in a tin box ever since, and tonight, because you asked, I will tell "
    "you what it said. It began",
}
"""Name -> beginning of a story."""
CONTINUATION: Final = 2_000
"""Tokens of a story's real continuation that are scored."""
SCORING: Final[Settings] = {"templora": False, "n_ctx": 1024, "block_len": 256, "prefix_len": 512}
"""Options of whatever scores a text, the same for every variant."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """The beginning that the model goes on from."""

    name: str
    text: str
    absorbed: int
    """Tokens of ``text`` to absorb; 0: all of it is the prompt."""


@dataclass(frozen=True, kw_only=True)
class WrittenText:
    """One text to be written, and what it depends on."""

    variant: str
    start: Start
    seed: int
    model: Path
    judge: Path
    tokens: int
    n_ctx: int
    repeat_penalty: float

    @property
    def key(self) -> dict[str, Any]:
        """The key that identifies the run."""
        return asdict(self) | {
            "start": self.start.name,
            "absorbed": self.start.absorbed,
            "model": self.model.name,
            "judge": self.judge.name,
        }

    def measure(self, n_threads: int) -> dict[str, Any]:
        """Write the text, and measure it."""
        wanted: Settings = {"n_ctx": self.n_ctx, "n_threads": n_threads, "measure_after": False}
        wanted |= VARIANTS[self.variant]
        before, found = self.start.text, dict[str, Any]()
        with TempLora(self.model, Options().changed(**wanted, seed=self.seed)) as session:
            begun = time.perf_counter()
            if self.start.absorbed:
                before, after = _cut(session, self.start)
                session.absorb(before)
                seconds = {"absorb": time.perf_counter() - begun}
                found["continuation"] = _score_continuation(session, before, after, n_threads)
                begun = time.perf_counter()
            else:
                seconds = {}
            sampling = SamplingOptions(
                seed=self.seed, repeat_penalty=self.repeat_penalty, ignore_eos=True
            )
            prompt = "" if self.start.absorbed else before
            pieces = session.generate(prompt, n_predict=self.tokens, sampling=sampling)
            text = "".join(piece.text for piece in pieces)
            seconds["write"] = time.perf_counter() - begun
            settings = session.options.settings()
        measures = {
            "repeated": repeated_shares(text),
            "distinct": distinct_shares(text),
            "perplexity": _judged(self.judge, before, text, n_threads),
        }
        if self.start.absorbed:
            names, used = names_of(before), capitalised(text)
            right = [word for word in used if word in names]
            found |= {
                "names": len(names),
                "names_used": len(set(right)),
                "names_share": len(right) / max(1, len(used)),
            }
        return {
            "text": text,
            "seconds": seconds,
            "quarters": measures,
            **found,
            "settings": settings,
        }


def _cut(session: TempLora, start: Start) -> tuple[str, str]:
    """The story's beginning of ``start.absorbed`` tokens, to a whole word, and what follows it."""
    story = start.text

    def n_tokens(end: int) -> int:
        return len(session.tokenize(story[:end]))

    end = bisect_left(range(len(story)), start.absorbed, key=n_tokens)
    end = story.rfind(" ", 0, end)
    before, after = story[: max(end, 0)], story[max(end, 0) :]
    if not before or len(session.tokenize(after)) < CONTINUATION:
        raise SystemExit(
            f"{start.name} has {n_tokens(len(story)):,} tokens; expected at least "
            f"{start.absorbed + CONTINUATION:,}, to absorb and to score; lower --absorb-tokens"
        )
    return before, after


def _score_continuation(session: TempLora, before: str, after: str, n_threads: int) -> float:
    """Perplexity of the real continuation, with the adapter as it is and none of it learned."""
    with TemporaryDirectory() as folder:
        lora = []
        if session.options.templora:
            path = Path(folder) / "absorbed.gguf"
            session.save_adapter(path)
            lora.append(FixedAdapter(path))
        with TempLora(session.base.path, **SCORING, lora=lora, n_threads=n_threads) as scorer:
            return _perplexity(_nll(scorer, before, scorer.tokenize(after)[:CONTINUATION]))


def _judged(judge: Path, before: str, text: str, n_threads: int) -> list[float]:
    """Perplexity of each quarter of ``text`` under the judge, given what precedes it."""
    with TempLora(judge, **SCORING, n_threads=n_threads) as scorer:
        return [_perplexity(part) for part in quarters(_nll(scorer, before, scorer.tokenize(text)))]


def _nll(scorer: TempLora, before: str, tokens: Sequence[int]) -> list[float]:
    """NLL of each of ``tokens`` after ``before``."""
    scorer.absorb(before)  # only read: nothing is learned without Temp-LoRA
    events = scorer.stream_score(tokens)
    return [one for event in events if isinstance(event, ScoredBlock) for one in event.nll]


def _perplexity(nll: Sequence[float]) -> float:
    return math.exp(math.fsum(nll) / max(1, len(nll)))


def main() -> None:
    """Parse the command line and do the runs that are missing."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser("python -m scripts.benchmarks.own_text", description=summary)
    parser.add_argument("results", type=Path, metavar="RESULTS.jsonl")
    parser.add_argument("-m", dest="model", type=Path, default=BUNDLED_MODEL, metavar="MODEL.gguf")
    parser.add_argument(
        "--judge", type=Path, required=True, metavar="OTHER.gguf", help="another base that scores"
    )
    starts = parser.add_mutually_exclusive_group()
    starts.add_argument(
        "--prompts", type=Path, nargs="+", metavar="FILE", help="default: three of its own"
    )
    starts.add_argument(
        "--absorb", type=Path, metavar="STORY.txt", help="read the beginning of a story instead"
    )
    parser.add_argument("--absorb-tokens", type=int, default=20_000, metavar="N")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=["none", "default"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--tokens", type=int, default=10_000, metavar="N", help="tokens to write")
    parser.add_argument("-c", dest="n_ctx", type=int, default=1024, metavar="N", help="context")
    parser.add_argument("-t", dest="threads", type=int, default=0, help="0: all physical cores")
    parser.add_argument("--repeat-penalty", type=float, default=1.1, metavar="X")
    given = parser.parse_args()
    files = [given.absorb] if given.absorb else given.prompts or []
    texts = {path.name: path.read_text(encoding="utf-8") for path in files} or PROMPTS
    absorbed = given.absorb_tokens if given.absorb else 0
    results = Results(given.results)
    for name, text in texts.items():
        for seed in given.seeds:
            for variant in given.variants:
                run = WrittenText(
                    variant=variant,
                    start=Start(name=name, text=text, absorbed=absorbed),
                    seed=seed,
                    model=given.model,
                    judge=given.judge,
                    tokens=given.tokens,
                    n_ctx=given.n_ctx,
                    repeat_penalty=given.repeat_penalty,
                )
                if run.key not in results:
                    print(run.key, file=sys.stderr, flush=True)
                    results.add(run.key, run.measure(given.threads))


if __name__ == "__main__":
    main()
