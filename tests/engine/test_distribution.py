"""What the engine draws follows the distribution, whatever is guessed and whoever is beside it."""

from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from inkstone.engine.engine import Engine
from inkstone.engine.offline import complete
from inkstone.engine.request import Request
from inkstone.engine.sampler import Predictions
from inkstone.engine.scheduler import Chunk
from inkstone.engine.speculate import Drafter, DraftModel, PromptLookup
from inkstone.nn.sampling_params import SamplingParams
from tests.nn.test_sampling import LOGITS, chi_square_is_plausible, expected


class Fixed:
    """A runner whose logits are the same after every token."""

    block_size, num_blocks, context, window, reuses = 16, 2_000, 4_096, None, True
    reads_sources = False
    weight_bytes = 0
    vocab_size = input_vocab_size = LOGITS.shape[1]

    def __init__(self, logits: Tensor = LOGITS) -> None:
        self._logits = logits

    def compute(self, chunks: Sequence[Chunk], copies: Sequence[tuple[int, int]]) -> Predictions:
        return Predictions(self._logits.expand(sum(chunk.num_logits for chunk in chunks), -1))

    def forget(self, request_id: int) -> None:
        pass


@pytest.mark.parametrize(
    "drafter", [None, PromptLookup(2, 1), DraftModel(Fixed(LOGITS * 0.7))], ids=lambda each: type(each).__name__
)
@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(temperature=1.0),
        SamplingParams(temperature=0.6),
        SamplingParams(temperature=1.0, top_k=3),
        SamplingParams(temperature=1.0, top_p=0.8),
        SamplingParams(temperature=1.0, min_p=0.2),
        SamplingParams(temperature=1.0, typical_p=0.6),
        SamplingParams(temperature=1.0, logit_bias={1: 2.0, 3: -1.5}),
    ],
    ids=lambda params: params.model_dump_json(exclude_defaults=True),
)
def test_draws_follow_the_distribution(drafter: Drafter | None, params: SamplingParams) -> None:
    runner = Fixed()
    engine = Engine(runner, drafter=drafter, max_running=8)
    requests = [Request([0], params.model_copy(update={"seed": seed, "max_new_tokens": 1_000})) for seed in range(10)]
    tokens = Counter(token for (output,) in complete(engine, requests) for token in output.token_ids)
    counts = [tokens[token] for token in range(runner.vocab_size)]
    assert sum(counts) == 10_000
    assert chi_square_is_plausible(counts, expected(params, []))
    if drafter is not None:
        assert engine.metrics.accepted_tokens > 1_000


def test_a_wrong_acceptance_would_be_noticed() -> None:
    """Taking every draft of the flatter model gives that model's distribution."""
    draws = torch.multinomial((LOGITS[0] * 0.7).softmax(dim=-1), 10_000, replacement=True).tolist()
    counts = [Counter(draws)[token] for token in range(8)]
    assert not chi_square_is_plausible(counts, expected(SamplingParams(temperature=1.0), []))
