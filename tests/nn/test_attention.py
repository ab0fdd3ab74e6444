"""One attention function, four ways: SDPA, flex, explicit math and keys from a cache, equal over masks."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from inkstone.nn.layers.attention import Implementation, attention
from inkstone.nn.layers.cache import KVCache
from inkstone.nn.layers.mask import AttentionMask, make_mask

BATCH, HEADS, TIME, HEAD_DIM = 2, 4, 12, 8
IMPLEMENTATIONS: tuple[Implementation, ...] = ("auto", "sdpa", "flex", "explicit")
PADDING_LEFT = torch.tensor([[1] * 12, [0] * 5 + [1] * 7])
PADDING_RIGHT = PADDING_LEFT.flip(1)
SEGMENTS = torch.tensor([[0] * 5 + [1] * 7, [0] * 3 + [1] * 8 + [2]])
PREFIX = torch.tensor([4, 7])

# What each mask says, as one may write it down: (sequence, query, key) → may look. Queries are the last ones.
Rule = Callable[[int, int, int], bool]
MASKS: dict[str, tuple[dict[str, Any], Rule]] = {
    "full": ({"causal": False}, lambda b, q, k: True),
    "causal": ({"causal": True}, lambda b, q, k: k <= q),
    "padding left": (
        {"causal": True, "padding": PADDING_LEFT},
        lambda b, q, k: k <= q and bool(PADDING_LEFT[b, k]),
    ),
    "padding right, both ways": (
        {"causal": False, "padding": PADDING_RIGHT},
        lambda b, q, k: bool(PADDING_RIGHT[b, k]),
    ),
    "packed documents": (
        {"causal": True, "segment_ids": SEGMENTS},
        lambda b, q, k: k <= q and bool(SEGMENTS[b, q] == SEGMENTS[b, k]),
    ),
    "packed documents, both ways": (
        {"causal": False, "segment_ids": SEGMENTS},
        lambda b, q, k: bool(SEGMENTS[b, q] == SEGMENTS[b, k]),
    ),
    "window": ({"causal": True, "window": 3}, lambda b, q, k: q - 3 < k <= q),
    "window, both ways": ({"causal": False, "window": 3}, lambda b, q, k: abs(q - k) < 3),
    "window of one": ({"causal": True, "window": 1}, lambda b, q, k: q == k),
    "window and padding": (
        {"causal": True, "window": 3, "padding": PADDING_LEFT},
        lambda b, q, k: q - 3 < k <= q and bool(PADDING_LEFT[b, k]),
    ),
    "prefix": (
        {"causal": True, "prefix_lengths": PREFIX},
        lambda b, q, k: k <= q or k < int(PREFIX[b]),
    ),
    "prefix and padding": (
        {"causal": True, "prefix_lengths": PREFIX, "padding": PADDING_LEFT},
        lambda b, q, k: (k <= q or k < int(PREFIX[b])) and bool(PADDING_LEFT[b, k]),
    ),
}
NUM_QUERIES = (TIME, 5, 1)
"""As many as keys; with a cache, several and one."""

ignore_slow_flex = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


def states(num_queries: int = TIME, key_heads: int = 2, *, trains: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (B, H, T, D), keys and values (B, K, S, D)."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((HEADS, num_queries), (key_heads, TIME), (key_heads, TIME))
    query, key, value = (
        torch.randn(BATCH, heads, time, HEAD_DIM, generator=generator).requires_grad_(trains) for heads, time in shapes
    )
    return query, key, value


def mask_of(name: str, num_queries: int) -> AttentionMask:
    keys, _ = MASKS[name]
    return make_mask(num_queries, TIME, device=torch.device("cpu"), **keys)


def allowed_of(name: str, num_queries: int) -> Tensor:
    """(B, 1, T, S) by the written rule."""
    _, rule = MASKS[name]
    queries = range(TIME - num_queries, TIME)
    rows = [[[rule(b, q, k) for k in range(TIME)] for q in queries] for b in range(BATCH)]
    return torch.tensor(rows).unsqueeze(1)


def expected_weights(query: Tensor, key: Tensor, allowed: Tensor, bias: Tensor | None, scale: float | None) -> Tensor:
    """Softmax over the allowed keys only, row by row in float64; zeros where there is none."""
    keys = key.double().repeat_interleave(HEADS // key.shape[1], dim=1)
    scores = torch.einsum("bhtd,bhsd->bhts", query.double(), keys) * (scale or HEAD_DIM**-0.5)
    if bias is not None:
        scores = scores + bias
    odds = torch.where(allowed, scores.exp(), 0.0)
    return odds / odds.sum(-1, keepdim=True).clamp(min=1e-300)


def expected_output(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor, **options: Any) -> Tensor:
    weights = expected_weights(query, key, allowed, options.get("bias"), options.get("scale"))
    values = value.double().repeat_interleave(HEADS // value.shape[1], dim=1)
    return (weights @ values).float()


@ignore_slow_flex
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("num_queries", NUM_QUERIES)
@pytest.mark.parametrize("name", MASKS)
def test_every_implementation_equals_the_equation(name: str, num_queries: int, implementation: Implementation) -> None:
    query, key, value = states(num_queries)
    output = attention(query, key, value, mask_of(name, num_queries), implementation=implementation)
    torch.testing.assert_close(output, expected_output(query, key, value, allowed_of(name, num_queries)))


@ignore_slow_flex
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("bias_batch", [1, BATCH])
@pytest.mark.parametrize("num_queries", NUM_QUERIES)
@pytest.mark.parametrize("name", ["full", "causal", "padding left", "packed documents"])
def test_bias_and_scale(name: str, num_queries: int, bias_batch: int, implementation: Implementation) -> None:
    query, key, value = states(num_queries)
    options = {"bias": torch.randn(bias_batch, HEADS, num_queries, TIME), "scale": 1.0}
    output = attention(query, key, value, mask_of(name, num_queries), implementation=implementation, **options)
    expected = expected_output(query, key, value, allowed_of(name, num_queries), **options)
    torch.testing.assert_close(output, expected, atol=2e-5, rtol=1e-4)


@ignore_slow_flex
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("key_heads", [4, 2, 1])
def test_grouped_queries(key_heads: int, implementation: Implementation) -> None:
    query, key, value = states(key_heads=key_heads)
    output = attention(query, key, value, mask_of("causal", TIME), implementation=implementation)
    torch.testing.assert_close(output, expected_output(query, key, value, allowed_of("causal", TIME)))


@ignore_slow_flex
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_cross_attention_of_more_queries_than_keys(implementation: Implementation) -> None:
    query = torch.randn(BATCH, HEADS, 17, HEAD_DIM)
    _, key, value = states()
    mask = make_mask(17, TIME, causal=False, device=query.device, padding=None)
    padded = make_mask(17, TIME, causal=False, device=query.device, padding=PADDING_RIGHT)
    everywhere = torch.ones(BATCH, 1, 17, TIME, dtype=torch.bool)
    for each, allowed in ((mask, everywhere), (padded, everywhere & PADDING_RIGHT.bool()[:, None, None])):
        output = attention(query, key, value, each, implementation=implementation)
        torch.testing.assert_close(output, expected_output(query, key, value, allowed))


@pytest.mark.parametrize("num_queries", NUM_QUERIES)
@pytest.mark.parametrize("name", MASKS)
def test_weights_are_returned_on_request(name: str, num_queries: int) -> None:
    query, key, value = states(num_queries)
    collected: list[Tensor] = []
    mask = mask_of(name, num_queries)
    output = attention(query, key, value, mask, output_attentions=collected)
    (weights,) = collected
    expected = expected_weights(query, key, allowed_of(name, num_queries), None, None)
    torch.testing.assert_close(weights, expected.float())
    torch.testing.assert_close(output, attention(query, key, value, mask))


@pytest.mark.parametrize("implementation", ["auto", "explicit"])
@pytest.mark.parametrize("name", MASKS)
def test_gradients_equal_those_of_the_equation(name: str, implementation: Implementation) -> None:
    inputs = states(trains=True)
    weights = torch.randn(BATCH, HEADS, TIME, HEAD_DIM)
    output = attention(*inputs, mask_of(name, TIME), implementation=implementation)
    expected = expected_output(*inputs, allowed_of(name, TIME))
    ours = torch.autograd.grad((output * weights).sum(), inputs)
    for gradient, wanted in zip(ours, torch.autograd.grad((expected * weights).sum(), inputs), strict=True):
        torch.testing.assert_close(gradient, wanted, atol=1e-5, rtol=1e-4)


@ignore_slow_flex
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("with_bias", [False, True])
def test_a_query_that_may_look_nowhere_gets_zeros(
    with_bias: bool, implementation: Implementation, dtype: torch.dtype
) -> None:
    trains = implementation != "flex"
    query, key, value = (each.detach().to(dtype).requires_grad_(trains) for each in states())
    bias = torch.randn(1, HEADS, TIME, TIME) if with_bias else None
    mask = mask_of("padding left", TIME)  # in the second sequence queries 0 to 4 see no key
    output = attention(query, key, value, mask, bias=bias, implementation=implementation)
    assert not output[1, :, :5].any()
    assert output.isfinite().all()
    assert output[1, :, 5:].any(-1).all()
    if trains:
        output.float().square().sum().backward()
        assert query.grad is not None
        assert all(each.grad is not None and each.grad.isfinite().all() for each in (query, key, value))
        assert not query.grad[1, :, :5].any()
        assert query.grad[0, :, 1:].any()


@pytest.mark.parametrize("splits", [(12,), (1,) * 12, (5, 1, 6), (1, 11)])
@pytest.mark.parametrize("name", ["causal", "padding left", "window", "window and padding"])
def test_keys_from_a_cache(name: str, splits: tuple[int, ...]) -> None:
    query, key, value = states()
    keys, _ = MASKS[name]
    cache = KVCache(1, TIME)
    pieces = []
    for queries, new_keys, new_values in zip(*(each.split(splits, dim=2) for each in (query, key, value)), strict=True):
        time = queries.shape[2]
        past = cache.length
        seen = {**keys, "padding": keys["padding"][:, : past + time]} if "padding" in keys else keys
        mask = make_mask(time, past + time, device=query.device, **seen)
        pieces.append(attention(queries, *cache.append(0, new_keys, new_values), mask))
        cache.advance(time)
    whole = expected_output(query, key, value, allowed_of(name, TIME))
    torch.testing.assert_close(torch.cat(pieces, dim=2), whole)


def test_a_full_cache_says_so() -> None:
    cache = KVCache(1, 4)
    with pytest.raises(ValueError, match="holds 4 positions, 5 were needed"):
        cache.append(0, torch.zeros(1, 1, 5, 2), torch.zeros(1, 1, 5, 2))


def test_masks_that_say_nothing_stay_plain() -> None:
    device = torch.device("cpu")
    nothing = {"padding": torch.ones(2, 12), "window": 12}
    assert make_mask(12, 12, causal=True, device=device, **nothing) == AttentionMask(True)
    assert make_mask(3, 12, causal=False, device=device, **nothing) == AttentionMask(False)


def test_segment_ids_are_kept_where_the_mask_says_no_more() -> None:
    def kept(**more: Any) -> Tensor | None:
        arguments = {"causal": True, "device": torch.device("cpu"), "segment_ids": SEGMENTS, **more}
        return make_mask(TIME, TIME, **arguments).segment_ids

    assert kept() is SEGMENTS
    assert kept(padding=torch.ones(2, TIME), window=TIME) is SEGMENTS
    assert kept(causal=False) is kept(window=3) is kept(padding=PADDING_LEFT) is kept(prefix_lengths=PREFIX) is None


def test_padding_does_not_break_a_compiled_graph() -> None:
    def masked(padding: Tensor) -> Tensor:
        mask = make_mask(TIME, TIME, causal=True, device=padding.device, padding=padding)
        assert mask.dense is not None
        return mask.dense

    compiled = torch.compile(masked, fullgraph=True, backend="eager")
    assert torch.equal(compiled(PADDING_LEFT), allowed_of("padding left", TIME))
    assert torch.equal(compiled(torch.ones_like(PADDING_LEFT)), allowed_of("causal", TIME))
