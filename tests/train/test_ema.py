from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from inkstone.checkpoint import read_safetensors
from inkstone.tokenizer import Tokenizer
from inkstone.train.averaging import settle_weights
from inkstone.train.ema import WeightAverage
from inkstone.train.metrics import MetricsLog
from tests.train.helpers import tiny_loop


def test_three_steps_by_hand() -> None:
    model = nn.Linear(1, 1, bias=False)
    frozen = nn.Parameter(torch.ones(1), requires_grad=False)
    model.register_parameter("frozen", frozen)
    with torch.no_grad():
        model.weight.fill_(1.0)
    average = WeightAverage(model, 0.25)
    for step, value in enumerate((2.0, 4.0, 8.0), start=1):
        with torch.no_grad():
            model.weight.fill_(value)
        average.update(step)
    # d is 2/11, then 3/12 = 0.25, then at most 0.25
    first = 2 / 11 * 1 + 9 / 11 * 2
    second = 0.25 * first + 0.75 * 4
    expected = 0.25 * second + 0.75 * 8
    assert average.state_tensors().keys() == {"weight"}
    assert float(average.state_tensors()["weight"]) == pytest.approx(expected, rel=1e-6)


def test_it_is_exchanged_for_the_weights_and_back() -> None:
    model = nn.Linear(3, 2)
    average = WeightAverage(model, 0.9)
    with torch.no_grad():
        model.weight.add_(1)
    raw, mean = model.weight.detach().clone(), average.state_tensors()["weight"].clone()
    with average.in_place():
        assert torch.equal(model.weight, mean)
    assert torch.equal(model.weight, raw)
    assert torch.equal(average.state_tensors()["weight"], mean)


def test_the_average_is_evaluated_saved_and_resumed(corpus_folder: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Against the same run, whose weights are averaged by NumPy."""
    followed, name = [], "model.layers.0.mlp.up_proj.weight"
    plain = tiny_loop(corpus_folder, tokenizer, tmp_path / "plain", steps=8)
    mean = plain.model.get_parameter(name).detach().numpy().copy()
    with MetricsLog(tmp_path / "plain") as log:
        for step in range(1, 9):
            plain.step(log)
            decay = min(0.5, (1 + step) / (10 + step))
            mean = decay * mean + (1 - decay) * plain.model.get_parameter(name).detach().numpy()

    def evaluate(model: nn.Module, step: int) -> dict[str, float]:
        followed.append(model.get_parameter(name).detach().clone())
        return {"valid_loss": 1 / step}

    changes = {"steps": 8, "ema": 0.5, "checkpoint_every": 3, "eval_every": 8, "keep": "best"}
    out = tmp_path / "averaged"
    loop = tiny_loop(corpus_folder, tokenizer, out, **changes)
    with MetricsLog(out) as log:
        for _ in range(3):
            loop.step(log)
        loop.save(log)
        loop.step(log)  # lost
    resumed = tiny_loop(corpus_folder, tokenizer, out, **changes)
    resumed.evaluate = evaluate
    assert resumed.run().step == 8
    np.testing.assert_allclose(followed[-1].numpy(), mean, atol=1e-6)
    raw = read_safetensors(out / "checkpoints" / "last" / "model.safetensors")[name]
    assert torch.equal(raw, plain.model.get_parameter(name))
    assert torch.equal(read_safetensors(out / "checkpoints" / "best" / "model.safetensors")[name], followed[-1])
    assert settle_weights(resumed) == 1 / 8
    assert torch.equal(resumed.model.get_parameter(name), followed[-1])
