"""The part of a text that answers a question."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from inkstone.core.errors import InputError
from inkstone.tasks.headed import logits_of, with_head_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from inkstone.data.examples.windows import Window
    from inkstone.nn.models.base import Model
    from inkstone.tokenizer import Tokenizer

MAX_ANSWER_LENGTH = 64
DOC_STRIDE = 128


@dataclass(frozen=True, slots=True)
class Answer:
    """Characters `start` to `end` (exclusive) of a context; no text where the context does not answer the question."""

    text: str
    start: int
    end: int
    score: float
    """The model's probability that it begins and ends just there, in the window where that is greatest."""


def answer(
    model: "Model",
    tokenizer: "Tokenizer",
    question: str,
    context: str,
    *,
    null_threshold: float | None = None,
    truncate: bool = False,
) -> Answer:
    """The answer to one question; see `answer_all`."""
    (found,) = answer_all(model, tokenizer, [question], [context], null_threshold=null_threshold, truncate=truncate)
    return found


def answer_all(
    model: "Model",
    tokenizer: "Tokenizer",
    questions: Sequence[str],
    contexts: Sequence[str],
    *,
    null_threshold: float | None = None,
    max_answer_length: int = MAX_ANSWER_LENGTH,
    doc_stride: int = DOC_STRIDE,
    max_length: int | None = None,
    truncate: bool = False,
) -> list[Answer]:
    """The likeliest span of each context, over all windows of it.

    The score of a span is the log-probability of its first token plus that of its last, in its window. That of no
    answer is the same of the window's first token, where windows without an answer were taught to point; a question
    has none when that is so in all windows, so the lowest counts (as in SQuAD 2).

    Args:
        model: with a span head.
        tokenizer: the model's own.
        questions: each may take half of a window.
        contexts: of any length.
        null_threshold: give no answer where its score exceeds the best span's by more than this (0: where it is
            likelier); by default always give one.
        max_answer_length: tokens.
        doc_stride: tokens that two windows have in common.
        max_length: tokens of a window, by default the model's context.
        truncate: cut a question that is too long, and warn of how many there were.

    Raises:
        InputError: a question is too long and `truncate` is not given, or one has no tokens; or another model.
    """
    from inkstone.data.examples.windows import QuestionInContext

    headed = with_head_of(model, "span")
    if isinstance(questions, str) or isinstance(contexts, str) or len(questions) != len(contexts):
        raise InputError("as many contexts as questions are needed, in lists", where="contexts")
    window_length = min(max_length or headed.context, headed.context)
    asked = [
        QuestionInContext(tokenizer, question, context, window_length, truncate=truncate)
        for question, context in zip(questions, contexts, strict=True)
    ]
    if num_cut := sum(each.num_cut > 0 for each in asked):
        warnings.warn(f"{num_cut} of {len(asked)} questions were cut to half a window", stacklevel=4)
    windows = [each.windows(doc_stride) for each in asked]
    flat = [window for of_question in windows for window in of_question]
    input_ids, token_type_ids = [each.input_ids for each in flat], [each.token_type_ids for each in flat]
    logits = iter(logits_of(headed, input_ids, token_type_ids, tokenizer.pad_id))
    return [
        _best(context, [(window, next(logits)) for window in of_question], null_threshold, max_answer_length)
        for context, of_question in zip(contexts, windows, strict=True)
    ]


class ScoredSpan(NamedTuple):
    """Tokens `first` to `last` of a window's context."""

    score: float
    first: int
    last: int


def _best(
    context: str,
    windows: "Iterable[tuple[Window, NDArray[np.float32]]]",
    null_threshold: float | None,
    max_answer_length: int,
) -> Answer:
    import numpy as np

    from inkstone.data.examples.offsets import extent

    best, found, no_answer = -np.inf, (0, 0), np.inf
    for window, logits in windows:
        scores = logits.astype(np.float64)
        scores -= np.logaddexp.reduce(scores, axis=0)
        no_answer = min(no_answer, scores[0].sum())
        span = best_span(window, scores, max_answer_length)
        if span is not None and span.score > best:
            best, found = span.score, extent(window.offsets[span.first : span.last + 1])
    if null_threshold is not None and no_answer - best > null_threshold:
        return Answer("", 0, 0, float(np.exp(no_answer)))
    return Answer(context[slice(*found)], *found, float(np.exp(best)))


def best_span(window: "Window", scores: "NDArray[np.float64]", max_length: int) -> ScoredSpan | None:
    """The span of the window's context with the greatest sum of `scores` (T, 2) of its first and its last token.

    Its first and its last token write something, and it has at most `max_length` tokens. None: no token does.
    """
    import numpy as np

    here = slice(window.first, window.first + len(window.offsets))
    writes = np.array([start < end for start, end in window.offsets])
    if not writes.any():
        return None
    starts, ends = np.where(writes[:, None], scores[here], -np.inf).T
    length = min(max_length, len(ends))
    # (first, last - first): as many sums as there are spans, however long the window is
    lasts = np.lib.stride_tricks.sliding_window_view(np.append(ends, np.full(length - 1, -np.inf)), length)
    sums = starts[:, None] + lasts
    first, further = np.unravel_index(sums.argmax(), sums.shape)
    return ScoredSpan(float(sums[first, further]), int(first), int(first + further))
