import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from inkstone.checkpoint import read_safetensors
from inkstone.core.errors import DivergenceError, InputError, ResourceError
from inkstone.tokenizer import Tokenizer
from inkstone.train import guard
from inkstone.train import state as state_module
from inkstone.train.metrics import MetricsLog, read_metrics
from inkstone.train.objectives import Batch
from inkstone.train.state import TrainState
from tests.train.helpers import tiny_loop


def losses(out: Path) -> list[float]:
    return [row["loss"] for row in read_metrics(out)]


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "sgd"])
def test_accumulated_batches_give_the_loss_curve_of_the_large_batch(
    corpus_folder: Path, tokenizer: Tokenizer, tmp_path: Path, optimizer: str
) -> None:
    for micro_batch_size in (8, 1):
        out = tmp_path / str(micro_batch_size)
        changes = {"micro_batch_size": micro_batch_size, "optimizer": {"name": optimizer}, "learning_rate": 1e-3}
        tiny_loop(corpus_folder, tokenizer, out, **changes).run()
    assert losses(tmp_path / "1") == pytest.approx(losses(tmp_path / "8"), abs=1e-5)


def test_the_step_gradient_is_that_of_the_mean_over_its_tokens(
    corpus_folder: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    loop = tiny_loop(corpus_folder, tokenizer, tmp_path, micro_batch_size=2)
    loss, _, read = loop.accumulate_gradient(0)
    accumulated = [parameter.grad.clone() for parameter in loop.parameters if parameter.grad is not None]
    batch = loop.objective.collate(loop.examples.batch(0, 8))
    logits = loop.model(
        batch["input_ids"], position_ids=batch.get("position_ids"), segment_ids=batch.get("segment_ids")
    )
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), ignore_index=-100)
    gradients = torch.autograd.grad(expected, loop.parameters)
    assert read == (8 * 32, int((batch["labels"] != -100).sum()))
    assert loss == pytest.approx(float(expected.detach()), abs=1e-5)
    for got, wanted in zip(accumulated, gradients, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)


def test_training_learns(corpus_folder: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    tiny_loop(corpus_folder, tokenizer, tmp_path, steps=60).run()
    curve = losses(tmp_path)
    assert curve[-1] < 0.6 * curve[0]


@pytest.mark.filterwarnings("ignore")  # those of torch's own compiler
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 2e-2)])
def test_compiled_and_uncompiled_training_agree(
    corpus_folder: Path, tokenizer: Tokenizer, tmp_path: Path, dtype: str, tolerance: float
) -> None:
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("no C++ compiler")
    changes = {"steps": 3, "dtype": dtype, "context_length": 256}
    tiny_loop(corpus_folder, tokenizer, tmp_path / "eager", **changes).run()
    tiny_loop(corpus_folder, tokenizer, tmp_path / "compiled", compile=True, **changes).run()
    assert losses(tmp_path / "compiled") == pytest.approx(losses(tmp_path / "eager"), abs=tolerance)


