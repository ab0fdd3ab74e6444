"""How much a run of teaching reads, draws and keeps."""

from typing import TYPE_CHECKING, Any

import numpy as np

from inkstone.checkpoint.hub import locate
from inkstone.checkpoint.load import read_outline
from inkstone.data.examples.encoded import SourceTarget
from inkstone.train.cost.counts import FLOAT_BYTES
from inkstone.train.cost.trial import Amounts

if TYPE_CHECKING:
    from inkstone.train.cost.trial_teach import TeachTrial

_ENCODING_BYTES, _BYTES_PER_TOKEN = 600, 16
"""Of an encoding: its arrays' headers and what the data check keeps of it; two numbers a token."""
_SAID_BYTES = 8
"""What a reference says of an example, on disk: of a pair, two numbers."""


def amounts_of(trial: "TeachTrial", replayed_share: float) -> Amounts:
    """The amounts of a whole run, from a sample of its examples."""
    config, settings = trial.config, trial.settings
    mean = float(np.mean([num_read(each) for each in trial.usual]))
    num_valid = len(trial.data.splits.get("valid", ())) * trial.per_row
    num_encoded = trial.num_examples + num_valid
    start_seconds = trial.encode_seconds * sum(map(len, trial.data.splits.values()))
    data_bytes = num_encoded * (_ENCODING_BYTES + _BYTES_PER_TOKEN * mean)
    others = _other_models_bytes(trial)
    if not trial.is_on_policy:
        return Amounts(
            settings.steps,
            settings.batch_size,
            mean,
            num_valid * mean,
            once_tokens=num_encoded * mean,
            data_bytes=data_bytes,
            kept_bytes=num_encoded * _said_bytes(trial),
            start_seconds=start_seconds,
            other_models_bytes=others,
            replayed_share=replayed_share,
        )
    rl = trial.rl
    tried = min(num_valid, max(1, config.eval_tokens // rl.max_new_tokens))
    drawn = settings.batch_size * rl.group_size
    return Amounts(
        settings.steps,
        drawn,
        mean + rl.max_new_tokens,
        tried * (mean + rl.max_new_tokens),
        data_bytes=data_bytes,
        start_seconds=start_seconds,
        other_models_bytes=others,
        drawn=drawn * (1 + rl.resample),
        drawn_at_once=min(drawn, rl.rollout_batch),
        drawn_tokens=trial.longest_tokens + rl.max_new_tokens,
        steps_per_draw=rl.updates_per_rollout,
        replayed_share=replayed_share,
    )


def num_read(encoded: Any) -> int:
    """Tokens that a model reads of an encoding, those of both texts where it reads one and writes the other."""
    encoded = getattr(encoded, "encoded", encoded)  # with what a teacher says of it
    if isinstance(encoded, SourceTarget):
        return len(encoded.source_ids) + len(encoded.target_ids)
    return int(encoded.length)


def _said_bytes(trial: "TeachTrial") -> float:
    """Disk for an example of what is computed once."""
    top_k = getattr(trial.config, "top_k", None)
    if top_k is not None:
        targets = float(np.mean([each.num_targets for each in trial.usual]))
        return targets * (2 * FLOAT_BYTES * top_k + FLOAT_BYTES)
    return _SAID_BYTES if trial.method.stage == "align" else 0


def _other_models_bytes(trial: "TeachTrial") -> float:
    """Weights of a teacher, a reward model, a reference."""
    is_asked_once = getattr(trial.config, "top_k", None) is not None
    total = sum(
        sum(place.tensor.num_bytes for place in read_outline(locate(trial.inputs[name])).places.values())
        for name in ("teacher", "reward")
        if name in trial.inputs and not (name == "teacher" and is_asked_once)
    )
    if trial.is_on_policy and trial.rl.kl_coefficient and trial.config.lora is None:
        total += FLOAT_BYTES * trial.base().num_parameters()
    return float(total)
