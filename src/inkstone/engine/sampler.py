"""The next token of every sequence of a step, each as its own request wants it."""

from collections.abc import Sequence as AbstractSequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from inkstone.engine.request import TokenLogProbability
from inkstone.engine.sequence import Sequence
from inkstone.nn.sampling import draw, likeliest, uniform
from inkstone.nn.sampling_params import SamplingParams


class Predictions(NamedTuple):
    """What a runner says of the next tokens."""

    logits: Tensor
    """float32 (N, V)."""
    likeliest: list[int] | None = None
    """The first of the greatest logits of each row, -1 where one is no number; None where it was not looked for."""

    def rows(self, rows: AbstractSequence[int]) -> "Predictions":
        """Some of them, in another order or several times."""
        if len(rows) == len(self.logits) and all(row == place for place, row in enumerate(rows)):
            return self
        likeliest = None if self.likeliest is None else [self.likeliest[row] for row in rows]
        return Predictions(self.logits[torch.tensor(rows, dtype=torch.long)], likeliest)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a token is wanted: after some tokens of a completion."""

    sequence: Sequence
    num_drafts: int = 0
    """Of the sequence's drafts, those that come before."""

    @property
    def params(self) -> SamplingParams:
        """With a seed."""
        params = self.sequence.group.request.params
        assert isinstance(params, SamplingParams)
        return params

    @property
    def input_ids(self) -> list[int]:
        """Prompt and completion before it."""
        return [*self.sequence.token_ids, *self.sequence.drafts[: self.num_drafts]]

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is taken, and nothing told of it."""
        sequence = self.sequence
        return not sequence.group.processors and sequence.matcher is None and self.num_top is None and self.is_cold

    @property
    def is_cold(self) -> bool:
        """Whether nothing is drawn."""
        return self.params.temperature == 0

    @property
    def num_top(self) -> int | None:
        """Likeliest tokens that are to be told; None where no log-probability is needed."""
        told = self.params.log_probabilities
        return 0 if told is None and self.params.best_of is not None else told

    def process(self, logits: Tensor) -> Tensor:
        """Logits (V,) after the sequence's form and its request's processors."""
        if self.sequence.matcher is not None:
            logits = self.sequence.matcher.mask(logits, self.sequence.drafts[: self.num_drafts])
        if not self.sequence.group.processors:
            return logits
        input_ids, row = torch.tensor([self.input_ids], device=logits.device), logits.unsqueeze(0)
        for processor in self.sequence.group.processors:
            row = processor(input_ids, row)
        return row[0]

    def number(self) -> float:
        """The random number that draws here."""
        seed, step = self.params.seed, self.sequence.num_new + self.num_drafts
        assert seed is not None
        return uniform(seed, self.sequence.index, step)


class Choice(NamedTuple):
    """A token that was chosen."""

    token_id: int
    log_probability: TokenLogProbability | None = None


def choose(places: AbstractSequence[Place], predictions: Predictions) -> list[Choice]:
    """The next token at each place."""
    choices: dict[int, Choice] = {}
    if predictions.likeliest is not None:
        for row, (place, token) in enumerate(zip(places, predictions.likeliest, strict=True)):
            if place.is_greedy and token >= 0:
                choices[row] = Choice(token)
    others = [row for row in range(len(places)) if row not in choices]
    if others:
        chosen = _choose([places[row] for row in others], predictions.rows(others).logits)
        choices |= zip(others, chosen, strict=True)
    return [choices[row] for row in range(len(places))]


def _choose(places: AbstractSequence[Place], logits: Tensor) -> list[Choice]:
    changed = [place.sequence.matcher is not None or bool(place.sequence.group.processors) for place in places]
    if any(changed):
        rows = zip(places, logits, changed, strict=True)
        logits = torch.stack([place.process(row) if changes else row for place, row, changes in rows])
    tokens: dict[int, int] = {}
    for cold, take in ((True, _likeliest), (False, _drawn)):
        rows_of = [row for row, place in enumerate(places) if place.is_cold == cold]
        if rows_of:
            some = logits if len(rows_of) == len(places) else logits[torch.tensor(rows_of)]
            tokens |= zip(rows_of, take([places[row] for row in rows_of], some), strict=True)
    return [
        Choice(
            tokens[row],
            None if place.num_top is None else log_probability_of(tokens[row], logits[row], place.num_top),
        )
        for row, place in enumerate(places)
    ]


def _likeliest(places: AbstractSequence[Place], logits: Tensor) -> list[int]:
    return likeliest(logits)


def _drawn(places: AbstractSequence[Place], logits: Tensor) -> list[int]:
    return draw(logits, [place.number() for place in places])


def log_probability_of(token: int, logits: Tensor, num_top: int) -> TokenLogProbability:
    """From logits (V,)."""
    log_probs = logits.float().log_softmax(dim=-1)
    top = log_probs.topk(min(num_top, len(log_probs)))
    return TokenLogProbability(
        token, float(log_probs[token]), list(zip(top.indices.tolist(), top.values.tolist(), strict=True))
    )
