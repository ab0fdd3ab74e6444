"""Threads of a native step: measured once, kept, and without an effect on what is computed."""

import json
import os
import time
from pathlib import Path

import pytest
import torch

from inkstone.engine.calibrate import threads_by_rows
from inkstone.nn.kernels import decoder_step
from inkstone.nn.kernels.decoder_step import NativeDecoder
from tests.tiny_models import tiny_model

pytestmark = pytest.mark.skipif(decoder_step.unavailable() is not None, reason=str(decoder_step.unavailable()))


@pytest.fixture(autouse=True)
def _quiet_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))


def decoder(num_threads: int = 3, num_blocks: int = 80) -> NativeDecoder:
    model = tiny_model(max_position_embeddings=128)
    return NativeDecoder(model, "float32", num_blocks, num_threads, kept="float32")


def kept(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "cache").rglob("threads/*.json"))


def test_the_fastest_is_taken_and_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock on which a step takes as many seconds as it has rows for each thread, up to 2 threads, and 9 more
    with a third."""
    steps: list[int] = []
    took: list[float] = []

    def step(self: NativeDecoder, token_ids: torch.Tensor, *rest: torch.Tensor, num_threads: int) -> None:
        steps.append(num_threads)
        took.append(
            len(token_ids) / min(num_threads, 2) + (9 if num_threads == 3 else 0) + (1 if num_threads > 1 else 0)
        )

    clock = [0.0]

    def perf_counter() -> float:
        if took:
            clock[0] += took.pop()
        return clock[0]

    monkeypatch.setattr(NativeDecoder, "step", step)
    monkeypatch.setattr(time, "perf_counter", perf_counter)
    expected = {1: 1, 4: 2, 16: 2, 64: 2}  # 1 row: 1 second, or 1.5; 4 rows: 4, or 3
    assert threads_by_rows(decoder()) == expected
    assert set(steps) == {1, 2, 3}
    count = len(steps)
    assert threads_by_rows(decoder()) == expected
    assert len(steps) == count
    threads_by_rows(decoder(num_threads=2))
    assert len(steps) > count
    assert len(kept(tmp_path)) == 2


def test_steps_that_do_not_fit_are_not_measured() -> None:
    assert set(threads_by_rows(decoder(num_blocks=5))) == {1, 4}


def test_a_damaged_memory_is_made_again(tmp_path: Path) -> None:
    threads_by_rows(decoder())
    (path,) = kept(tmp_path)
    for text in ("{", "[]", '{"1": 99}', '{"4": 1}', '{"1": "x"}'):
        path.write_text(text)
        measured = threads_by_rows(decoder())
        assert set(measured) == {1, 4, 16, 64}
        assert json.loads(path.read_text()) == {str(rows): threads for rows, threads in measured.items()}


def test_nothing_is_measured_while_the_machine_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (2.0, 0.0, 0.0))
    assert threads_by_rows(decoder()) == {1: 3}
    assert not kept(tmp_path)


def test_any_number_of_threads_computes_the_same_bits() -> None:
    one = decoder()
    ids = torch.arange(40) % 300 + 5
    single = [torch.tensor(each) for each in ([0, 40], [0], [0, 3], [1, 2, 3], list(range(40)))]
    logits = [one.step(ids, *single, num_threads=number)[0] for number in (1, 2, 3, 2, 1, 3)]
    assert all(torch.equal(each, logits[0]) for each in logits)
