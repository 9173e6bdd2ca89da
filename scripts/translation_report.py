"""Tables of what `translation_results.py` measured, as Markdown."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pg19_report import table

from templora_edge.metrics import Comparison, Score
from templora_edge.translation.scores import compare, score

Line = dict[str, Any]

INTRO: Final = """French documents with their published English translations, in order, a sentence a
segment; greedy decoding. `base` and `own` are shown their own last translations in the prompt,
`base, shown` and `references` the reference's. `own` learns each block of its own translations that
pass their checks; `references` each block of the reference, as the paper's script does. Perplexity
is that of the reference, before it is learned. BLEU and chrF are sacrebleu's; d-BLEU is BLEU with
the whole document as one line; names and terms: share of their occurrences that have their most
frequent rendering; ± is a standard error over segments; p is sacrebleu's paired bootstrap
(1,000 samples of segments).

The paper (arXiv 2401.11504, literary Chinese to English): BLEU +53 % in its first version, +113 %
in its third, with bases of 6 to 7 billion parameters, learning references."""
PAIRED: Final = {"own": "base", "references": "base, shown"}
"""System with Temp-LoRA -> the same without."""
QUARTERS: Final = 4


def score_of(line: Line, begin: int = 0, end: int | None = None) -> Score:
    """NLL of the reference, a segment an entry."""
    segments = line["segments"][begin:end]
    return Score(tuple(s["nll"] for s in segments), tuple(s["tokens"] for s in segments))


def texts(line: Line, begin: int = 0, end: int | None = None) -> list[str]:
    """Translations."""
    return [s["translation"] for s in line["segments"][begin:end]]


def change(base: Score, templora: Score) -> str:
    """Of perplexity, in percent."""
    both = Comparison(base, templora)
    return f"{both.change_percent:+.1f} ± {both.change_percent_se:.1f} %"


def systems_table(systems: dict[str, Line]) -> str:
    """A row a system, of one document."""
    rows = []
    for name, line in systems.items():
        reference = line["references"]
        found = score(texts(line), reference, ["document"] * len(reference), "en")
        other = systems.get(PAIRED.get(line["run"]["system"], ""))
        differs = ["", ""]
        if other is not None:
            tested = compare({"without": texts(other), "with": texts(line)}, reference, "en")
            bleu = tested["BLEU"]
            difference = bleu["with"]["score"] - bleu["without"]["score"]
            differs = [
                change(score_of(other), score_of(line)),
                f"{difference:+.2f} (p = {bleu['with']['p']:.3f})",
            ]
        shares = [f"{100 * x:.1f} %" if x is not None else "" for x in (found.names, found.terms)]
        flagged = sum(bool(s["flags"]) for s in line["segments"]) / len(reference)
        rows.append(
            [
                name,
                f"{score_of(line).ppl:.2f}",
                differs[0],
                f"{found.d_bleu:.2f}",
                f"{found.bleu:.2f}",
                differs[1],
                f"{found.chrf:.2f}",
                *shares,
                f"{100 * found.coverage:.0f} %",
                f"{100 * flagged:.0f} %",
                f"{line['seconds']:.0f}",
            ]
        )
    head = [
        "system", "perplexity", "change", "d-BLEU", "BLEU", "change", "chrF", "names", "terms",
        "covered", "flagged", "s",
    ]  # fmt: skip
    return table(head, rows)


def position_table(systems: dict[str, Line]) -> str:
    """A row a pair of systems: what each quarter of the document changes."""
    rows = []
    for name, without in PAIRED.items():
        if name not in systems or without not in systems:
            continue
        line, other = systems[name], systems[without]
        n = len(line["references"])
        cells = []
        for quarter in range(QUARTERS):
            span = quarter * n // QUARTERS, (quarter + 1) * n // QUARTERS
            reference = line["references"][slice(*span)]
            names = ["document"] * len(reference)
            d_bleu = [score(texts(x, *span), reference, names, "en").d_bleu for x in (other, line)]
            ppl = change(score_of(other, *span), score_of(line, *span))
            cells.append(f"{ppl}; {d_bleu[0]:.2f} → {d_bleu[1]:.2f}")
        rows.append([f"{without} → {name}", *cells])
    return table(["perplexity; d-BLEU", "1st quarter", "2nd", "3rd", "4th"], rows)


def write(lines: Sequence[Line], out: Path) -> None:
    """All documents of all models."""
    parts = ["# Translation", INTRO]
    groups: dict[tuple[str, str, int], dict[str, Line]] = defaultdict(dict)
    for line in lines:
        run = line["run"]
        name = run["system"]
        if run["learning_rate"] is not None:
            name += f", {run['learning_rate']:g}"
        groups[run["document"], run["model"], run["segments"]][name] = line
    for (document, model, n_segments), systems in groups.items():
        parts += [f"## {document}", f"`{model}`, {n_segments:,} segments.", systems_table(systems)]
        if any(name in systems for name in PAIRED):
            parts.append(position_table(systems))
    out.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
