"""`templora evaluate`: sacrebleu's own figures, and counts whose answer is known."""

import json
import random
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from command import check_failure, run
from texts import ENGLISH, FRENCH

from templora_edge.evaluation.translation_scores import consistency, score
from templora_edge.evaluation.translations import read_side

WORDS = ["the", "old", "sailor", "looked", "at", "sea", "and", "said", ",", "3.50", "“never”"]


def lines(seed: int, n: int = 60) -> list[str]:
    dice = random.Random(seed)  # noqa: S311
    return [" ".join(dice.choices(WORDS, k=dice.randint(3, 20))) for _ in range(n)]


def disturbed(texts: list[str], seed: int, share: float) -> list[str]:
    dice = random.Random(seed)  # noqa: S311
    return [
        " ".join(w if dice.random() > share else dice.choice(WORDS) for w in text.split())
        for text in texts
    ]


def write_lines(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return path


def write_jsonl(path: Path, key: str, texts: list[str]) -> Path:
    entries = [{"doc": f"chapter {i // 20}", "i": i, key: text} for i, text in enumerate(texts)]
    path.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries), encoding="utf-8")
    return path


def sacrebleu(reference: Path, *hypotheses: Path, flags: tuple[str, ...] = ()) -> str:
    """sacrebleu's own command, with all its digits."""
    return subprocess.run(
        [sys.executable, "-m", "sacrebleu", reference, "-i", *hypotheses,
         "-m", "bleu", "chrf", "-w", "12", *flags],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip


@pytest.fixture
def texts(tmp_path: Path) -> dict[str, list[str]]:
    reference = lines(1)
    return {
        "ref": reference,
        "ours": disturbed(reference, 2, 0.2),
        "base": disturbed(reference, 3, 0.4),
    }


def test_scores_are_sacrebleu_s(texts: dict[str, list[str]], tmp_path: Path) -> None:
    reference, ours = (write_lines(tmp_path / f"{n}.txt", texts[n]) for n in ("ref", "ours"))
    found = json.loads(run("evaluate", ours, reference, "--json").stdout)
    scores = found["systems"][str(ours)]
    bleu, chrf = json.loads(sacrebleu(reference, ours))
    assert scores["bleu"] == pytest.approx(bleu["score"], abs=1e-11)
    assert scores["chrf"] == pytest.approx(chrf["score"], abs=1e-11)
    assert scores["signatures"]["bleu"] == bleu["signature"]
    assert scores["signatures"]["chrf"] == chrf["signature"]
    assert (found["segments"], found["documents"]) == (60, 1)


def test_documents_are_lines_for_d_bleu(texts: dict[str, list[str]], tmp_path: Path) -> None:
    paths = [write_jsonl(tmp_path / f"{name}.jsonl", "en", texts[name]) for name in ("ours", "ref")]
    found = json.loads(run("evaluate", *paths, "--json").stdout)
    assert found["documents"] == 3
    joined = [
        write_lines(
            tmp_path / f"{name}.txt", [" ".join(texts[name][i : i + 20]) for i in (0, 20, 40)]
        )
        for name in ("ref", "ours")
    ]
    bleu, _ = json.loads(sacrebleu(*joined))
    assert found["systems"][str(paths[0])]["d_bleu"] == pytest.approx(bleu["score"], abs=1e-11)


def test_the_bootstrap_is_sacrebleu_s(texts: dict[str, list[str]], tmp_path: Path) -> None:
    reference, ours, base = (
        write_lines(tmp_path / f"{n}.txt", texts[n]) for n in ("ref", "ours", "base")
    )
    result = run("evaluate", ours, reference, "--against", base, "--json")
    found = json.loads(result.stdout)["bootstrap"]
    # its JSON output of a paired test fails on numpy's numbers
    text = sacrebleu(reference, base, ours, flags=("--paired-bs", "-f", "text"))
    number = r"(\d+\.\d+)"
    cells = re.findall(rf"{number} \({number} ± {number}\)", text)
    chances = re.findall(rf"p = {number}", text)
    order = [(path, metric) for path in (base, ours) for metric in ("BLEU", "chrF2")]
    for (path, metric), cell in zip(order, cells, strict=True):
        own = found[metric][str(path)]
        expected = [own["score"], own["mean"], own["confidence"]]
        assert [float(value) for value in cell] == pytest.approx(expected, abs=1e-8)
        assert (own["p"] is None) == (path == base)
    for metric, chance in zip(("BLEU", "chrF2"), chances, strict=True):
        assert found[metric][str(ours)]["p"] == pytest.approx(float(chance), abs=1e-4)
    table = run("evaluate", ours, reference, "--against", base).stdout
    assert f"BLEU of {ours}: +" in table
    assert "(paired bootstrap)" in table
    assert "tok:13a" in table


def test_chinese_is_split_as_sacrebleu_splits_it(tmp_path: Path) -> None:
    reference = write_lines(
        tmp_path / "ref.txt", ["老水手看着大海，一言不发。", "他们等了三天船。"]
    )
    ours = write_lines(tmp_path / "ours.txt", ["老水手望着大海，不发一言。", "他们等船等了三天。"])
    found = json.loads(run("evaluate", ours, reference, "-tl", "zh-CN", "--json").stdout)
    scores = found["systems"][str(ours)]
    bleu, _ = json.loads(sacrebleu(reference, ours, flags=("-tok", "zh")))
    assert scores["bleu"] == pytest.approx(bleu["score"], abs=1e-11)
    assert "tok:zh" in scores["signatures"]["bleu"]


@pytest.mark.parametrize(("language", "packages"), [("ja", "MeCab"), ("ko-KR", "mecab_ko")])
def test_languages_that_need_more_packages_are_one_line(
    language: str, packages: str, tmp_path: Path
) -> None:
    if find_spec(packages):
        pytest.skip(f"{packages} is installed")
    path = write_lines(tmp_path / "a.txt", ["彼は海を見た。"])
    check_failure(
        run("evaluate", path, path, "-tl", language),
        f"-tl {language}: BLEU needs packages",
        f"pip install 'sacrebleu[{language[:2]}]'",
    )


def test_names_and_terms_that_change() -> None:
    verbs = ("took", "left", "lit", "broke", "sold", "hid", "lost", "found")
    reference = [
        f"{2 * verb} {('Anna', 'Boris')[i % 2]} {verb} the lantern." for i, verb in enumerate(verbs)
    ]
    reference += [f"nobody spoke the {n} words." for n in range(400)]
    same = [text.replace("Boris", "Borja") for text in reference]
    assert consistency(same, reference) == (1.0, 1.0)
    # one name of four loses its rendering twice, the term three times of eight
    changed = list(reference)
    changed[1] = changed[1].replace("Boris", "Bernard")
    changed[3] = changed[3].replace("Boris", "Bertrand")
    for i in (0, 2, 4):
        changed[i] = changed[i].replace("lantern", "lamp")
    assert consistency(changed, reference) == (6 / 8, 5 / 8)
    assert consistency(["a", "b"], ["One word.", "Another word."]) == (None, None)


def test_what_is_missing_and_what_repeats() -> None:
    loop = "the sea the sea the sea the sea the sea the sea"
    hypothesis = [*ENGLISH[:5], "", "Her.", loop]
    scores = score(hypothesis, ENGLISH, ["book"] * 8)
    assert scores.coverage == 6 / 8
    assert scores.repetition == 1 / 8
    perfect = score(ENGLISH, ENGLISH, ["book"] * 8)
    assert (perfect.bleu, perfect.d_bleu, perfect.chrf) == pytest.approx((100, 100, 100))
    assert (perfect.coverage, perfect.repetition) == (1, 0)


def test_forms_of_files(tmp_path: Path) -> None:
    pairs = [{"zh": zh, "en": en} for zh, en in zip(FRENCH, ENGLISH, strict=True)]
    blocks = [{"contexts": {"1": pairs[:1]}, "inference": pairs[i : i + 4]} for i in (0, 4)]
    guofeng = tmp_path / "guofeng.json"
    guofeng.write_text(json.dumps(blocks), encoding="utf-8")
    assert read_side(guofeng, "en").texts == ENGLISH
    bitext = tmp_path / "bitext.jsonl"
    entries = [{"src": a, "en": b} for a, b in zip(FRENCH, ENGLISH, strict=True)]
    bitext.write_text("\n".join(map(json.dumps, entries)))
    side = read_side(bitext, None)
    assert (side.texts, side.sources) == (ENGLISH, FRENCH)
    assert read_side(bitext, None, sources=True).texts == FRENCH
    plain = tmp_path / "plain.txt"
    plain.write_bytes("\ufeffone\r\n\r\nthree\u2028still three".encode())
    assert read_side(plain, None).texts == ["one", "", "three\u2028still three"]
    result = run("evaluate", bitext, guofeng, "-tl", "en", "--json")
    assert json.loads(result.stdout)["systems"][str(bitext)]["bleu"] == pytest.approx(100)


def test_bad_files_are_one_line(tmp_path: Path) -> None:
    good = write_lines(tmp_path / "good.txt", ENGLISH)
    for name, data, words in (
        ("short.txt", b"one\n", ("short.txt: 1 segments; expected 8", "good.txt")),
        ("empty.txt", b"", ("empty.txt: empty",)),
        ("bytes.txt", b"\xff\xfe\xff", ("bytes.txt: cannot be read",)),
        ("bad.jsonl", b"{", ("bad.jsonl: not pairs in JSON",)),
        ("bad.json", b'{"a": 1}', ("bad.json: not pairs in JSON",)),
        ("none.jsonl", b'{"doc": "a"}', ("none.jsonl: an entry without",)),
        ("two.jsonl", b'{"fr": "a", "en": "b"}', ("two.jsonl: an entry without",)),
    ):
        (tmp_path / name).write_bytes(data)
        check_failure(run("evaluate", tmp_path / name, good), *words)
    check_failure(run("evaluate", tmp_path / "gone.txt", good), "gone.txt", "No such file")
    check_failure(run("evaluate", good, good, "--source", tmp_path / "short.txt"), "short.txt")
