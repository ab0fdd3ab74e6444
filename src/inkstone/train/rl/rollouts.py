"""Drawing completions to learn from."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inkstone.engine.config import EngineConfig
from inkstone.engine.offline import complete
from inkstone.engine.open import open_engine
from inkstone.engine.request import FinishReason, Output, Request
from inkstone.nn.models.base import Decoder
from inkstone.nn.sampling_params import SamplingParams


@dataclass(frozen=True, slots=True)
class Rollout:
    """A completion as it was drawn."""

    token_ids: tuple[int, ...]
    """All tokens drawn; where it ended by itself, the stop token is the last."""
    log_probabilities: NDArray[np.float32]
    """Of each, in nats, at the temperature of drawing."""
    finish_reason: FinishReason

    @property
    def is_truncated(self) -> bool:
        """Whether it was cut off."""
        return self.finish_reason in ("length", "context")

    @property
    def text_ids(self) -> tuple[int, ...]:
        """The tokens without the stop token."""
        return self.token_ids if self.is_truncated else self.token_ids[:-1]


def rollout(
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    params: SamplingParams,
    seeds: Sequence[int],
    *,
    stop_ids: Collection[int],
    at_once: int = 256,
) -> list[list[Rollout]]:
    """`params.num_return_sequences` completions of each prompt.

    Each completion has a random stream of its own, of its prompt's seed and its number, so that it does not depend on
    what else is drawn with it.

    Args:
        model: in evaluation mode.
        prompts: token ids.
        params: without filters of tokens, so that log-probabilities are the policy's.
        seeds: one for each prompt.
        stop_ids: tokens that end a completion.
        at_once: completions that grow together.
    """
    engine = open_engine(model, EngineConfig(max_running=at_once), stop_ids=tuple(stop_ids))
    requests = [
        Request(prompt, params.model_copy(update={"seed": seed, "log_probabilities": 0}))
        for prompt, seed in zip(prompts, seeds, strict=True)
    ]
    return [[_rollout(output) for output in outputs] for outputs in complete(engine, requests)]


def _rollout(output: Output) -> Rollout:
    assert output.finish_reason is not None
    stop = () if output.stop_id is None else (output.stop_id,)
    values = np.array([each.log_probability for each in output.log_probabilities], dtype=np.float32)
    return Rollout((*output.token_ids, *stop), values, output.finish_reason)
