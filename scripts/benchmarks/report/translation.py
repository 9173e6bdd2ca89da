"""The report of `scripts.benchmarks.translation`: tables."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from scripts.benchmarks.runs import Line
from scripts.benchmarks.tables import table, versions
from templora_edge.evaluation.metrics import Comparison
from templora_edge.evaluation.translation_scores import compare, d_bleu, score
from templora_edge.options import Preset
from templora_edge.score import Score

Systems = Mapping[str, Line]
"""System's name -> its run, on one document with one model."""

INTRO: Final = """French documents with their published English translations, in order, a sentence a
segment; greedy decoding. `base` and `own` are shown their own last translations in the prompt,
`base, shown` and `references` the reference's. `own` learns each block of its own translations that
pass their checks; `references` each block of the reference, as the paper's script does. `edits
shown` is shown the reference's first translations, as if a person had corrected them, `edits`
learns them too, and nothing after them; only what follows them is scored. Perplexity
is that of the reference, before it is learned, ± a standard error over segments. BLEU and chrF are
sacrebleu's, ± half of their 95 % interval, p by its paired bootstrap against the system without
Temp-LoRA (1,000 samples of segments). d-BLEU is BLEU with a whole document as one line. Names and
terms: share of their occurrences that have their most frequent rendering. Covered: at least half as
long as the reference. Flagged: failed a check. What follows the name of a system is its
rule, where that is not the library's own; a number in the name of a model is the update of its
training that it was kept at.

The paper (arXiv 2401.11504) has literary Chinese to English: BLEU +53 % in its first version,
+113 % in its third, by bases of 6 to 7 billion parameters that learn references."""
PAIRED: Final = {"own": "base", "references": "base, shown", "edits": "edits shown"}
"""System with Temp-LoRA -> the same system without."""
ORDER: Final = ("base", "own", "base, shown", "references", "edits shown", "edits")
SIGNIFICANT: Final = 0.05
WHOLE: Final = slice(None)
QUARTERS: Final = ("1st", "2nd", "3rd", "4th")


def name_of(system: str, rule: Mapping[str, Any] | None) -> str:
    """The name of a system, with the settings of its rule that are not the library's defaults."""
    parts = [system]
    if rule is not None:
        if rule["preset"] != Preset.DEFAULT:
            parts.append(rule["preset"])
        if rule["learning_rate"] is not None:
            parts.append(f"rate {rule['learning_rate']:g}")
        if rule.get("own_learning_rate") is not None:  # results before 2026-11-26 have none
            parts.append(f"own rate {rule['own_learning_rate']:g}")
        if rule["decay"] is not None:
            parts.append(f"decay {rule['decay']:g}")
    return ", ".join(parts)


def pairs(systems: Systems) -> dict[str, str]:
    """Name of a system with Temp-LoRA -> name of the same one without, if both were run."""
    names = {name: PAIRED.get(line["run"]["system"], "") for name, line in systems.items()}
    return {name: without for name, without in names.items() if without in systems}


def score_of(line: Line, span: slice = WHOLE) -> Score:
    """Score of the reference, with an entry for each segment."""
    segments = line["segments"][span]
    return Score(tuple(s["nll"] for s in segments), tuple(s["tokens"] for s in segments))


def texts(line: Line, span: slice = WHOLE) -> list[str]:
    """The translations of a run."""
    return [segment["translation"] for segment in line["segments"][span]]


class Change:
    """The change that Temp-LoRA makes in some segments of a document."""

    def __init__(
        self, without: Line, line: Line, span: slice = WHOLE, *, chrf: bool = False
    ) -> None:
        self.base = score_of(without, span)
        both = {"without": texts(without, span), "with": texts(line, span)}
        self.tested = compare(both, line["references"][span], "en", chrf=chrf)
        found = self.tested["BLEU"]
        self.difference = found["with"]["score"] - found["without"]["score"]
        self._p = found["with"]["p"]
        self._comparison = Comparison(self.base, score_of(line, span))
        against = line["references"][span], line["documents"][span], "en"
        self._d_bleu = [d_bleu(translations, *against) for translations in both.values()]

    @property
    def ppl(self) -> str:
        """Change in the perplexity of the reference, in percent."""
        found = self._comparison
        return f"{found.change_percent:+.1f} ± {found.change_percent_se:.1f} %"

    @property
    def d_bleu(self) -> str:
        """d-BLEU without and with Temp-LoRA, and its change."""
        without, with_it = self._d_bleu
        return f"{without:.2f} → {with_it:.2f} ({100 * (with_it / without - 1):+.1f} %)"

    @property
    def bleu(self) -> str:
        """Difference in BLEU, and its p-value."""
        return f"{self.difference:+.2f} (p = {self._p:.3f})"

    @property
    def effect(self) -> str:
        """The effect on BLEU in a word."""
        if self._p >= SIGNIFICANT:
            return "neither"
        return "better" if self.difference > 0 else "worse"


