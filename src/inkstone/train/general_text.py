"""How much of its general text a model forgets while it is taught a job."""

import functools
from typing import Any

from inkstone.train.loop import Loop
from inkstone.train.micro_batches import by_count
from inkstone.train.replay import ReplayText
from inkstone.train.validation import ValidationLoss

_AT_ONCE = 8
"""Sequences."""


class GeneralText:
    """Measures the loss on text that is held out, before and after training.

    The loss before is measured at step 0 only, and kept in checkpoints.

    Args:
        loop: about to run.
        text: of the input `replay`.
    """

    def __init__(self, loop: Loop[Any], text: ReplayText) -> None:
        objective, sequences = text.held_out(loop.settings.config.eval_tokens)
        self._loop = loop
        self._measure = ValidationLoss(
            sequences, objective, functools.partial(loop.loss_of, objective), by_count(_AT_ONCE)
        )
        if loop.state.step == 0:
            loop.state.replay_loss_before = self._loss()

    def compare(self) -> dict[str, float]:
        """The loss of the trained model beside that before, in nats per token, and the change."""
        before, after = self._loop.state.replay_loss_before, self._loss()
        assert before is not None
        return {
            "general_loss_before": before,
            "general_loss_after": after,
            "general_loss_change": after - before,
        }

    def _loss(self) -> float:
        return self._measure(self._loop.model, self._loop.state.step)["valid_loss"]
