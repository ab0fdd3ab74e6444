"""What every decoder must do."""

import copy

import torch
from torch import Tensor

from inkstone.nn.models.base import Decoder
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
def decoder_shapes_and_dtypes(model: Decoder) -> None:
    ids = random_ids(model)
    assert model.context >= 16
    assert len(list(model.blocks)) > 0
    for dtype in (torch.float32, torch.bfloat16):
        cast = copy.deepcopy(model).to(dtype)
        assert cast.dtype == dtype
        hidden_states = cast.hidden_states(ids)
        assert hidden_states.shape[:2] == (BATCH, TIME)
        assert hidden_states.dtype == dtype
        logits = cast(ids)
        assert logits.shape == (BATCH, TIME, model.config.vocab_size)
        assert logits.dtype == dtype
        assert logits.isfinite().all()
        assert cast.logits(hidden_states).dtype == torch.float32
        torch.testing.assert_close(cast.logits(hidden_states), logits.float())
        assert cast.output_weight.shape == (model.config.vocab_size, hidden_states.shape[-1])


@torch.inference_mode()
def decoder_is_causal(model: Decoder) -> None:
    ids = random_ids(model)
    changed = ids.clone()
    changed[:, 7:] = random_ids(model, seed=9)[:, 7:]
    assert_same(model(changed)[:, :7], model(ids)[:, :7])
    assert not torch.allclose(model(changed)[:, 7:], model(ids)[:, 7:], atol=1e-3)


@torch.inference_mode()
def decoder_cache_changes_nothing(model: Decoder) -> None:
    ids = random_ids(model)
    expected = model(ids)
    for splits in ((TIME,), (1,) * TIME, (5, 7), (7, 1, 1, 3), (1, 6, 5)):
        cache = model.new_cache(TIME + 2)
        pieces = [model(piece, cache=cache) for piece in ids.split(splits, dim=1)]
        assert cache.length == TIME
        assert_same(torch.cat(pieces, dim=1), expected)


@torch.inference_mode()
def decoder_cache_is_reordered(model: Decoder) -> None:
    ids = random_ids(model)
    rows = torch.tensor([2, 0, 0, 1])
    cache = model.new_cache(TIME)
    model.hidden_states(ids[:, :6], cache=cache)
    cache.reorder(rows)
    assert_same(model(ids[rows][:, 6:], cache=cache), model(ids)[rows][:, 6:])


@torch.inference_mode()
def decoder_batch_equals_single(model: Decoder) -> None:
    ids = random_ids(model)
    assert_same(torch.cat([model(row.unsqueeze(0)) for row in ids]), model(ids))


def _alone(model: Decoder, ids: Tensor, mask: Tensor) -> list[Tensor]:
    """Logits (length, V) of each sequence without its padding."""
    return [model(row[real.bool()].unsqueeze(0))[0] for row, real in zip(ids, mask, strict=True)]


@torch.inference_mode()
def decoder_padding_changes_nothing(model: Decoder) -> None:
    ids = random_ids(model)
    for left in (True, False):
        mask = padding_mask(left=left)
        logits = model(ids, attention_mask=mask)
        assert logits.isfinite().all()
        for row, (expected, real) in enumerate(zip(_alone(model, ids, mask), mask.bool(), strict=True)):
            assert_same(logits[row][real], expected)


@torch.inference_mode()
def decoder_left_padding_with_a_cache_changes_nothing(model: Decoder) -> None:
    ids, mask = random_ids(model), padding_mask(left=True)
    expected = model(ids, attention_mask=mask)
    for splits in ((8, 4), (11, 1), (9, 1, 1, 1)):
        cache = model.new_cache(TIME)
        pieces: list[Tensor] = []
        for piece in ids.split(splits, dim=1):
            read = cache.length + piece.shape[1]
            pieces.append(model(piece, cache=cache, attention_mask=mask[:, :read]))
        logits = torch.cat(pieces, dim=1)
        assert_same(logits[mask.bool()], expected[mask.bool()])


@torch.inference_mode()
def decoder_segments_do_not_see_each_other(model: Decoder) -> None:
    sizes = (4, 7, 1)
    documents = [random_ids(model, 1, size, seed) for seed, size in enumerate(sizes)]
    segments = torch.cat([torch.full((1, size), index) for index, size in enumerate(sizes)], dim=1)
    positions = torch.cat([torch.arange(size) for size in sizes]).unsqueeze(0)
    packed = model(torch.cat(documents, dim=1), position_ids=positions, segment_ids=segments)
    assert_same(packed, torch.cat([model(document) for document in documents], dim=1))


@torch.inference_mode()
def decoder_attentions_are_distributions(model: Decoder) -> None:
    """Of models that have attention; a recurrent one appends nothing."""
    ids = random_ids(model)
    causal = torch.ones(TIME, TIME, dtype=torch.bool).tril()
    for mask in (None, padding_mask(left=True), padding_mask(left=False)):
        attentions: list[Tensor] = []
        logits = model(ids, attention_mask=mask, output_attentions=attentions)
        if not attentions:
            return
        assert len(attentions) == len(list(model.blocks))
        real = torch.ones(BATCH, TIME, dtype=torch.bool) if mask is None else mask.bool()
        assert_same(logits[real], model(ids, attention_mask=mask)[real])
        for weights in attentions:
            assert_distributions(weights, causal & real.unsqueeze(1), real)
    cache = model.new_cache(TIME)
    model(ids[:, :-2], cache=cache)
    attentions = []
    model(ids[:, -2:], cache=cache, output_attentions=attentions)
    for weights in attentions:
        assert weights.shape[2:] == (2, TIME)
        assert_distributions(weights, causal[-2:].expand(BATCH, -1, -1), torch.ones(BATCH, 2, dtype=torch.bool))


DECODER: tuple[Check[Decoder], ...] = (
    *MODEL,
    decoder_shapes_and_dtypes,
    decoder_is_causal,
    decoder_cache_changes_nothing,
    decoder_cache_is_reordered,
    decoder_batch_equals_single,
    decoder_padding_changes_nothing,
    decoder_left_padding_with_a_cache_changes_nothing,
    decoder_segments_do_not_see_each_other,
    decoder_attentions_are_distributions,
)
