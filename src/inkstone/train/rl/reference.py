"""The initial model, to which the policy is tied."""

import contextlib
import copy
from collections.abc import Iterator

from inkstone.nn.adapters import Adapter
from inkstone.nn.models.base import Decoder
from inkstone.train.method import Lesson


class Reference:
    """The model as it is when training begins: the base model under an adapter, else a copy.

    Args:
        lesson: its model is not trained yet, or not yet set back to where an earlier attempt stopped.
    """

    def __init__(self, lesson: Lesson) -> None:
        assert isinstance(lesson.model, Decoder)
        self._adapter: Adapter | None = lesson.adapter
        self._policy = lesson.model
        self._copy: Decoder | None = None
        if lesson.adapter is None:
            self._copy = copy.deepcopy(lesson.model).requires_grad_(False).eval()

    @contextlib.contextmanager
    def model(self) -> Iterator[Decoder]:
        """The reference; while it is an adapter's base, the policy is not to be used."""
        if self._copy is not None:
            yield self._copy
            return
        assert self._adapter is not None
        with self._adapter.disabled():
            yield self._policy
