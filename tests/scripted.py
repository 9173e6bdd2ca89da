"""An engine that answers by rule and a trainer that records, to test everything around a model.

Tokens are characters; 0 ends an answer.
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from fake_engine import FakeEngine

from templora_edge.options import BlockOptions, SamplingOptions
from templora_edge.protocols import Captured, Update
from templora_edge.translation.answers import Answers, Languages
from templora_edge.translation.glossary.glossary import Glossary
from templora_edge.translation.pair_loop import PairLoop
from templora_edge.translation.prompt import Prompt, TemplatePrompt
from templora_edge.translation.run import TranslationRun, assemble, segments_of
from templora_edge.translation.store.segment_row import SegmentRow
from templora_edge.translation.store.store import Store
from templora_edge.updates import Updates

END = 0
TEMPLATE = (
    "{% for pair in pairs %}{{ pair.source }} => {{ pair.translation }}\n{% endfor %}"
    "{{ source }} => "
)
Rule = Callable[[str, int], str]
"""(source, number of the attempt from 0) -> answer."""


class ScriptedEngine(FakeEngine):
    """`PairEngine` and `Tokenizer`."""

    end = END

    def __init__(self, rule: Rule, n_ctx: int = 2000) -> None:
        super().__init__(n_ctx)
        self.rule = rule
        self.prompts: list[str] = []
        self._attempts: dict[str, int] = {}
        self._answer: list[int] | None = None

    def use_sampling(self, options: SamplingOptions) -> None:
        self._answer = None

    def choose(self) -> int:
        if self._answer is None:
            prompt = "".join(map(chr, self.cached))
            self.prompts.append(prompt)
            source = prompt.rpartition("\n")[2].removesuffix(" => ")
            attempt = self._attempts.get(source, 0)
            self._attempts[source] = attempt + 1
            self._answer = [*map(ord, self.rule(source, attempt)), END]
        return self._answer.pop(0)

    head = ()

    def tokenize(self, text: str) -> list[int]:
        return list(map(ord, text))

    def quote(self, text: str) -> str:
        return text

    def tokenize_prompt(self, prompt: str) -> list[int]:
        return self.tokenize(prompt)

    def piece(self, token: int) -> bytes:
        return chr(token).encode()


class ScriptedTrainer:
    """A `Trainer` whose state is what it was trained on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trained: list[tuple[str, str]] = []
        """The text that was shown, and the text that was learned."""
        self.own: list[bool] = []
        """Whether each block was learned as the model's own, since the start or `load`."""

    def train(
        self,
        prefix: Sequence[int],
        block: Sequence[int],
        loss_mask: Sequence[bool] | None = None,
        *,
        own: bool = False,
        captured: Captured | None = None,
    ) -> Update:
        tokens = [token for token, flag in zip(block, loss_mask or (), strict=True) if flag]
        self.trained.append(("".join(map(chr, [*prefix, *block])), "".join(map(chr, tokens))))
        self.own.append(own)
        return Update(1.0, None)

    def begin(
        self,
        prefix: Sequence[int],
        block: Sequence[int],
        *,
        own: bool = False,
        captured: Captured | None = None,
    ) -> None:
        """Begin nothing: `train` does all."""

    def export(self) -> Path:
        path = self.folder / f"{len(self.trained)}.gguf"
        path.touch()
        return path

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(self.trained))

    def load(self, path: Path) -> None:
        self.trained = [(shown, learned) for shown, learned in json.loads(path.read_text())]


def make_loop(engine: ScriptedEngine, updates: Updates, prompt: Prompt | None = None) -> PairLoop:
    options = BlockOptions(
        n_ctx=engine.n_ctx,
        block_len=60,
        prefix_len=min(200, engine.n_ctx - 60),
        train_prefix_len=400,
    )
    prompt = prompt or TemplatePrompt(TEMPLATE, "the test's", "fr", "en")
    return PairLoop(engine, engine, updates, prompt, options)


def make_answers(
    loop: PairLoop,
    languages: Languages,
    glossary: Glossary | None = None,
    known: Sequence[SegmentRow] = (),
) -> Answers:
    sampling = SamplingOptions(temperature=0)
    return Answers(loop, languages, sampling, glossary or Glossary(()), known)


def echoed(paragraphs: Sequence[str]) -> list[str]:
    """``paragraphs`` cut, asked, answered with themselves, checked and reassembled."""
    engine = ScriptedEngine(lambda source, attempt: source)
    with tempfile.TemporaryDirectory() as folder:
        updates = Updates(engine, None)
        loop = make_loop(engine, updates)
        with Store(Path(folder, "echo.job")) as store:
            store.begin({}, segments_of(paragraphs, loop))
            answers = make_answers(loop, Languages("fr", "fr"))
            list(TranslationRun(store, loop, updates, answers))
            return assemble(paragraphs, store.segments())