def systems_table(systems: Systems) -> str:
    """A row per system, on one document."""
    changes = {
        name: Change(systems[without], systems[name], chrf=True)
        for name, without in pairs(systems).items()
    }
    measured: dict[str, dict[str, str]] = {}
    for name, without in pairs(systems).items():
        for side, system in (("with", name), ("without", without)):
            measured[system] = {
                metric: f"{found[side]['score']:.2f} ± {found[side]['confidence']:.2f}"
                for metric, found in changes[name].tested.items()
            }
    rows = []
    for name, line in systems.items():
        found = score(texts(line), line["references"], line["documents"], "en")
        figures = measured.get(name, {"BLEU": f"{found.bleu:.2f}", "chrF2": f"{found.chrf:.2f}"})
        change = changes.get(name)
        shares = [f"{100 * x:.1f} %" if x is not None else "" for x in (found.names, found.terms)]
        flagged = sum(bool(s["flags"]) for s in line["segments"]) / len(line["segments"])
        rows.append(
            [
                name,
                f"{score_of(line).ppl:.2f}",
                change.ppl if change else "",
                f"{found.d_bleu:.2f}",
                figures["BLEU"],
                change.bleu if change else "",
                figures["chrF2"],
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


def position_table(systems: Systems) -> str:
    """The change in each quarter of the document."""
    rows = []
    for name, without in pairs(systems).items():
        line = systems[name]
        n = len(line["references"])
        for index, quarter in enumerate(QUARTERS):
            span = slice(index * n // len(QUARTERS), (index + 1) * n // len(QUARTERS))
            change = Change(systems[without], line, span)
            rows.append([f"{without} → {name}", quarter, change.ppl, change.d_bleu, change.bleu])
    return table(["", "quarter", "perplexity", "d-BLEU", "BLEU"], rows)


def models_table(models: Mapping[str, Systems]) -> str:
    """The change on one document by model, the weakest first."""
    changes = [
        (model, f"{without} → {name}", Change(systems[without], systems[name]))
        for model, systems in models.items()
        for name, without in pairs(systems).items()
    ]
    changes.sort(key=lambda entry: -entry[2].base.ppl)
    rows = [
        [
            model,
            name,
            f"{change.base.ppl:.2f}",
            change.ppl,
            change.d_bleu,
            change.bleu,
            change.effect,
        ]
        for model, name, change in changes
    ]
    head = ["model", "", "perplexity", "change", "d-BLEU", "BLEU", f"p < {SIGNIFICANT}"]
    return f"{table(head, rows)}\n\n{pays([change for *_, change in changes])}"


def pays(changes: Sequence[Change]) -> str:
    """A sentence on which bases gain BLEU; ``changes`` begin with the weakest."""
    raised: list[Change] = []
    for change in reversed(changes):
        if change.difference <= 0:
            break
        raised.append(change)
    if not raised:
        return "The best of these bases does not gain BLEU."
    surely = sum(change.effect == "better" for change in raised)
    return (
        f"BLEU rises from a base of perplexity {raised[-1].base.ppl:.1f} on to better ones, "
        f"{surely} of {len(raised)} at p < {SIGNIFICANT}."
    )


def together(documents: Sequence[Systems]) -> dict[str, Line]:
    """Pool the runs of systems that translated all ``documents``, as if these were one."""
    first, *others = documents
    names = [name for name in first if all(name in systems for systems in others)]
    return {
        name: {
            "run": first[name]["run"],
            "seconds": sum(systems[name]["seconds"] for systems in documents),
            **{
                part: [entry for systems in documents for entry in systems[name][part]]
                for part in ("segments", "references", "documents")
            },
        }
        for name in names
    }


def conditions(line: Line, models: Collection[str]) -> str:
    """Command and machine of the runs on one document."""
    model = " -m MODEL.gguf" if len(models) > 1 else ""
    run, machine = line["run"], line["machine"]
    return (
        "`python -m scripts.benchmarks.translation RESULTS.jsonl PAIRS.jsonl --documents "
        f"{run['document']} --limit {run['segments']} -t {line['settings']['n_threads']}{model}`: "
        f"{versions(machine)}, a machine of {machine['cpus']} cores."
    )


def report(lines: Sequence[Line], _: Path) -> list[str]:
    """Paragraphs of the report: details of documents with one model, comparisons with several."""
    groups: dict[tuple[str, int], dict[str, dict[str, Line]]] = defaultdict(dict)
    for line in sorted(lines, key=lambda line: ORDER.index(line["run"]["system"])):
        run = line["run"]
        for part in ("segments", "references"):
            line[part] = line[part][run.get("edited", 0) :]
        line["documents"] = [run["document"]] * len(line["segments"])
        systems = groups[run["document"], run["segments"]].setdefault(run["model"], {})
        systems[name_of(run["system"], run["rule"])] = line
    parts = ["# Translation", INTRO]
    alone: dict[str, list[Systems]] = defaultdict(list)
    for models in groups.values():
        if len(models) == 1:
            [(model, systems)] = models.items()
            alone[model].append(systems)
    for model, documents in alone.items():
        if len(documents) > 1:
            parts += ["## All documents", f"`{model}`", systems_table(together(documents))]
    for (document, n_segments), models in groups.items():
        model, systems = next(iter(models.items()))
        some = next(iter(systems.values()))
        parts += [f"## {document}, {n_segments:,} segments", conditions(some, models)]
        if len(models) > 1:
            parts.append(models_table(models))
            continue
        parts += [f"`{model}`", systems_table(systems)]
        if pairs(systems):
            parts.append(position_table(systems))
    return parts
