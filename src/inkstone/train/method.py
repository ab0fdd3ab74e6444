"""What a way to teach brings along: how its examples are encoded, what it asks of the model, and its objective."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from inkstone.core.errors import InputError
from inkstone.core.registry import lookup
from inkstone.data.examples.encoded import Encoded
from inkstone.data.examples.records import Example
from inkstone.nn.adapters import Adapter
from inkstone.nn.models.base import Decoder, Model
from inkstone.tokenizer import Tokenizer
from inkstone.train.config_teach import TeachConfig
from inkstone.train.loop import Evaluator, Examples, LoopSettings
from inkstone.train.objectives import Objective

T = TypeVar("T", bound=Encoded)
Encode = Callable[[Example], Sequence[T]]
"""One example → its encodings, whole: cutting is not its business. More than one where a text is read in windows.

Raises InputError, naming `example.where`, for what cannot be learned from.
"""


@dataclass
class Lesson:
    """A model about to be taught."""

    model: Model
    tokenizer: Tokenizer
    config: TeachConfig
    settings: LoopSettings
    inputs: Mapping[str, Path]
    """Folders of the stage, beside `model` and `data`: a teacher, a reward model …"""
    out: Path
    adapter: Adapter | None = None
    """On the model, once the switches are set."""
    weights: Sequence[float] | None = None
    """How often each encoding of the training split is drawn in an epoch, on average; None: once."""

    @property
    def max_length(self) -> int:
        """Tokens that an example may have."""
        context = self.model.context
        return min(self.config.max_length or context, context)


@dataclass(frozen=True)
class Method(Generic[T]):
    """A way to teach. A plug-in of the entry point group `inkstone.methods`; each passes `tests/train/contract`."""

    name: str
    stage: str
    """`finetune`, `align` or `distill`: who takes it."""
    formats: tuple[str, ...]
    """Formats of examples that it learns from, the likeliest first."""
    encoder: Callable[[Lesson], Encode[T]]
    objective: Callable[[Lesson, Sequence[T]], Objective[T]]
    """Given the training examples too, for what depends on them all (class weights …)."""
    longest: Callable[[T], int] = lambda encoded: encoded.length
    """Tokens of an encoding that the model reads at once: what has to fit into its context."""
    packs: bool = True
    """Whether it can put several examples into one row (`TeachConfig.packing`); its rows are padded otherwise."""
    cut: Callable[[T, int], T] | None = None
    """An encoding cut to so many tokens; None where nothing can be cut off without changing what is learned."""
    prepare: Callable[[Lesson, Sequence[Example]], Model] = lambda lesson, _: as_decoder(lesson.model)
    """The model to train, made from the one that was loaded: given a head, say. Called before `encoder`.

    Raises InputError when it is of the wrong kind.
    """
    complete: Callable[[Lesson, Sequence[T], str], Sequence[T]] = lambda _lesson, encoded, _split: encoded
    """Adds to the encodings of a split (`train`, `valid`) what is computed once: reference log-probabilities …"""
    draw: Callable[[Lesson, Sequence[T]], Examples[T]] | None = None
    """The endless training examples, by default in a shuffled order; on-policy methods draw rollouts."""
    evaluate: Callable[[Lesson, Sequence[T], Examples[Any]], Evaluator] | None = None
    """Given the validation split and what was drawn for training, by default the objective's loss on the former."""
    finish: Callable[[Model], Model] = lambda model: model
    """The model to save, made from the one that was trained: without what only training needs."""


def method_named(name: str, stage: str) -> Method[Any]:
    """The method registered as `name`.

    Raises:
        ConfigError: there is none.
        InputError: it belongs to another stage.
    """
    method: Method[Any] = lookup("methods", name)
    if method.stage != stage:
        raise InputError(
            f"{name} is a method of the stage {method.stage}", where=stage, remedy=f"use the stage {method.stage}"
        )
    return method


def method_for(stage: str, config: TeachConfig, inputs: Mapping[str, Path]) -> Method[Any]:
    """The method that a stage's settings name, or that its inputs suggest.

    Raises:
        InkstoneError: there is none of that name, or the inputs cannot be read or do not fit together.
    """
    from inkstone.train.suggestion import suggested_method

    name = getattr(config, "method", stage)
    return method_named(suggested_method(config.examples, inputs) if name == "auto" else name, stage)


def as_decoder(model: Model) -> Model:
    """The model, where it continues text.

    Raises:
        InputError: it does not.
    """
    if not isinstance(model, Decoder):
        raise InputError(
            f"a {model.config.model_type} model ({type(model).__name__}) does not continue text",
            where="model",
            remedy="use a decoder, such as a llama, qwen3 or gpt2 model",
        )
    return model
