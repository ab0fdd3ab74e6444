"""What `finetune`, `align` and `distill` have in common."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from inkstone.core.config import Config
from inkstone.data.examples.config import ExamplesConfig
from inkstone.nn.adapter_config import LoRAConfig
from inkstone.train.config import LoopConfig, most_tokens
from inkstone.train.optim import OptimizerConfig
from inkstone.train.schedule import ScheduleConfig


class FreezeConfig(Config):
    """What is left as it was."""

    blocks: int = Field(default=0, ge=0)
    """So many blocks, from the input on, and the embedding (with a tied output layer)."""
    names: tuple[str, ...] = ()
    """Parameters in whose names one of these regular expressions is found."""

    @field_validator("names")
    @classmethod
    def _check_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            try:
                re.compile(name)
            except (re.error, OverflowError, RecursionError) as error:
                raise ValueError(f"{name!r} is no regular expression: {error}") from None
        return names


class TeachConfig(LoopConfig):
    """Settings of every stage that teaches a model by examples."""

    examples: ExamplesConfig = ExamplesConfig()
    """How the files of examples are read."""
    epochs: float = Field(default=3.0, gt=0)
    """Passes over the examples, unless `steps` is given."""
    steps: int | None = Field(default=None, gt=0)
    """Optimizer steps."""
    batch_size: int = Field(default=32, gt=0)
    """Examples of a step."""
    micro_batch_tokens: int | None = Field(default=None, gt=0)
    """Tokens computed at a time, by default 2,048 on a CPU, 32,768 elsewhere; changes memory and speed only."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """Highest learning rate."""
    optimizer: OptimizerConfig = OptimizerConfig(name="adamw", weight_decay=0.01)
    """How gradients become updates."""
    schedule: ScheduleConfig = ScheduleConfig(name="cosine", warmup=0.05)
    """How the learning rate moves."""
    max_length: int | None = Field(default=None, gt=1)
    """Tokens of an example; by default the model's context."""
    truncate: bool = False
    """Cut examples that are longer, and say how many; without it they are an error."""
    compile: bool = False
    """Compile blocks that no kernel of this package computes. Examples have many lengths, each compiled anew: only for
    long runs on few of them."""
    packing: bool = True
    """Put several short examples into one row (decoders); changes speed only."""
    padding_side: Literal["right", "left"] = "right"
    """Where shorter rows are filled; changes nothing but the layout."""
    mixture: Mapping[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """How often in an epoch examples are drawn: their `dataset` (a column of the data) → times (0.5: every second one,
    0: none); 1 where it is not named."""
    curriculum: bool = False
    """Short examples first, in the first epoch."""
    lora: LoRAConfig | None = None
    """Train an adapter instead of the model; the output is an adapter folder (see `merge`), or the whole model where
    it got a new head."""
    freeze: FreezeConfig = FreezeConfig()
    """What is not trained."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Learning rate of a block as a multiple of the next one's: lower near the input, 1 after the last block."""
    quantize_base: Literal["int8", "int4"] | None = None
    """Keep the frozen matrices of the blocks in 8 or 4 bits a weight (with `lora`): less memory, and slower."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """In the blocks, for families that have it (bert, modernbert, t5, marian, lstm); by default as the model's config
    says. Against learning few examples by heart."""
    neftune_alpha: float = Field(default=0.0, ge=0)
    """Noise on the embeddings while training (Jain et al. 2023, arXiv:2310.05914); 5 is usual."""
    replay_share: float | None = Field(default=None, ge=0, lt=1)
    """Share of general text (the input `replay`) in the tokens and in the loss of every step, against forgetting; by
    default 0.1 where there is such text. 0: only measure how much is forgotten."""

    def chosen_micro_batch_tokens(self, device_type: str) -> int:
        """Tokens computed at a time."""
        return self.micro_batch_tokens or most_tokens(device_type)

    @model_validator(mode="after")
    def _check_switches(self) -> Self:
        if self.quantize_base is not None and self.lora is None:
            raise ValueError("quantize_base: quantized weights cannot be trained; train an adapter on them: set lora")
        if self.lora is not None and self.freeze != FreezeConfig():
            raise ValueError(
                "freeze: with lora all weights of the model are frozen; choose the adapted layers with "
                "lora.target_modules, exclude_modules or layers_to_transform"
            )
        return self