def test_without_a_compiler_training_runs_uncompiled(
    corpus_folder: Path,
    tokenizer: Tokenizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from torch._inductor import cpp_builder

    cpp_builder.cpp_compiler_search.cache_clear()  # an earlier test may have found one
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    loop = tiny_loop(corpus_folder, tokenizer, tmp_path, steps=1, compile=True, fused=False)
    loop.run()
    assert loop.state.environment["compiled"] is False
    assert "no C++ compiler was found" in capsys.readouterr().err


def test_a_run_goes_on_with_its_threads_and_gives_them_back(
    corpus_folder: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    before = torch.get_num_threads()
    loop = tiny_loop(corpus_folder, tokenizer, tmp_path, steps=2)
    loop.state.environment["threads"] = before + 1
    seen = []
    loop.evaluate = lambda model, step: seen.append(torch.get_num_threads()) or {"valid_loss": 1.0}
    loop.run()
    assert set(seen) == {before + 1}
    assert torch.get_num_threads() == before


def test_early_stopping_keeps_the_best_weights(corpus_folder: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    loop = tiny_loop(corpus_folder, tokenizer, tmp_path, steps=50, eval_every=2, patience=3)
    values = itertools.chain([3.0, 2.0, 2.5, 2.4, 2.3], itertools.repeat(9.0))
    loop.evaluate = lambda model, step: {"valid_loss": next(values)}
    state = loop.run()
    assert (state.step, state.best_step, state.best_loss) == (10, 4, 2.0)
    best = read_safetensors(tmp_path / "checkpoints" / "best" / "model.safetensors")
    again = tiny_loop(corpus_folder, tokenizer, tmp_path / "again", steps=50, eval_every=2)
    with MetricsLog(tmp_path / "again") as log:
        for _ in range(4):
            again.step(log)
    assert all(torch.equal(best[name], parameter) for name, parameter in again.model.named_parameters())


def test_a_loss_that_is_not_finite_stops_with_step_batch_and_cause(
    corpus_folder: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    loop = tiny_loop(corpus_folder, tokenizer, tmp_path, steps=50)
    real, calls = loop.batch_loss, itertools.count()

    def broken(batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        loss, metrics = real(batch)
        return loss * (float("nan") if next(calls) == 3 else 1), metrics

    loop.batch_loss = broken  # type: ignore[method-assign]
    with pytest.raises(DivergenceError, match=r"step 4, sequences 24 to 31.*\n?.*not finite.*overflow") as caught:
        loop.run()
    assert caught.value.exit_code == 3
    assert all(torch.isfinite(parameter).all() for parameter in loop.parameters)


def test_a_learning_rate_far_too_high_is_named_as_the_cause(
    corpus_folder: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    loop = tiny_loop(corpus_folder, tokenizer, tmp_path, steps=300, learning_rate=30.0, optimizer={"name": "adamw"})
    with pytest.raises(DivergenceError, match=r"learning.rate"):
        loop.run()


def test_a_rising_loss_is_noticed_and_a_noisy_one_is_not() -> None:
    model, state = torch.nn.Linear(1, 1), TrainState()
    for step in range(400):
        guard.check_step(state, 3.0 + 0.8 * (-1) ** step, 1.0, 0.01, range(8), model, 1.0)
    rising = (guard.check_step(state, 3.0 + 0.1 * step, 1.0, 0.01, range(8), model, 1.0) for step in range(100))
    with pytest.raises(DivergenceError, match="diverges"):
        list(rising)


def test_too_few_sequences_for_a_step_are_refused(corpus_folder: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"too little data for the batch: \d+ sequences, and a step needs 4,000"):
        tiny_loop(corpus_folder, tokenizer, tmp_path, batch_size=4000)


def test_a_full_disk_in_a_checkpoint_leaves_the_last_one(
    corpus_folder: Path, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = tiny_loop(corpus_folder, tokenizer, tmp_path, checkpoint_every=2)
    real, calls = state_module.write_safetensors, itertools.count()

    def fails_late(path: Path, tensors: dict[str, torch.Tensor]) -> None:
        if next(calls) == 4:  # the optimizer's tensors of the second checkpoint
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        real(path, tensors)

    monkeypatch.setattr(state_module, "write_safetensors", fails_late)
    with pytest.raises(ResourceError, match="disk is full"):
        loop.run()
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["last"]
    monkeypatch.setattr(state_module, "write_safetensors", real)
    resumed = tiny_loop(corpus_folder, tokenizer, tmp_path, checkpoint_every=2)
    assert resumed.state.step == 2
    resumed.run()
    whole = tiny_loop(corpus_folder, tokenizer, tmp_path / "whole")
    whole.run()
    assert all(torch.equal(a, b) for a, b in zip(resumed.parameters, whole.parameters, strict=True))
