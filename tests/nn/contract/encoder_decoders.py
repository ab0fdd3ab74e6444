"""What every encoder–decoder must do."""

import copy

import torch
from torch import Tensor

from inkstone.nn.models.base import EncoderDecoder
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

TARGET_TIME = 8


def _source_and_target(model: EncoderDecoder) -> tuple[Tensor, Tensor]:
    return random_ids(model), random_ids(model, time=TARGET_TIME, seed=2)


@torch.inference_mode()
def encoder_decoder_shapes_and_dtypes(model: EncoderDecoder) -> None:
    source, target = _source_and_target(model)
    assert model.context >= 16
    assert 0 <= model.decoder_start_token_id < model.config.vocab_size
    for dtype in (torch.float32, torch.bfloat16):
        cast = copy.deepcopy(model).to(dtype)
        states = cast.encode(source)
        assert states.shape[:2] == (BATCH, TIME)
        assert states.dtype == dtype
        hidden_states = cast.decode(target, states)
        assert hidden_states.shape[:2] == (BATCH, TARGET_TIME)
        assert hidden_states.dtype == dtype
        logits = cast.logits(hidden_states)
        assert logits.shape == (BATCH, TARGET_TIME, model.config.vocab_size)
        assert logits.dtype == torch.float32
        assert logits.isfinite().all()
        torch.testing.assert_close(cast(source, target).float(), logits)


@torch.inference_mode()
def encoder_decoder_reads_all_the_source_and_no_later_target(model: EncoderDecoder) -> None:
    source, target = _source_and_target(model)
    expected = model(source, target)
    changed = target.clone()
    changed[:, 5:] = random_ids(model, time=TARGET_TIME, seed=9)[:, 5:]
    assert_same(model(source, changed)[:, :5], expected[:, :5])
    for position in (0, TIME - 1):
        other = source.clone()
        other[:, position] = (source[:, position] - 4) % (model.config.vocab_size - 5) + 5
        assert ((model(other, target) - expected).abs().amax(-1) > 1e-5).all()


@torch.inference_mode()
def encoder_decoder_cache_changes_nothing(model: EncoderDecoder) -> None:
    source, target = _source_and_target(model)
    mask = padding_mask(left=False)
    states = model.encode(source, attention_mask=mask)
    expected = model.decode(target, states, encoder_mask=mask)
    for splits in ((TARGET_TIME,), (1,) * TARGET_TIME, (3, 5), (4, 1, 3)):
        cache = model.new_cache(TARGET_TIME)
        pieces = [model.decode(piece, states, encoder_mask=mask, cache=cache) for piece in target.split(splits, dim=1)]
        assert cache.length == TARGET_TIME
        assert_same(torch.cat(pieces, dim=1), expected)


@torch.inference_mode()
def encoder_decoder_cache_is_reordered(model: EncoderDecoder) -> None:
    source, target = _source_and_target(model)
    mask, rows = padding_mask(left=False), torch.tensor([2, 0, 0, 1])
    states = model.encode(source, attention_mask=mask)
    cache = model.new_cache(TARGET_TIME)
    model.decode(target[:, :4], states, encoder_mask=mask, cache=cache)
    cache.reorder(rows)
    actual = model.decode(target[rows][:, 4:], states[rows], encoder_mask=mask[rows], cache=cache)
    assert_same(actual, model.decode(target, states, encoder_mask=mask)[rows][:, 4:])


@torch.inference_mode()
def encoder_decoder_batch_equals_single(model: EncoderDecoder) -> None:
    source, target = _source_and_target(model)
    alone = [model(source[row : row + 1], target[row : row + 1]) for row in range(BATCH)]
    assert_same(torch.cat(alone), model(source, target))


@torch.inference_mode()
def encoder_decoder_padding_changes_nothing(model: EncoderDecoder) -> None:
    source, target = _source_and_target(model)
    mask, target_mask = padding_mask(left=False), padding_mask((3, 8, 5), TARGET_TIME, left=False)
    logits = model(source, target, attention_mask=mask, decoder_mask=target_mask)
    assert logits.isfinite().all()
    for row in range(BATCH):
        real, real_target = mask[row].bool(), target_mask[row].bool()
        expected = model(source[row : row + 1, real], target[row : row + 1, real_target])
        assert_same(logits[row][real_target], expected[0])


@torch.inference_mode()
def encoder_decoder_attentions_are_distributions(model: EncoderDecoder) -> None:
    source, target = _source_and_target(model)
    mask, target_mask = padding_mask(left=False), padding_mask((3, 8, 5), TARGET_TIME, left=False)
    encoder: list[Tensor] = []
    decoder: list[Tensor] = []
    cross: list[Tensor] = []
    states = model.encode(source, attention_mask=mask, output_attentions=encoder)
    arguments = {"encoder_mask": mask, "decoder_mask": target_mask}
    output = model.decode(target, states, **arguments, output_attentions=decoder, output_cross_attentions=cross)
    real, real_target = mask.bool(), target_mask.bool()
    assert_same(output[real_target], model.decode(target, states, **arguments)[real_target])
    assert encoder
    assert len(decoder) == len(cross) > 0
    causal = torch.ones(TARGET_TIME, TARGET_TIME, dtype=torch.bool).tril()
    for weights in encoder:
        assert_distributions(weights, real.unsqueeze(1).expand(-1, TIME, -1), real)
    for weights in decoder:
        assert_distributions(weights, causal & real_target.unsqueeze(1), real_target)
    for weights in cross:
        assert_distributions(weights, real.unsqueeze(1).expand(-1, TARGET_TIME, -1), real_target)


ENCODER_DECODER: tuple[Check[EncoderDecoder], ...] = (
    *MODEL,
    encoder_decoder_shapes_and_dtypes,
    encoder_decoder_reads_all_the_source_and_no_later_target,
    encoder_decoder_cache_changes_nothing,
    encoder_decoder_cache_is_reordered,
    encoder_decoder_batch_equals_single,
    encoder_decoder_padding_changes_nothing,
    encoder_decoder_attentions_are_distributions,
)
