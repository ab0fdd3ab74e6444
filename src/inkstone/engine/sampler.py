"""The next token of every sequence of a step, each as its own request wants it."""

from collections.abc import Callable, Collection, Iterable
from collections.abc import Sequence as AbstractSequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from inkstone.engine.request import TokenLogProbability
from inkstone.engine.sequence import Sequence
from inkstone.nn.sampling import draw, likeliest, logits_processors, uniform
from inkstone.nn.sampling_params import SamplingParams


@dataclass(frozen=True, slots=True)
class Place:
    """Where a token is wanted: after some tokens of a completion."""

    input_ids: AbstractSequence[int]
    """Prompt and completion before it."""
    prompt_length: int
    params: SamplingParams
    """With a seed."""
    index: int
    """Of the completion among those of its request."""
    stop_ids: Collection[int]
    mask: Callable[[Tensor], Tensor] | None = None
    """Logits (V,) → the same with -inf for what may not come next."""

    @property
    def step(self) -> int:
        """Tokens of the completion so far."""
        return len(self.input_ids) - self.prompt_length

    @property
    def num_top(self) -> int | None:
        """Likeliest tokens that are to be told; None where no log-probability is needed."""
        told = self.params.log_probabilities
        return 0 if told is None and self.params.best_of is not None else told


def place_of(sequence: Sequence, stop_ids: Collection[int], num_drafts: int = 0) -> Place:
    """Where a sequence goes on, after some of its drafts; `stop_ids` are the model's own."""
    request, drafts, matcher = sequence.group.request, sequence.drafts[:num_drafts], sequence.matcher
    assert isinstance(request.params, SamplingParams)
    return Place(
        [*sequence.token_ids, *drafts] if drafts else sequence.token_ids,
        len(request.prompt_ids),
        request.params,
        sequence.index,
        request.params.ends(stop_ids),
        None if matcher is None else partial(matcher.mask, drafts=drafts),
    )


class Choice(NamedTuple):
    """A token that was chosen."""

    token_id: int
    log_probability: TokenLogProbability | None = None


def choose(places: AbstractSequence[Place], logits: Tensor) -> list[Choice]:
    """The next token at each place, from logits (N, V)."""
    processed = _processed(places, logits)
    greedy = [row for row, place in enumerate(places) if place.params.temperature == 0]
    drawn = [row for row, place in enumerate(places) if place.params.temperature > 0]
    tokens = [0] * len(places)
    for rows, token_ids in (
        (greedy, likeliest(_rows(processed, greedy)) if greedy else []),
        (drawn, _draw([places[row] for row in drawn], _rows(processed, drawn)) if drawn else []),
    ):
        for row, token in zip(rows, token_ids, strict=True):
            tokens[row] = token
    return [
        Choice(token, None if place.num_top is None else log_probability_of(token, row, place.num_top))
        for place, row, token in zip(places, processed, tokens, strict=True)
    ]


def log_probability_of(token: int, logits: Tensor, num_top: int) -> TokenLogProbability:
    """From logits (V,)."""
    log_probs = logits.float().log_softmax(dim=-1)
    top = log_probs.topk(min(num_top, len(log_probs)))
    return TokenLogProbability(
        token, float(log_probs[token]), list(zip(top.indices.tolist(), top.values.tolist(), strict=True))
    )


def _processed(places: AbstractSequence[Place], logits: Tensor) -> Tensor | list[Tensor]:
    """Rows (V,) after each place's mask and processors."""
    changed = {row: process for row, place in enumerate(places) if (process := _processor(place)) is not None}
    if not changed:
        return logits
    rows = list(logits)
    for row, process in changed.items():
        rows[row] = process(rows[row])
    return rows


def _processor(place: Place) -> Callable[[Tensor], Tensor] | None:
    """Logits (V,) → logits (V,); None where nothing changes."""
    processors = logits_processors(place.params, place.prompt_length, place.stop_ids)
    if not processors and place.mask is None:
        return None

    def process(logits: Tensor) -> Tensor:
        if place.mask is not None:
            logits = place.mask(logits)
        input_ids = torch.tensor([place.input_ids], device=logits.device)
        row = logits.unsqueeze(0)
        for each in processors:
            row = each(input_ids, row)
        return row[0]

    return process


def _rows(logits: Tensor | list[Tensor], rows: AbstractSequence[int]) -> Tensor:
    if isinstance(logits, Tensor):
        return logits if len(rows) == len(logits) else logits[torch.tensor(rows)]
    return torch.stack([logits[row] for row in rows])


def _draw(places: Iterable[Place], logits: Tensor) -> list[int]:
    numbers = []
    for place in places:
        assert place.params.seed is not None
        numbers.append(uniform(place.params.seed, place.index, place.step))
    return draw(logits, numbers)
