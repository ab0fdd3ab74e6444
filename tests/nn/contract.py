"""What every model of a kind must do, whatever its family: plain functions that take a model, for each family's tests.

    @pytest.mark.parametrize("check", contract.DECODER)
    def test_contract(check: contract.Check[Decoder]) -> None:
        check(a_tiny_random_model())

Models are in evaluation mode, float32, with random parameters, `vocab_size` ≥ 320 (that of `tiny_tokenizer`) and a
context of at least 16 tokens.
"""

import copy
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from inkstone.checkpoint import load_model, save_checkpoint
from inkstone.nn.models.base import Decoder, Encoder, EncoderDecoder, Model
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


# ---- every model


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
    initial_weights_follow_the_generator,
)


# ---- decoders


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


def assert_distributions(weights: Tensor, allowed: Tensor, real_queries: Tensor) -> None:
    """Attention weights (B, H, T, S) of the real queries (B, T) sum to one, all of it on allowed keys (B, T, S)."""
    assert weights.dim() == 4
    assert weights.shape[2:] == allowed.shape[1:]
    assert weights.isfinite().all()
    assert (weights >= 0).all()
    assert not weights.masked_select(~allowed.unsqueeze(1)).any()
    sums = weights.sum(-1).transpose(1, 2)[real_queries]
    torch.testing.assert_close(sums, torch.ones_like(sums), atol=1e-5, rtol=0)


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


# ---- encoders


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


# ---- encoder–decoders

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
