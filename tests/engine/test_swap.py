"""Hot-swapping adapters: the right weights, the same cache, no leak."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from parity import EXACT, engine_logits, trained

from templora_edge.engine import Adapter, LlamaEngine
from templora_edge.errors import AdapterError


class FreeThenLoad(LlamaEngine):
    """The wrong order: the new adapter can get the freed one's address, and llama.cpp compares
    addresses, so that the context keeps the graph of the old one: stale logits or a crash."""

    def swap(self, adapter: Path | None) -> None:
        if self._adapter is not None:
            self._adapter.close()
        self._adapter = None if adapter is None else Adapter(self.model, adapter)
        self.context.set_adapters([] if self._adapter is None else [(self._adapter, 1.0)])


@pytest.fixture(scope="module")
def adapters(
    tiny_gguf: Callable[[str], Path], tokens: list[int], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    paths = folder / "a.gguf", folder / "b.gguf"
    for seed, path in enumerate(paths):
        trained(tiny_gguf("f32"), tokens[128 * seed :], seed=seed).write(path)
    return paths


def check_a_b_a(engine: LlamaEngine, adapters: tuple[Path, Path], tokens: list[int]) -> None:
    a, b = adapters
    engine.swap(a)
    first = engine_logits(engine, tokens)
    engine.swap(b)
    second = engine_logits(engine, tokens)
    engine.swap(a)
    third = engine_logits(engine, tokens)
    assert np.abs(first - second).max() > 0.1
    np.testing.assert_array_equal(first, third)


def test_a_then_b_then_a(
    tiny_engine: LlamaEngine, adapters: tuple[Path, Path], tokens: list[int]
) -> None:
    check_a_b_a(tiny_engine, adapters, tokens)


def check_a_b_a_with(
    engine_class: type[LlamaEngine], base: Path, adapters: tuple[Path, Path], tokens: list[int]
) -> None:
    with engine_class(base, EXACT) as engine:
        check_a_b_a(engine, adapters, tokens)


@pytest.mark.parametrize(("engine_class", "passes"), [(LlamaEngine, True), (FreeThenLoad, False)])
def test_that_check_catches_the_wrong_order(
    engine_class: type[LlamaEngine],
    passes: bool,
    tiny_gguf: Callable[[str], Path],
    adapters: tuple[Path, Path],
    tokens: list[int],
) -> None:
    process = multiprocessing.get_context("spawn").Process(
        target=check_a_b_a_with, args=(engine_class, tiny_gguf("f32"), adapters, tokens)
    )
    process.start()
    process.join()
    assert (process.exitcode == 0) == passes


def test_swap_to_none_gives_the_base_back(
    tiny_engine: LlamaEngine, adapters: tuple[Path, Path], tokens: list[int]
) -> None:
    base = engine_logits(tiny_engine, tokens)
    tiny_engine.swap(adapters[0])
    tiny_engine.swap(None)
    np.testing.assert_array_equal(engine_logits(tiny_engine, tokens), base)


def test_the_cache_is_kept(
    tiny_engine: LlamaEngine, adapters: tuple[Path, Path], tokens: list[int]
) -> None:
    """After a swap, old keys and values are the old adapter's: neither lost nor recomputed."""
    tiny_engine.decode(tokens[:100])
    tiny_engine.swap(adapters[0])
    assert tiny_engine.n_past == 100
    tiny_engine.decode(tokens[100:101])
    assert tiny_engine.n_past == 101
    mixed = tiny_engine.context.logits()
    recomputed = engine_logits(tiny_engine, tokens[:101])[-1]
    assert np.abs(mixed - recomputed).max() > 1e-3


def test_a_bad_adapter_leaves_the_old_one_in_use(
    tiny_engine: LlamaEngine, adapters: tuple[Path, Path], tokens: list[int], tmp_path: Path
) -> None:
    tiny_engine.swap(adapters[0])
    before = engine_logits(tiny_engine, tokens)
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(adapters[1].read_bytes()[:-2000])
    with pytest.raises(AdapterError, match=r"broken\.gguf"):
        tiny_engine.swap(broken)
    with pytest.raises(AdapterError, match=r"none\.gguf"):
        tiny_engine.swap(tmp_path / "none.gguf")
    np.testing.assert_array_equal(engine_logits(tiny_engine, tokens), before)


def test_two_hundred_swaps_leave_memory_flat(
    tiny_engine: LlamaEngine, adapters: tuple[Path, Path], tokens: list[int]
) -> None:
    process = psutil.Process()

    def swap(times: int) -> int:
        for index in range(times):
            tiny_engine.swap(adapters[index % 2])
            tiny_engine.clear()
            tiny_engine.decode(tokens[:8])
        return int(process.memory_info().rss)

    before = swap(20)
    assert swap(200) <= before * 1.05
