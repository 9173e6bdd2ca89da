"""The page of a report: all values drawn and written, hostile text harmless, valid HTML."""

import copy
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from chromium import COMMAND, Chromium
from command import SMALL, check_failure, run
from hypothesis import given
from hypothesis import strategies as st
from paths import PROSE
from run_reports import HOSTILE, generated, hostile, scored

from templora_edge.errors import ReportError
from templora_edge.report.axis import Axis
from templora_edge.report.page import to_html
from templora_edge.report.report_file import read_report
from templora_edge.report.run import PHASES

VOID = {"meta", "br", "img", "link", "input", "hr"}


def page_of(report: dict[str, Any]) -> str:
    return to_html(read_report(json.dumps(report), "run.json"))


class Element:
    def __init__(self, tag: str, attributes: dict[str, str], within: "Element | None") -> None:
        self.tag, self.attributes, self.within = tag, attributes, within
        self.text = ""
        self.inner: list[Element] = []

    def all(self, tag: str, **attributes: str) -> "list[Element]":
        """Elements inside, in order, with the words of ``attributes`` among theirs."""
        found = []
        for one in self.inner:
            wanted = ((name.strip("_").replace("_", "-"), v) for name, v in attributes.items())
            if one.tag == tag and all(v in one.attributes.get(n, "").split() for n, v in wanted):
                found.append(one)
            found += one.all(tag, **attributes)
        return found

    def words(self) -> str:
        return self.text + "".join(one.words() for one in self.inner)


