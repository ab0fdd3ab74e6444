"""What every encoder must do."""

import copy

import torch
from torch import Tensor

from inkstone.nn.models.base import Encoder
from tests.nn.contract.shared import (
    BATCH,
    MODEL,
    TIME,
    Check,
    assert_distributions,
    assert_same,
    padding_mask,
    random_ids,
)


@torch.inference_mode()
def encoder_shapes_and_dtypes(model: Encoder) -> None:
    ids = random_ids(model)
    assert model.context >= 16
    for dtype in (torch.float32, torch.bfloat16):
        cast = copy.deepcopy(model).to(dtype)
        collected: list[Tensor] = []
        output = cast.hidden_states(ids, output_hidden_states=collected)
        assert output.shape[:2] == (BATCH, TIME)
        assert output.dtype == dtype
        assert output.isfinite().all()
        assert len(collected) == len(list(model.blocks)) + 1
        assert all(states.shape == output.shape for states in collected)
        assert torch.equal(collected[-1], output)


@torch.inference_mode()
def encoder_looks_both_ways(model: Encoder) -> None:
    ids = random_ids(model)
    for changed in (0, TIME - 1):
        other = ids.clone()
        other[:, changed] = 5 + (ids[:, changed] - 4) % (model.config.vocab_size - 5)  # always another
        difference = (model.hidden_states(other) - model.hidden_states(ids)).abs().amax(-1)
        assert (difference > 1e-5).all()


@torch.inference_mode()
def encoder_batch_equals_single(model: Encoder) -> None:
    ids = random_ids(model)
    assert_same(torch.cat([model.hidden_states(row.unsqueeze(0)) for row in ids]), model.hidden_states(ids))


@torch.inference_mode()
def encoder_padding_changes_nothing(model: Encoder, first_position: int = 0) -> None:
    """On either side; on the left, `position_ids` count from the family's first position."""
    ids = random_ids(model)
    for left in (True, False):
        mask = padding_mask(left=left)
        positions = (mask.cumsum(-1) - 1).clamp(min=0) + first_position if left else None
        output = model.hidden_states(ids, attention_mask=mask, position_ids=positions)
        assert output.isfinite().all()
        for row, real in enumerate(mask.bool()):
            assert_same(output[row][real], model.hidden_states(ids[row : row + 1, real])[0])


@torch.inference_mode()
def encoder_attentions_are_distributions(model: Encoder) -> None:
    ids = random_ids(model)
    for mask in (None, padding_mask(left=True), padding_mask(left=False)):
        attentions: list[Tensor] = []
        output = model.hidden_states(ids, attention_mask=mask, output_attentions=attentions)
        assert len(attentions) == len(list(model.blocks))
        real = torch.ones(BATCH, TIME, dtype=torch.bool) if mask is None else mask.bool()
        assert_same(output[real], model.hidden_states(ids, attention_mask=mask)[real])
        for weights in attentions:
            assert_distributions(weights, real.unsqueeze(1).expand(-1, TIME, -1), real)


ENCODER: tuple[Check[Encoder], ...] = (
    *MODEL,
    encoder_shapes_and_dtypes,
    encoder_looks_both_ways,
    encoder_batch_equals_single,
    encoder_padding_changes_nothing,
    encoder_attentions_are_distributions,
)
