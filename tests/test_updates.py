"""The one update path: what is learned is served once, and its state survives."""

from pathlib import Path

import pytest
from scripted import ScriptedEngine, ScriptedTrainer

from templora_edge.errors import OptionError
from templora_edge.updates import Updates


class InterruptedOnce(ScriptedEngine):
    """Raises KeyboardInterrupt at its first swap."""

    def swap(self, adapter: Path | None) -> None:
        super().swap(adapter)
        if self.swaps == 1:
            raise KeyboardInterrupt


def answer(source: str, attempt: int) -> str:
    raise NotImplementedError


@pytest.fixture
def trainer(tmp_path: Path) -> ScriptedTrainer:
    return ScriptedTrainer(tmp_path)


def learn(updates: Updates, prefix: str, block: str, mask: str) -> None:
    loss_mask = [character == "x" for character in mask]
    updates.learn([*map(ord, prefix)], [*map(ord, block)], loss_mask)


def test_what_is_learned_is_served_once(trainer: ScriptedTrainer) -> None:
    engine = ScriptedEngine(answer)
    updates = Updates(engine, lambda: trainer)
    assert updates.swap() is None, "there is nothing to serve yet"
    learn(updates, "before ", "block", "x..xx")
    assert trainer.trained == [("before block", "bck")]
    assert (engine.swaps, updates.served) == (0, 0)
    learn(updates, "", "next", "xxxx")
    report = updates.swap()
    assert report is not None
    assert report.loss_before == 1.0
    assert min(report.train_s, report.convert_s, report.swap_s) > 0
    assert (engine.swaps, updates.served) == (1, 2)
    assert updates.swap() is None
    assert engine.swaps == 1


def test_an_interrupted_swap_is_made_again(trainer: ScriptedTrainer) -> None:
    engine = InterruptedOnce(answer)
    updates = Updates(engine, lambda: trainer)
    learn(updates, "", "block", "xxxxx")
    with pytest.raises(KeyboardInterrupt):
        updates.swap()
    assert updates.served == 0
    assert not list(trainer.folder.iterdir()), "an exported adapter was left behind"
    assert updates.swap() is not None
    assert (engine.swaps, updates.served) == (2, 1)


def test_state_goes_on_where_it_was(trainer: ScriptedTrainer, tmp_path: Path) -> None:
    first = Updates(ScriptedEngine(answer), lambda: trainer)
    learn(first, "", "block", "xxxxx")
    first.save_state(tmp_path / "state")
    again, engine = ScriptedTrainer(tmp_path), ScriptedEngine(answer)
    second = Updates(engine, lambda: again)
    second.load_state(tmp_path / "state")
    assert again.trained == trainer.trained
    assert second.swap() is not None, "the adapter that was loaded is not served"
    assert engine.swaps == 1


def test_saving_keeps_nothing_but_the_copy(trainer: ScriptedTrainer, tmp_path: Path) -> None:
    updates = Updates(ScriptedEngine(answer), lambda: trainer)
    updates.save(tmp_path / "kept.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["kept.gguf"]


def test_without_an_adapter(tmp_path: Path) -> None:
    engine = ScriptedEngine(answer)
    updates = Updates(engine, None)
    report = updates.learn([], [1, 2])
    assert (report.train_s, report.loss_before) == (0, None)
    assert report.rss_bytes > 0
    assert updates.swap() is None
    assert engine.swaps == 0
    for act in (updates.save, updates.save_state, updates.load_state):
        with pytest.raises(OptionError, match="no adapter to save without Temp-LoRA"):
            act(tmp_path / "file")
