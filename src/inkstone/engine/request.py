"""What is asked of the engine, and what it says."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from torch import Tensor

from inkstone.nn.beam import BeamParams
from inkstone.nn.sampling_params import SamplingParams

FinishReason = Literal["eos", "stop", "length", "context", "deadline", "error"]
"""Why a completion ended: a stop token, a stop string, `max_new_tokens`, a full context; too late, or see `error`."""


class Matcher(Protocol):
    """A constraint on one growing completion."""

    @property
    def failure(self) -> str | None:
        """Why it cannot go on; None if it can."""

    def mask(self, logits: Tensor, drafts: Sequence[int] = ()) -> Tensor:
        """Logits (V,) with -inf for every token that may not come next, or after these drafts."""

    def accept(self, token: int) -> None:
        """The completion goes on with this token, which was allowed."""

    def fork(self) -> "Matcher":
        """The same for a completion that goes on from here by itself."""


class Constraint(Protocol):
    """What completions must look like."""

    def matcher(self) -> Matcher:
        """For a completion of which nothing is written yet."""


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt and how it is to be continued."""

    prompt_ids: Sequence[int]
    """Token ids; of an encoder–decoder the beginning of the target."""
    params: SamplingParams | BeamParams
    source_ids: Sequence[int] = ()
    """What an encoder–decoder reads."""
    priority: int = 0
    """Higher goes first."""
    tenant: str = ""
    """Whose request it is: tenants of one priority get turns, and share no remembered beginnings."""
    deadline_s: float | None = None
    """Seconds from its arrival after which it is broken off: completions end with what they have by then, a search
    with the best that it has found, and what had not begun is empty."""
    constraint: Constraint | None = None
    """What the completions must look like."""


@dataclass(slots=True)
class TokenLogProbability:
    """How likely a token was, in nats."""

    token_id: int
    log_probability: float
    """Under the distribution it was drawn from."""
    top: list[tuple[int, float]] = field(default_factory=list)
    """The likeliest tokens, likeliest first, with their log-probabilities."""


@dataclass(slots=True)
class Output:
    """What is new of one completion after a step."""

    request_id: int
    index: int
    """Number of the completion among those of its request."""
    token_ids: list[int] = field(default_factory=list)
    """New tokens, without a stop token."""
    text: str = ""
    """New text, as far as it is certain."""
    log_probabilities: list[TokenLogProbability] = field(default_factory=list)
    """Of the new tokens, a stop token too, where they were asked for."""
    prompt_log_probabilities: list[TokenLogProbability] = field(default_factory=list)
    """Of the prompt's tokens but the first, in the first output of a request that asked for them."""
    finish_reason: FinishReason | None = None
    stop_id: int | None = None
    """The stop token that ended it."""
    error: str | None = None
    """Why it could not go on."""
    score: float | None = None
    """Of a completion that was chosen among others: see `Hypothesis`; with `best_of` the mean log-probability."""

    def extend(self, later: "Output") -> None:
        """Append what came later."""
        self.token_ids += later.token_ids
        self.text += later.text
        self.log_probabilities += later.log_probabilities
        self.prompt_log_probabilities += later.prompt_log_probabilities
        self.finish_reason, self.stop_id = later.finish_reason, later.stop_id
        self.error, self.score = later.error, later.score
