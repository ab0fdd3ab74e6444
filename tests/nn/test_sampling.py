"""Sampling: processors against `transformers`, draws against the distribution they should have."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from inkstone.core.errors import CheckpointError
from inkstone.nn.processors import (
    LogitsProcessor,
    min_p,
    repetition_penalty,
    temperature,
    top_k,
    top_p,
    typical_p,
)
from inkstone.nn.sampling import choose_tokens, logits_processors, uniform
from inkstone.nn.sampling_params import SamplingParams

PINNED = [0.011546754286328564, 0.04404007600295756, 0.35016213371159566]
LOGITS = torch.tensor([[1.5, -0.5, 0.3, 2.0, -3.0, 0.0, 1.4, -1.0]])


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (temperature(0.3), TemperatureLogitsWarper(0.3)),
        (top_k(1), TopKLogitsWarper(1)),
        (top_k(17), TopKLogitsWarper(17)),
        (top_k(1000), TopKLogitsWarper(1000)),
        (top_p(0.1), TopPLogitsWarper(0.1)),
        (top_p(0.9), TopPLogitsWarper(0.9)),
        (min_p(0.05), MinPLogitsWarper(0.05)),
        (typical_p(0.2), TypicalLogitsWarper(0.2)),
        (typical_p(0.9), TypicalLogitsWarper(0.9)),
        (repetition_penalty(1.3), RepetitionPenaltyLogitsProcessor(1.3)),
        (repetition_penalty(0.7), RepetitionPenaltyLogitsProcessor(0.7)),
    ],
    ids=[
        "temperature",
        "top_k 1",
        "top_k",
        "top_k all",
        "top_p low",
        "top_p",
        "min_p",
        "typical low",
        "typical",
        "penalty",
        "reward",
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_processors_equal_those_of_transformers(ours: LogitsProcessor, theirs: LogitsProcessor, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(4, 200, generator=generator)
    input_ids = torch.randint(0, 200, (4, 30), generator=generator)
    torch.testing.assert_close(ours(input_ids, logits), theirs(input_ids, logits.clone()))


def expected(params: SamplingParams, input_ids: list[int]) -> list[float]:
    """The distribution of `LOGITS` under `params`, from the definitions, in plain Python."""
    logits = LOGITS[0].tolist()
    for token, bias in params.logit_bias.items():
        logits[token] += bias
    for token in set(input_ids):
        logits[token] *= params.repetition_penalty if logits[token] < 0 else 1 / params.repetition_penalty
        logits[token] -= params.frequency_penalty * input_ids.count(token) + params.presence_penalty
    weights = [math.exp(logit / params.temperature) for logit in logits]
    ranked = sorted(range(len(weights)), key=lambda token: -weights[token])
    kept = set(ranked[: params.top_k or len(ranked)])
    if params.top_p is not None:
        total, mass, nucleus = sum(weights[token] for token in kept), 0.0, set()
        for token in ranked:
            if token in kept and mass < params.top_p * total:
                nucleus.add(token)
                mass += weights[token]
        kept = nucleus
    if params.min_p is not None:
        kept = {token for token in kept if weights[token] >= params.min_p * weights[ranked[0]]}
    if params.typical_p is not None:
        total, mass, typical = sum(weights[token] for token in kept), 0.0, set()
        surprise = {token: -math.log(weights[token] / total) for token in kept}
        entropy = sum(weights[token] / total * surprise[token] for token in kept)
        for token in sorted(kept, key=lambda token: abs(surprise[token] - entropy)):
            if mass < params.typical_p * total:
                typical.add(token)
                mass += weights[token]
        kept = typical
    total = sum(weights[token] for token in kept)
    return [weights[token] / total if token in kept else 0.0 for token in range(len(weights))]


def chi_square_is_plausible(counts: list[int], probabilities: list[float]) -> bool:
    """Pearson's test at about p = 1e-4 (Wilson-Hilferty approximation of the chi-square quantile)."""
    total = sum(counts)
    assert all(count == 0 for count, p in zip(counts, probabilities, strict=True) if p == 0)
    cells = [(count, total * p) for count, p in zip(counts, probabilities, strict=True) if p > 0]
    statistic = sum((count - mean) ** 2 / mean for count, mean in cells)
    freedom = len(cells) - 1
    if freedom == 0:
        return statistic == 0
    quantile = freedom * (1 - 2 / (9 * freedom) + 3.72 * math.sqrt(2 / (9 * freedom))) ** 3
    return statistic < quantile


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(seed=1, temperature=1.0),
        SamplingParams(seed=2, temperature=0.5),
        SamplingParams(seed=3, temperature=2.0),
        SamplingParams(seed=4, temperature=1.0, top_k=3),
        SamplingParams(seed=5, temperature=1.0, top_p=0.8),
        SamplingParams(seed=6, temperature=1.0, min_p=0.2),
        SamplingParams(seed=7, temperature=1.0, repetition_penalty=1.5),
        SamplingParams(seed=8, temperature=0.9, top_k=6, top_p=0.95, min_p=0.02, repetition_penalty=1.2),
        SamplingParams(seed=9, temperature=1.0, top_k=1),
        SamplingParams(seed=10, temperature=1.0, typical_p=0.6),
        SamplingParams(seed=11, temperature=1.3, typical_p=0.9, top_k=6),
        SamplingParams(seed=12, temperature=1.0, frequency_penalty=0.8, presence_penalty=-0.5),
        SamplingParams(seed=13, temperature=1.0, logit_bias={1: 2.0, 3: -1.5}),
    ],
    ids=lambda params: params.model_dump_json(exclude_defaults=True),
)
def test_draws_follow_the_distribution(params: SamplingParams) -> None:
    used, num_draws = [0, 4, 4, 6], 20_000
    logits = LOGITS
    for process in logits_processors(params):
        logits = process(torch.tensor([used]), logits)
    batch = logits.expand(200, -1)
    draws = [token for step in range(num_draws // 200) for token in choose_tokens(batch, params, range(200), step)]
    counts = [Counter(draws)[token] for token in range(8)]
    assert chi_square_is_plausible(counts, expected(params, used))


def test_the_chi_square_test_notices_a_wrong_distribution() -> None:
    rng = np.random.default_rng(0)
    counts = rng.multinomial(20_000, expected(SamplingParams(temperature=1.1), [])).tolist()
    assert not chi_square_is_plausible(counts, expected(SamplingParams(temperature=1.0), []))


def test_temperature_zero_takes_the_likeliest() -> None:
    params = SamplingParams(temperature=0, top_k=3, seed=0)
    assert choose_tokens(LOGITS, params, [0], 0) == [3]
    used = torch.tensor([[3, 3]])
    logits = LOGITS
    for process in logits_processors(SamplingParams(temperature=0, repetition_penalty=2.0)):
        logits = process(used, logits)
    assert choose_tokens(logits, params, [0], 0) == [0]


def test_random_numbers_are_uniform_and_independent() -> None:
    numbers = np.array([[uniform(5, index, step) for step in range(200)] for index in range(200)])
    assert numbers.min() >= 0
    assert numbers.max() < 1
    cells = (numbers * 8).astype(int)
    even = [1 / 8] * 8
    assert chi_square_is_plausible(np.bincount(cells.ravel(), minlength=8).tolist(), even)
    for first, second in ((cells[:, :-1], cells[:, 1:]), (cells[:-1], cells[1:])):
        pairs = np.bincount((first * 8 + second).ravel(), minlength=64)
        assert chi_square_is_plausible(pairs.tolist(), [1 / 64] * 64)
    neighbors = [uniform(seed, 0, 0) for seed in range(10_000)]
    assert chi_square_is_plausible(np.bincount((np.array(neighbors) * 8).astype(int), minlength=8).tolist(), even)
    assert len({uniform(seed, index, step) for seed in range(9) for index in range(9) for step in range(9)}) == 729


def test_random_numbers_stay_the_same_from_version_to_version() -> None:
    assert [uniform(0, 0, 0), uniform(1337, 2, 3), uniform(2**64 - 1, 0, 1)] == PINNED


def test_a_token_depends_on_its_own_sequence_alone() -> None:
    logits = torch.randn(6, 50, generator=torch.Generator().manual_seed(0))
    params = SamplingParams(seed=11, temperature=1.0)
    together = choose_tokens(logits, params, range(6), 4)
    alone = [choose_tokens(logits[i : i + 1], params, [i], 4)[0] for i in range(6)]
    reversed_order = choose_tokens(logits.flip(0), params, range(5, -1, -1), 4)
    assert together == alone == reversed_order[::-1]


def test_impossible_tokens_are_never_drawn_even_at_the_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.full((1, 5), -torch.inf)
    logits[0, [1, 3]] = torch.tensor([0.0, 0.0])
    for number, token in ((0.0, 1), (0.5 - 2.0**-48, 1), (0.5, 3), (1 - 2.0**-48, 3)):
        monkeypatch.setattr("inkstone.nn.sampling.uniform", lambda *_, number=number: number)
        assert choose_tokens(logits, SamplingParams(seed=0), [0], 0) == [token]


def test_nan_logits_are_an_error_not_a_token() -> None:
    with pytest.raises(CheckpointError, match="NaN"):
        choose_tokens(torch.full((1, 4), torch.nan), SamplingParams(seed=0), [0], 0)


@pytest.mark.parametrize(
    "changes",
    [{"temperature": -1}, {"top_p": 0}, {"top_k": 0}, {"max_new_tokens": 0}, {"stop": [""]}, {"seed": -1}, {"topp": 1}],
    ids=str,
)
def test_senseless_params_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SamplingParams.model_validate(changes)


def test_penalties_count_the_completion_alone() -> None:
    params = SamplingParams(temperature=0, frequency_penalty=1.0, presence_penalty=0.25)
    (process,) = logits_processors(params, prompt_length=2)
    changed = process(torch.tensor([[3, 3, 1, 5, 1]]), LOGITS) - LOGITS
    torch.testing.assert_close(changed, torch.tensor([[0.0, -2.25, 0.0, 0.0, 0.0, -1.25, 0.0, 0.0]]))


def test_no_end_before_the_fewest_tokens_and_no_bad_words() -> None:
    params = SamplingParams(temperature=0, min_new_tokens=2, max_new_tokens=5, bad_words_ids=((6,), (1, 2)))
    forbid, hold = logits_processors(params, prompt_length=1, stop_ids=(3,))
    ids = torch.tensor([[0, 1]])
    assert (forbid(ids, LOGITS) == -torch.inf)[0].nonzero().flatten().tolist() == [2, 6]
    assert (hold(ids, LOGITS) == -torch.inf)[0].nonzero().flatten().tolist() == [3]
    assert torch.equal(hold(torch.tensor([[0, 1, 1]]), LOGITS), LOGITS)
