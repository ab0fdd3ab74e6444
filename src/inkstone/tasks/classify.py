"""What a text is: a class, several, or a number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from inkstone.core.errors import InputError
from inkstone.tasks.headed import read_texts, with_head_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from inkstone.nn.heads import HeadConfig
    from inkstone.nn.models.base import Model
    from inkstone.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Classification:
    """What a model takes a text for."""

    label: str | float | tuple[str, ...]
    """The likeliest class; all classes that apply, each likelier than not, where several may; the number of a
    regression."""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    """Of every class; where several may apply, each by itself. Empty for a regression."""


def classify(
    model: "Model",
    tokenizer: "Tokenizer",
    texts: Sequence[str],
    pairs: Sequence[str] | None = None,
    *,
    truncate: bool = False,
) -> list[Classification]:
    """The class, or classes, or number of each text, computed in batches of texts of like length.

    Args:
        model: with a sequence head.
        tokenizer: the model's own.
        texts: at most the model's context long each.
        pairs: the second texts, for a model that was taught pairs.
        truncate: keep the beginning of a text that is too long, and warn of how many there were.

    Returns:
        In the order of the texts.

    Raises:
        InputError: a text has no tokens, or is too long and `truncate` is not given; or the model has another head.
    """
    headed = with_head_of(model, "sequence")
    head = headed.head_config
    if head.problem == "regression" and len(head.labels) > 1:
        raise InputError(f"the model gives {len(head.labels)} numbers, no class", where="model")
    read = read_texts(headed, tokenizer, texts, pairs, truncate=truncate)
    return [_classification(head, logits) for _, logits in read]


def _classification(head: "HeadConfig", logits: "NDArray[np.float32]") -> Classification:
    import numpy as np

    logits = logits.astype(np.float64)
    match head.problem:
        case "regression":
            return Classification(float(logits[0]))
        case "single_label_classification":
            exponentials = np.exp(logits - logits.max())
            probabilities = _named(head, exponentials / exponentials.sum())
            return Classification(head.labels[int(logits.argmax())], probabilities)
        case "multi_label_classification":
            probabilities = _named(head, 1 / (1 + np.exp(-logits)))
            return Classification(tuple(name for name, value in probabilities.items() if value > 0.5), probabilities)


def _named(head: "HeadConfig", values: "NDArray[np.float64]") -> dict[str, float]:
    return dict(zip(head.labels, values.tolist(), strict=True))
