"""Drawing completions to learn from."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inkstone.nn.generate import FinishReason, generate_batch
from inkstone.nn.sampling_params import SamplingParams
from inkstone.nn.steps import NextTokenModel


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
    model: NextTokenModel,
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
    order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
    size = max(1, at_once // params.num_return_sequences)
    drawn: dict[int, list[Rollout]] = {}
    for start in range(0, len(order), size):
        part = order[start : start + size]
        completions = generate_batch(
            model,
            [prompts[number] for number in part],
            params,
            stop_ids=stop_ids,
            seeds=[seeds[number] for number in part],
            log_probabilities=True,
        )
        for number, group in zip(part, completions, strict=True):
            drawn[number] = []
            for each in group:
                assert each.finish_reason is not None
                stop = () if each.stop_id is None else (each.stop_id,)
                values = np.asarray(each.log_probabilities, dtype=np.float32)
                drawn[number].append(Rollout((*each.token_ids, *stop), values, each.finish_reason))
    return [drawn[number] for number in range(len(prompts))]
