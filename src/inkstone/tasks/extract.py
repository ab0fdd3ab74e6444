"""What is named in a text, and where."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inkstone.tasks.headed import read_texts, with_head_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from inkstone.data.examples.tags import Tags
    from inkstone.nn.models.base import Model
    from inkstone.tokenizer import Tokenizer
    from inkstone.tokenizer.encoding import Encoding


@dataclass(frozen=True, slots=True)
class ExtractedSpan:
    """Characters `start` to `end` (exclusive) of a text."""

    text: str
    start: int
    end: int
    label: str
    score: float
    """Probability of the tags of its tokens, on average."""


def extract(
    model: "Model", tokenizer: "Tokenizer", texts: Sequence[str], *, truncate: bool = False
) -> list[list[ExtractedSpan]]:
    """The spans of each text in their order, which do not overlap: those of its likeliest legal tags.

    Args:
        model: with a token head whose labels are BIO tags.
        tokenizer: the model's own.
        texts: at most the model's context long each.
        truncate: keep the beginning of a text that is too long, and warn of how many there were.

    Raises:
        InputError: a text has no tokens, or is too long and `truncate` is not given; or the model has another head.
        ConfigError: its labels are no BIO tags.
    """
    from inkstone.data.examples.tags import Tags

    headed = with_head_of(model, "token")
    tags = Tags(headed.head_config.labels)
    read = read_texts(headed, tokenizer, texts, None, truncate=truncate)
    return [_spans(tags, text, *each) for text, each in zip(texts, read, strict=True)]


def _spans(tags: "Tags", text: str, encoding: "Encoding", logits: "NDArray[np.float32]") -> list[ExtractedSpan]:
    import numpy as np

    from inkstone.data.examples.offsets import extent, without_spaces

    of_text = [index for index, sequence in enumerate(encoding.sequence_ids) if sequence == 0]
    offsets = without_spaces(text, [encoding.offsets[index] for index in of_text])
    scores = logits[of_text].astype(np.float64)
    log_probabilities = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
    best = tags.best(log_probabilities, offsets)
    probabilities = np.exp(np.take_along_axis(log_probabilities, best[:, None], axis=1))[:, 0]
    spans = []
    for first, end in tags.runs(best, offsets):
        start, stop = extent(offsets[first:end])
        name = tags.name_of[best[first]]
        spans.append(ExtractedSpan(text[start:stop], start, stop, name, float(probabilities[first:end].mean())))
    return spans
