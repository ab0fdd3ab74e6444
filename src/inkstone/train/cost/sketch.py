"""What a micro-batch needs, from a model of few blocks: the others need as much each."""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from inkstone.checkpoint.load import DEPTH_KEYS
from inkstone.nn.models.base import Model
from inkstone.train.cost.live import Live, live
from inkstone.train.cost.trial import Run, Trial, shallow
from inkstone.train.objectives import num_tokens

_FEW, _SOME = 2, 4
"""Blocks."""


class Sketch(NamedTuple):
    """Of the hungriest micro-batch, at the whole depth."""

    blocks_bytes: float
    """What is kept in the blocks for the gradient."""
    outside_bytes: float
    """What embeddings, output layer and loss need."""
    seconds: float
    """Forward and backward."""
    tokens: int

    @property
    def live_bytes(self) -> float:
        """All that is allocated at once."""
        return self.blocks_bytes + self.outside_bytes


def sketch(trial: Trial, config: Any) -> Sketch:
    """Compute a micro-batch with models of few blocks, and extrapolate to the depth of the trial's.

    Args:
        trial: of a stage.
        config: its settings, or a variant of them.
    """
    if getattr(config, "on_policy", 0.0):
        config = config.model_copy(update={"on_policy": 0.0})
    base = trial.base()
    depth = depth_of(base)
    some = min(_SOME, depth)
    few = min(_FEW, some - 1)
    many, tokens = _live_at(trial, config, base, some)
    if few < 1:
        return Sketch(0.0, many.peak_bytes, many.seconds, tokens)
    less, _ = _live_at(trial, config, base, few)
    block_bytes = max(0.0, (many.peak_bytes - less.peak_bytes) / (some - few))
    block_seconds = max(0.0, (many.seconds - less.seconds) / (some - few))
    return Sketch(
        block_bytes * depth,
        max(0.0, many.peak_bytes - block_bytes * some),
        many.seconds + block_seconds * (depth - some),
        tokens,
    )


def depth_of(model: Model) -> int:
    """Blocks of a model, of the deepest of its stacks where it has two."""
    config = model.config
    return max(getattr(config, key) for key in DEPTH_KEYS if key in type(config).model_fields)


def _live_at(trial: Trial, config: Any, base: Model, num_blocks: int) -> tuple[Live, int]:
    with tempfile.TemporaryDirectory() as folder:
        model = shallow(base, num_blocks).to(trial.settings.device)
        run = trial.run(model, config, Path(folder))
        return live(lambda: _compute(run), trial.settings.device), _num_tokens(run)


def _compute(run: Run) -> None:
    loop = run.loop
    batch = loop.objective.collate(run.hungriest)
    loop.prepare_step([batch])
    loss = loop.batch_loss(batch)[0]
    loss.backward()  # type: ignore[no-untyped-call]


def _num_tokens(run: Run) -> int:
    return num_tokens(run.loop.objective.collate(run.hungriest))
