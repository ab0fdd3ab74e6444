"""What the checks of all kinds of models share, and those that every model must pass."""

import copy
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from inkstone.checkpoint import load_model, save_checkpoint
from inkstone.nn.models.base import EncoderDecoder, Model
from tests.tiny_models import tiny_tokenizer

M = TypeVar("M", bound=Model)
Check = Callable[[M], None]

BATCH, TIME = 3, 12
LENGTHS = (12, 5, 1)
"""Of the real tokens of each sequence, where there is padding."""


def random_ids(model: Model, batch: int = BATCH, time: int = TIME, seed: int = 0) -> Tensor:
    """(B, T), none of the first ids, which may be special."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(5, model.config.vocab_size, (batch, time), generator=generator)


def padding_mask(lengths: Sequence[int] = LENGTHS, time: int = TIME, *, left: bool) -> Tensor:
    """(B, T), 1 at real tokens."""
    columns = torch.arange(time)
    sizes = torch.tensor(lengths).unsqueeze(1)
    return (columns >= time - sizes if left else columns < sizes).long()


def assert_same(actual: Tensor, expected: Tensor) -> None:
    """Equal up to the rounding of another order of sums."""
    scale = max(1.0, expected.abs().max().item())
    torch.testing.assert_close(actual, expected, atol=2e-5 * scale, rtol=1e-4)


def assert_distributions(weights: Tensor, allowed: Tensor, real_queries: Tensor) -> None:
    """Attention weights (B, H, T, S) of the real queries (B, T) sum to one, all of it on allowed keys (B, T, S)."""
    assert weights.dim() == 4
    assert weights.shape[2:] == allowed.shape[1:]
    assert weights.isfinite().all()
    assert (weights >= 0).all()
    assert not weights.masked_select(~allowed.unsqueeze(1)).any()
    sums = weights.sum(-1).transpose(1, 2)[real_queries]
    torch.testing.assert_close(sums, torch.ones_like(sums), atol=1e-5, rtol=0)


def saved_and_loaded_is_identical(model: Model) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        original = copy.deepcopy(model).to(dtype)
        with tempfile.TemporaryDirectory() as folder:
            save_checkpoint(Path(folder), original, tiny_tokenizer())
            loaded = load_model(folder, device="cpu", dtype=str(dtype).removeprefix("torch."))
        assert type(loaded) is type(model)
        assert loaded.config == model.config
        assert not loaded.training
        expected = original.state_dict()
        assert loaded.state_dict().keys() == expected.keys()
        for name, value in loaded.state_dict().items():
            assert torch.equal(value, expected[name]), name
        tied_weights_are_one_parameter(loaded)
        if dtype == torch.float32:
            with torch.inference_mode():
                assert torch.equal(any_output(loaded), any_output(model))


def tied_weights_are_one_parameter(model: Model) -> None:
    for alias, name in model.tied_weights.items():
        assert model.get_parameter(alias) is model.get_parameter(name)
        assert alias not in dict(model.named_parameters())
    assert model.num_parameters() == sum(value.numel() for value in dict(model.named_parameters()).values())


def gradient_reaches_every_parameter(model: Model) -> None:
    model.zero_grad()
    output = any_output(model).float()
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    (output * weights).sum().backward()
    try:
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name
    finally:
        model.zero_grad()


def initial_weights_follow_the_generator(model: Model) -> None:
    first, second, third = (copy.deepcopy(model) for _ in range(3))
    for each, seed in ((first, 7), (second, 7), (third, 8)):
        with torch.no_grad():
            for parameter in each.parameters():
                parameter.fill_(torch.nan)
        each.init_weights(torch.Generator().manual_seed(seed))
        assert all(parameter.isfinite().all() for parameter in each.parameters())
        tied_weights_are_one_parameter(each)
    pairs = list(zip(first.parameters(), second.parameters(), third.parameters(), strict=True))
    assert all(torch.equal(one, two) for one, two, _ in pairs)
    assert not all(torch.equal(one, three) for one, _, three in pairs)


def checkpointed_blocks_change_nothing(model: Model) -> None:
    """In training, with dropout: the same loss and gradients, each block computed twice."""
    once, twice = copy.deepcopy(model).train(), copy.deepcopy(model).train()
    twice.checkpoint_blocks()
    results = []
    for each in (once, twice):
        counts = Counter[int]()
        for number, block in enumerate(each.blocks):
            block.register_forward_pre_hook(lambda *_, number=number, counts=counts: counts.update([number]))
        torch.manual_seed(0)
        output = any_output(each).float()
        weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
        loss = (output * weights).sum()
        loss.backward()
        results.append((loss.detach(), counts, torch.rand(1)))
    assert set(results[0][1].values()) == {1}
    assert set(results[1][1].values()) == {2}
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][2], results[1][2])
    for (name, first), second in zip(once.named_parameters(), twice.parameters(), strict=True):
        assert first.grad is not None
        assert second.grad is not None
        scale = max(1.0, float(first.grad.abs().max()))
        torch.testing.assert_close(
            second.grad, first.grad, rtol=0, atol=1e-6 * scale, msg=lambda text, n=name: n + text
        )


def any_output(model: Model) -> Tensor:
    """What the model says of some tokens: logits where it has them, else hidden states."""
    ids = random_ids(model, time=TIME)
    if isinstance(model, EncoderDecoder):
        return model(ids, random_ids(model, time=8, seed=2))
    return model(ids)


MODEL: tuple[Check[Model], ...] = (
    saved_and_loaded_is_identical,
    tied_weights_are_one_parameter,
    gradient_reaches_every_parameter,
    checkpointed_blocks_change_nothing,
    initial_weights_follow_the_generator,
)
