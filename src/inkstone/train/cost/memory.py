"""Memory of a training run, part by part."""

import functools
from collections.abc import Mapping

from inkstone.train.config import LoopConfig
from inkstone.train.cost.counts import FLOAT_BYTES, Counts
from inkstone.train.cost.sketch import Sketch

PROCESS_BYTES = 380_000_000
"""Of Python, PyTorch and its libraries, where it is not measured; as on Linux with torch 2.13 for CPUs."""
WORKING_BYTES = 35_000_000
"""By which libraries grow while they work, however little there is to do."""
SPREAD = 1.7
"""Memory of the process for a byte of activations, where it is not measured: tensors of many sizes come and go, and
leave holes."""
_MUON_COPIES = 5
"""Of all matrices of a shape while muon updates them: updates, their stack, and states of the iteration."""

Parts = Mapping[str, float]


def fixed_parts(counts: Counts, config: LoopConfig, *, process: float, data: float, other_models: float = 0.0) -> Parts:
    """All that does not depend on the micro-batch, in bytes.

    Args:
        counts: of the model.
        config: of the run.
        process: before anything is loaded.
        data: the examples.
        other_models: a teacher, a reference, a reward model.
    """
    trained = FLOAT_BYTES * counts.trained
    return {
        "process": process,
        "data": data,
        "weights": counts.weight_bytes,
        "other models": other_models,
        "gradients": trained,
        "optimizer": FLOAT_BYTES * counts.optimizer_values,
        "average": trained if config.ema else 0,
    }


def passing_parts(counts: Counts, sketch: Sketch, spread: float, rollouts: float = 0.0) -> Parts:
    """What is there for a while only, in bytes: of what takes turns, the largest.

    Args:
        counts: of the model.
        sketch: of the hungriest micro-batch.
        spread: bytes of the process for a byte that lives.
        rollouts: keys and values of completions that are drawn at once.
    """
    turns: list[Parts] = [
        {"activations": spread * sketch.blocks_bytes, "logits": spread * sketch.outside_bytes},
        {"rollouts": rollouts},
        {"update": _MUON_COPIES * FLOAT_BYTES * counts.largest_shape},
    ]
    return max(turns, key=total)


def read_back(counts: Counts, config: LoopConfig, *, validated: bool) -> float:
    """Bytes of the weights that are read back at the end, beside the last ones."""
    if config.keep == "average":
        return (2 * FLOAT_BYTES + FLOAT_BYTES) * counts.trained
    return FLOAT_BYTES * counts.trained if config.keep == "best" and validated else 0.0


def total(*parts: Parts) -> float:
    """Bytes of all."""
    return functools.reduce(lambda value, each: value + sum(each.values()), parts, 0.0)