class Tree(HTMLParser):
    """The elements of a page; parsing fails where a tag is not closed, or an attribute is twice."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.root = self._open = Element("", {}, None)
        self.feed(page)
        self.close()
        assert self._open is self.root, f"<{self._open.tag}> is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        assert len(attributes) == len(attrs), f"<{tag}> has an attribute twice"
        element = Element(tag, attributes, self._open)
        self._open.inner.append(element)
        if tag not in VOID:
            self._open = element

    def handle_endtag(self, tag: str) -> None:
        assert tag == self._open.tag, f"</{tag}> closes <{self._open.tag}>"
        assert self._open.within is not None
        self._open = self._open.within

    def handle_data(self, data: str) -> None:
        self._open.text += data


def series(page: Element, figure: str, style: str) -> list[Element]:
    """The marks of one series."""
    [plot] = page.all("div", class_=figure)
    [group] = [g for g in plot.all("g", class_=style) if "data-series" in g.attributes]
    return group.all("circle") + group.all("rect")


def percent(mark: Element, name: str) -> float:
    return float(mark.attributes[name].removesuffix("%"))


@pytest.mark.parametrize("report", [generated(), scored(), hostile()])
def test_the_page_is_whole_and_needs_nothing_else(report: dict[str, Any]) -> None:
    page = page_of(report)
    assert page.startswith("<!doctype html>")
    root = Tree(page).root
    everything = root.all("html")[0]
    ids = re.findall(r'\sid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    elements = [everything]
    for element in elements:
        elements += element.inner
        for name, value in element.attributes.items():
            if name in ("aria-labelledby", "aria-describedby"):
                assert set(value.split()) <= set(ids)
            assert name not in ("src", "href", "style", "action", "data")
            assert not name.startswith("on")
    assert {e.tag for e in elements}.isdisjoint({"link", "img", "iframe", "object", "base", "form"})
    assert not re.search(r"url\((?!#)|@import|@font-face|https?:", page)
    assert len(root.all("script")) == len(root.all("style")) == len(root.all("h1")) == 1


def test_every_value_is_a_mark() -> None:
    report = generated()
    root = Tree(page_of(report)).root
    blocks = report["blocks"]
    for name, style in (("loss_before", "adapter"), ("loss_after", "after")):
        marks = series(root, "loss", style)
        with_value = [block for block in blocks if block[name] is not None]
        assert [m.attributes["data-block"] for m in marks] == [
            str(block["index"] + 1) for block in with_value
        ]
        heights = [100 - percent(mark, "cy") for mark in marks]
        values = [block[name] for block in with_value]
        slope = (heights[1] - heights[0]) / (values[1] - values[0])
        assert slope > 0
        for height, value in zip(heights, values, strict=True):
            assert height - heights[0] == pytest.approx(slope * (value - values[0]), abs=0.01)
    end = blocks[-1]["begin"] + blocks[-1]["tokens"]
    middles = [100 * (block["begin"] + 32) / end for block in blocks]
    assert [percent(m, "cx") for m in series(root, "memory", "base")] == pytest.approx(
        middles, abs=0.01
    )
    assert len(series(root, "scale", "adapter")) == 7
    [plot] = root.all("div", class_="loss")
    [before] = plot.all("g", class_="adapter")
    assert [len(p.attributes["points"].split()) for p in before.all("polyline")] == [6]


def test_seconds_stack_up_to_their_sum() -> None:
    report = generated()
    root = Tree(page_of(report)).root
    tops: dict[str, float] = {}
    for phase in PHASES:
        marks = series(root, "seconds", phase)
        expected = [b["index"] + 1 for b in report["blocks"] if b[f"{phase}_s"]]
        assert [int(mark.attributes["data-block"]) for mark in marks] == expected
        for mark in marks:
            number, y = mark.attributes["data-block"], percent(mark, "y")
            assert y + percent(mark, "height") == pytest.approx(tops.get(number, 100), abs=0.01)
            tops[number] = y
    sums = [sum(b[f"{phase}_s"] for phase in PHASES) for b in report["blocks"]]
    heights = [100 - tops[str(number)] for number in range(1, len(sums) + 1)]
    assert [h / heights[0] for h in heights] == pytest.approx([s / sums[0] for s in sums], rel=1e-3)


def test_base_and_adapter_are_both_drawn_for_each_text() -> None:
    root = Tree(page_of(scored())).root
    sections = root.all("section", class_="run")
    assert [s.all("h2", class_="name")[0].words() for s in sections] == ["a.txt", "b.txt"]
    for section in sections:
        assert len(series(section, "loss", "base")) == len(series(section, "loss", "adapter")) == 6
        saved, lost = (series(section, "saving", style) for style in ("adapter", "after"))
        assert [m.attributes["data-block"] for m in saved] == ["1", "2"]  # the third gains nothing
        assert [m.attributes["data-block"] for m in lost] == ["4", "5", "6"]
        zero = percent(saved[0], "y") + percent(saved[0], "height")
        assert percent(lost[0], "y") == pytest.approx(zero, abs=0.01)
        tiles = section.all("dl", class_="tiles")[0].words()
        for words in ("24.53", "20.09", "-18.1 % ± 1.2", "5.5 s", "1.00 GiB"):
            assert words in tiles


def test_text_and_table_have_every_block() -> None:
    report = generated()
    root = Tree(page_of(report)).root
    [text] = root.all("div", class_="text")
    assert text.words() == "Once. " + "".join(block["text"] for block in report["blocks"])
    kinds = [span.attributes["class"].split()[1:] for span in text.all("span", class_="block")]
    assert kinds == [["given", "learned"]] * 5 + [["learned"], ["looped"], ["learned"], []]
    rows = [[cell.words() for cell in row.all("td")] for row in root.all("tr")[1:]]
    assert rows[0][:4] == ["7", "64", "given", "learned"]
    assert rows[0][4:] == ["3.000", "2.900", "0.2", "", "1.50", "", "", "1,024"]
    assert rows[6][3] == "not learned: it loops"
    assert rows[8][3] == "not learned"
    facts = [section.words() for section in root.all("section", class_="facts")]
    for fact, words in zip(facts, ("sampling.top_p", "models/small.gguf", "0.1.0"), strict=True):
        assert words in fact


def test_a_run_that_stopped_says_so() -> None:
    report = generated()
    assert "did not come to its end" not in page_of(report)
    report["total"]["finished"] = False
    assert "did not come to its end" in page_of(report)


def test_what_a_report_lacks_is_left_out() -> None:
    """Such as one of before blocks had their places and texts, and without Temp-LoRA."""
    report = generated()
    for block in report["blocks"]:
        for name in ("begin", "text", "loss_before", "loss_after", "scale", "rss_bytes"):
            del block[name]
    root = Tree(page_of({"settings": {}, "blocks": report["blocks"]})).root
    assert not root.all("div", class_="text")
    assert [h.words() for h in root.all("h2")] == ["Seconds by phase", "Block"]


def test_hostile_text_is_text() -> None:
    root = Tree(page_of(hostile())).root
    for section in root.all("section", class_="run"):
        words = section.all("div", class_="text")[0].words()
        for text in HOSTILE:
            assert re.sub(r"[\0\x1b\ud800\ufffe]", "\ufffd", text) in words
    assert "{{ 7 * 7 }}{% raw %}&lt;&amp;&#60;" in root.all("h1")[0].words()


BROKEN: dict[str, tuple[Any, list[str]]] = {
    "": ("", ["run.json: not JSON", "expected what"]),
    "half": ('{"blocks": [', ["not JSON"]),
    "deep": ("[" * 100_000, ["not JSON"]),
    "nan": ('{"settings": {"x": NaN}}', ["not JSON"]),
    "list": ([1, 2], ["not a report of a run"]),
    "other": ({"mean": 3}, ["not a report of a run", "templora generate --report"]),
    "no blocks": (generated() | {"blocks": []}, ["has no blocks"]),
    "as --json": ({"files": [{"file": "a.txt"}], "settings": {}}, ["has no blocks"]),
    "blocks": (generated() | {"blocks": "three"}, ['blocks is "three"', "a list of objects"]),
    "model": (generated() | {"model": "m.gguf"}, ['model is "m.gguf"', "an object"]),
}


def changed(**values: Any) -> dict[str, Any]:
    report = copy.deepcopy(generated())
    report["blocks"][3] |= values
    return report


BROKEN |= {
    "tokens": (changed(tokens=None), ["blocks[3].tokens is null", "expected 1 or more"]),
    "order": (changed(begin=10), ["blocks[3].begin is 10", "199 or more"]),
    "loss": (changed(loss_before="low"), ['blocks[3].loss_before is "low"', "templora-edge 0.1.0"]),
    "negative": (changed(rss_bytes=-1), ["blocks[3].rss_bytes is -1"]),
    "huge": (changed(train_s=10**400), ["blocks[3].train_s is 1000"]),
    "flag": (changed(given="yes"), ['blocks[3].given is "yes"', "true or false"]),
    "text": (changed(text=["a"]), ['blocks[3].text is ["a"]', "a string"]),
}


@pytest.mark.parametrize(("content", "words"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_report_is_refused(content: Any, words: list[str]) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    with pytest.raises(ReportError) as error:
        read_report(text, "run.json")
    message = str(error.value)
    assert message.startswith("run.json: ")
    assert "\n" not in message
    for word in words:
        assert word in message


numbers = st.floats(0, 1e15, allow_subnormal=False)


@given(st.lists(numbers, min_size=1), st.booleans())
def test_an_axis_covers_its_values_with_few_ticks(values: list[float], from_zero: bool) -> None:
    axis = Axis.over(values, from_zero=from_zero)
    assert axis.low <= min(values)
    assert axis.high >= max(values)
    assert axis.low == 0 or not from_zero
    assert 2 <= len(axis.ticks) <= 7
    assert list(axis.ticks) == sorted(set(axis.ticks))
    assert len(set(axis.labels)) == len(axis.ticks)
    assert all(0 <= axis.percent(value) <= 100 for value in values)


@given(st.integers(1, 10**12))
def test_positions_end_where_the_text_does(length: int) -> None:
    axis = Axis.up_to(length)
    assert (axis.percent(0), axis.percent(length)) == (0, 100)
    assert axis.ticks[0] == 0
    assert 2 <= len(axis.ticks) <= 7
    assert axis.ticks[-1] <= length


def test_the_command_writes_a_page(tmp_path: Path) -> None:
    report = tmp_path / "run.json"
    report.write_text(json.dumps(generated()))
    to_stdout = run("report", report)
    assert (to_stdout.returncode, to_stdout.stderr) == (0, "")
    assert to_stdout.stdout == page_of(generated())
    assert run("report", "-", prompt=report.read_text()).stdout == to_stdout.stdout
    assert run("report", "run.json", "-o", "run.html", cwd=tmp_path).returncode == 0
    assert (tmp_path / "run.html").read_text() == to_stdout.stdout
    check_failure(run("report", report, "-o", tmp_path / "run.html"), "exists", "--force")
    check_failure(run("report", report, "-o", report, "--force"), "same file", "run.json")
    check_failure(run("report", tmp_path / "none.json"), "none.json: No such file")
    check_failure(run("report", "-", prompt="{}"), "stdin: not a report of a run")
    assert report.read_text() == json.dumps(generated())


def test_a_generation_reports_what_its_page_needs(tmp_path: Path) -> None:
    prompt = PROSE.read_text()[:400]
    learning = ["--own-learning-rate", "1e-4", "--rank", "4"]
    done = run("generate", *SMALL, *learning, "--report", tmp_path / "run.json", prompt=prompt)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "run.json").read_text())
    blocks = report["blocks"]
    assert report["before"] == ""
    assert "".join(block["text"] for block in blocks) == prompt + done.stdout.removesuffix("\n")
    assert [b["begin"] for b in blocks] == [
        sum(b["tokens"] for b in blocks[:index]) for index in range(len(blocks))
    ]
    root = Tree(page_of(report)).root
    assert len(series(root, "loss", "adapter")) == sum(b["scale"] is not None for b in blocks) > 3


def test_a_short_prompt_stands_before_the_blocks(tmp_path: Path) -> None:
    prompt = "It was a dark night"
    done = run("generate", *SMALL, "--report", tmp_path / "run.json", prompt=prompt)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "run.json").read_text())
    assert report["before"] == prompt
    assert report["before"] + "".join(block["text"] for block in report["blocks"]) == (
        prompt + done.stdout.removesuffix("\n")
    )


@pytest.mark.parametrize("protocol", ["stream", "llama-perplexity"])
def test_perplexity_reports_the_losses_of_its_blocks(protocol: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(PROSE.read_text()[:1500])
    lengths = ["-c", "128", "--block", "32", "--rank", "4", "--protocol", protocol]
    done = run("perplexity", "a.txt", *lengths, "--report", "run.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "run.json").read_text())
    [file] = report["files"]
    if protocol == "stream":
        text = (tmp_path / "a.txt").read_text()
        assert "".join(block["text"] for block in file["blocks"]) == text
    assert file["tokens"] <= sum(block["tokens"] for block in file["blocks"])
    root = Tree(page_of(report)).root
    n_blocks = len(file["blocks"])
    assert len(series(root, "loss", "base")) == len(series(root, "loss", "adapter")) == n_blocks > 1
    for name in ("base_loss", "loss"):
        low, high = (end(b[name] for b in file["blocks"]) for end in (min, max))
        assert (
            low < file["base" if name == "base_loss" else "templora"]["nll"] / file["tokens"] < high
        )
    check_failure(
        run("perplexity", "a.txt", "--report", "a.txt", "--force", cwd=tmp_path), "--report a.txt"
    )


@pytest.mark.skipif(COMMAND is None, reason="needs Chromium")
def test_the_page_in_a_browser(tmp_path: Path) -> None:
    page = tmp_path / "run.html"
    with Chromium(tmp_path) as browser:
        for report, points, bars in (
            (generated(), 7 + 7 + 7 + 9, 4 + 7 + 2 + 2),
            (scored(), 2 * 23, 2 * 10),
        ):
            page.write_text(page_of(report))
            browser.open(page)
            assert browser.complaints == []
            assert browser.requests == [page.as_uri()]
            seen = (
                "[...document.querySelectorAll('.plot {}')].filter(e => e.getBBox().{} > 0).length"
            )
            assert browser.value(seen.format("circle", "width")) == points
            assert browser.value(seen.format(".bar", "height")) == bars

        page.write_text(page_of(generated()))
        browser.open(page)
        chosen = "[...document.querySelectorAll('.column.on')].map(e => e.dataset.block).join()"
        title = "document.querySelector('.panel h2').textContent"
        browser.resize(1200, 800)
        browser.point_at('.loss .column[data-block="3"]')
        assert browser.value(chosen) == "3,3,3,3"
        assert browser.value(title) == "Block 3 of 9"
        assert browser.value("document.querySelector('.excerpt').textContent") == "2: some words"
        assert "3.909" in browser.value("document.querySelector('.found dl').textContent")
        browser.point_at('.text [data-block="7"]', click=True)
        browser.point_at("h1")
        assert browser.value(title) == "Block 7 of 9"
        browser.value("document.querySelector('.plot.seconds').focus()")
        browser.press("ArrowRight")
        assert browser.value(title) == "Block 8 of 9"
        browser.press("Escape")
        assert browser.value(chosen) == ""
        for width in (1200, 800, 360):
            browser.resize(width, 800)
            assert browser.value("document.documentElement.scrollWidth") == width
        assert browser.complaints == []


@pytest.mark.skipif(COMMAND is None, reason="needs Chromium")
def test_hostile_text_does_nothing_in_a_browser(tmp_path: Path) -> None:
    page = tmp_path / "run.html"
    page.write_text(page_of(hostile()))
    with Chromium(tmp_path) as browser:
        browser.open(page)
        browser.point_at('.loss .column[data-block="3"]', click=True)
        assert browser.value("window.hacked") is None
        assert browser.value("document.querySelectorAll('img, [onload], [onerror]').length") == 0
        assert browser.value("document.scripts.length") == 1
        assert HOSTILE[1] in browser.value("document.querySelector('.excerpt').textContent")
        assert browser.complaints == []
        assert browser.requests == [page.as_uri()]
