"""What a baseline is."""

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, TypeVar

from inkstone.core.registry import lookup
from inkstone.data.examples.records import Example
from inkstone.evaluate.metrics.base import Kind

X_contra = TypeVar("X_contra", bound=Example, contravariant=True)


class Baseline(Protocol[X_contra]):
    """Predicts without a language model. A plug-in of the entry point group `inkstone.baselines`.

    Each passes `tests/evaluate/baselines/test_contract.py`.
    """

    name: ClassVar[str]
    kind: ClassVar[Kind]
    """Of what it predicts; of `attempts`, the texts of the answers."""
    title: ClassVar[str]
    """What it does, as a row of a table says it."""
    needs_training: ClassVar[bool]
    """Whether it learns from examples; it is left out where there are none."""

    def predict(self, train: Sequence[X_contra], test: Sequence[X_contra]) -> Sequence[Any]:
        """A prediction for each example of `test`, of the kind that the metrics of its task read.

        What it predicts does not depend on the references of `test`.

        Raises:
            ConfigError: a package that it needs is not installed.
        """
        ...


def baseline_named(name: str) -> Baseline[Any]:
    """The baseline registered as `name`.

    Raises:
        ConfigError: there is none.
    """
    baseline: Baseline[Any] = lookup("baselines", name)()
    return baseline
