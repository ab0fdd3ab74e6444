"""The teacher: loaded, held against the student, and asked once about every example."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from inkstone.checkpoint import load_model
from inkstone.checkpoint.load import read_outline
from inkstone.core.errors import InputError
from inkstone.core.progress import progress
from inkstone.nn.models.base import Model
from inkstone.tokenizer import Tokenizer
from inkstone.train.computed_once import computed_once, digest_encodings, digest_texts, digest_weights
from inkstone.train.method import Lesson
from inkstone.train.micro_batches import numbered
from inkstone.train.precision import autocast

E = TypeVar("E", bound=tuple[Any, ...])
_PART = 1024
"""Examples of one file: what is computed again, at most, after an interruption."""


def outline(lesson: Lesson) -> Model:
    """The teacher without its weights."""
    return read_outline(_folder(lesson)).model


def load_teacher(lesson: Lesson) -> Model:
    """The teacher on the student's device, never trained."""
    return load_model(_folder(lesson), lesson.config.device).requires_grad_(False).eval()


def shared_tokenizer(lesson: Lesson) -> Tokenizer:
    """The teacher's tokenizer, which becomes the student's, so that both read and are asked alike.

    Raises:
        InputError: their vocabularies differ.
    """
    tokenizer = Tokenizer.load(_folder(lesson))
    own, other = (_vocabularies(each) for each in (lesson.tokenizer, tokenizer))
    for mine, theirs in zip(own, other, strict=True):
        different = sorted(mine.items() ^ theirs.items(), key=lambda item: item[1])
        if different:
            raise InputError(
                f"student and teacher have different vocabularies, of {len(mine):,} and {len(theirs):,} tokens: "
                f"{different[0][0]!r} does not mean the same to both",
                where="teacher",
                remedy="teach a student that was made with the teacher's tokenizer (inkstone initialize, or pretrain)",
            )
    return tokenizer


def ask_once(
    lesson: Lesson,
    teacher: Model,
    encoded: Sequence[E],
    split: str,
    said: str,
    answer: Callable[[Sequence[E]], list[dict[str, Tensor]]],
) -> list[dict[str, Tensor]]:
    """What the teacher says of each example, kept in `teacher/` of the run's folder.

    It is used again as long as teacher, examples, number format and `said` are the same.

    Args:
        lesson: settings and folder.
        teacher: of `load_teacher`.
        encoded: all examples of a split.
        split: names the files.
        said: what is asked, and how: all that changes the answers beside teacher and examples.
        answer: examples of a micro-batch → of each, tensors with one row for each target.
    """
    settings, digest = lesson.settings, digest_texts(digest_weights(teacher), teacher.config.model_dump_json())

    def ask(part: Sequence[E]) -> dict[str, Tensor]:
        answers: dict[int, dict[str, Tensor]] = {}
        for numbers, examples in numbered(settings.split, part):
            with torch.no_grad(), autocast(settings.device, settings.dtype):
                answers.update(zip(numbers, answer(examples), strict=True))
            bar.update(len(examples))
        return {name: torch.cat([answers[number][name].cpu() for number in range(len(part))]) for name in answers[0]}

    result: list[dict[str, Tensor]] = []
    with progress("teacher", total=len(encoded), unit="example") as bar:
        for start in range(0, len(encoded), _PART):
            part = encoded[start : start + _PART]
            key = digest_texts(digest, said, str(settings.dtype), digest_encodings(part))
            path = lesson.out / "teacher" / f"{split}-{start // _PART:05d}.safetensors"
            kept = computed_once(path, key, lambda part=part: ask(part))  # type: ignore[misc]
            bar.update(0, done=start + len(part))
            ends = torch.tensor([example.num_targets for example in part]).cumsum(0).tolist()  # type: ignore[attr-defined]
            for begin, end in zip([0, *ends], ends, strict=False):
                result.append({name: values[begin:end] for name, values in kept.items()})
    return result


def _folder(lesson: Lesson) -> Path:
    return lesson.inputs["teacher"]


def _vocabularies(tokenizer: Tokenizer) -> list[dict[str, int]]:
    """Token → id, of what is read and of what is written."""
    return [each.backend.get_vocab(with_added_tokens=True) for each in (tokenizer, tokenizer.target)]
