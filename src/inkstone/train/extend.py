"""Going on with a run that is finished."""

from typing import TypeVar

from inkstone.train.config import LoopConfig

C = TypeVar("C", bound=LoopConfig)
_OPEN = frozenset({"steps", "epochs", "patience"})
_SEEN = frozenset({"sample_tokens", "trackers"})
"""What changes nothing of the model."""


def goes_on(done: C, wanted: C) -> bool:
    """Whether a run with the settings `wanted` goes on where one with `done` has ended or was interrupted.

    It does where only its length differs, and it is longer: more `steps`, or more `epochs` where both count those, or
    another `patience`. From there on the learning rate is that of the longer run; a run that stopped early goes on
    with a larger patience alone. What is only seen of a run (samples, trackers) may differ in any case.
    """
    if done.model_dump(exclude=set(_OPEN | _SEEN)) != wanted.model_dump(exclude=set(_OPEN | _SEEN)):
        return False
    if done.model_dump(exclude=set(_SEEN)) == wanted.model_dump(exclude=set(_SEEN)):
        return done != wanted
    for name in ("steps", "epochs"):
        before, after = getattr(done, name, None), getattr(wanted, name, None)
        if (before is None) != (after is None):
            return False
        if before is not None and after is not None:
            return after > before or (after == before and wanted.patience != done.patience)
    return False
