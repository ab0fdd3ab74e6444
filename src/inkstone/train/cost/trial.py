"""A training run on a few of its examples: enough to count and to measure with."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from inkstone.checkpoint.load import DEPTH_KEYS
from inkstone.nn.models.base import Model
from inkstone.nn.rebuild import model_like
from inkstone.tokenizer import Tokenizer
from inkstone.train.config import LoopConfig
from inkstone.train.cost.counts import FLOAT_BYTES
from inkstone.train.cost.disk import tokenizer_bytes
from inkstone.train.loop import Loop, LoopSettings


@dataclass(frozen=True)
class Amounts:
    """How much a run reads."""

    steps: int
    examples: int
    """Of a step; more than the step has where each is answered several times."""
    example_tokens: float
    """Tokens of an example, on average."""
    validation_tokens: float
    """Of one evaluation; 0 without validation."""
    once_tokens: float = 0.0
    """Read once before training, by a reference or a teacher."""
    data_bytes: float = 0.0
    """Memory of the encodings of all examples."""
    kept_bytes: float = 0.0
    """Disk of what is computed once: tokens of a corpus, what a reference or a teacher says."""
    start_seconds: float = 0.0
    """Until all examples are encoded."""
    other_models_bytes: float = 0.0
    """Weights of models beside the one that is trained: a teacher, a reference, a reward model."""
    drawn: int = 0
    """Completions that a step draws itself."""
    drawn_at_once: int = 0
    drawn_tokens: float = 0.0
    """Tokens of the longest prompt and completion."""
    steps_per_draw: int = 1
    replayed_share: float = 0.0
    """Share of other text in the tokens of a step."""

    @property
    def step_tokens(self) -> float:
        """Tokens of a step."""
        return self.examples * self.example_tokens / (1 - self.replayed_share)


@dataclass(frozen=True)
class Run:
    """A loop that is ready to measure with."""

    loop: Loop[Any]
    hungriest: Sequence[Any]
    """The examples of a micro-batch that needs as much memory as any."""
    once_seconds: float = 0.0
    """What was computed once, before training, for `once_tokens`."""
    once_tokens: int = 0


class Trial(ABC):
    """A stage's run in small. `config` may be replaced by variants of it.

    Attributes:
        config: of the stage.
        settings: what it leaves open, chosen.
        amounts: of the whole run.
        notes: what is known or assumed, for people.
        micro_batch_tokens: computed at a time.
        longest_tokens: of an example; no micro-batch is smaller.
        tokenizer: of the model.
    """

    config: LoopConfig
    settings: LoopSettings
    amounts: Amounts
    notes: dict[str, Any]
    micro_batch_tokens: int
    longest_tokens: int
    tokenizer: Tokenizer

    @abstractmethod
    def settings_of(self, config: Any) -> LoopSettings:
        """What a variant leaves open, chosen."""

    @abstractmethod
    def outline(self, config: Any) -> Model:
        """The model as it is trained under a variant, without values."""

    def saved_bytes(self, config: Any) -> int:
        """The model's folder: weights and tokenizer."""
        return FLOAT_BYTES * self.saved(config).num_parameters() + tokenizer_bytes(self.tokenizer)

    def saved(self, config: Any) -> Model:
        """The model as it is saved under a variant, without values."""
        return self.outline(config)

    @abstractmethod
    def base(self) -> Model:
        """The model before anything is done to it, without values."""

    @abstractmethod
    def load(self) -> Model:
        """The same, with values."""

    @abstractmethod
    def run(self, model: Model, config: Any, out: Path, num_tokens: float = 0.0) -> Run:
        """A loop for a model of `load` or `shallow`.

        Args:
            model: changed in place.
            config: a variant of the settings.
            out: an empty folder.
            num_tokens: of the examples it reads; at least those of a micro-batch.
        """


def shallow(model: Model, num_blocks: int) -> Model:
    """A model like another one, but of so many blocks (in each of its stacks), with initial weights."""
    config = model.config
    depths = {key: getattr(config, key) for key in DEPTH_KEYS if key in type(config).model_fields}
    changes: dict[str, Any] = {key: min(depth, num_blocks) for key, depth in depths.items()}
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, tuple) and len(value) in depths.values():
            changes[name] = value[:num_blocks]
    result = model_like(model, config.model_copy(update=changes))
    result.init_weights()
    return result


def one_step(settings: LoopSettings, size: int) -> LoopSettings:
    """The settings for steps of other sizes."""
    return replace(settings, batch_size=size)


def fullest(settings: LoopSettings, examples: Sequence[Any]) -> Sequence[Any]:
    """The micro-batch that has most tokens, of those of the longest examples."""
    longest = sorted(examples, key=lambda example: -example.length)[: max(settings.batch_size, 1)]
    return max(settings.split(longest), key=lambda part: sum(example.length for example in part))
