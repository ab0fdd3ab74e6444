"""What `finetune`, `align` and `distill` have in common."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from inkstone.core.config import Config
from inkstone.data.examples.config import ExamplesConfig
from inkstone.nn.adapter_config import LoRAConfig
from inkstone.train.config import LoopConfig
from inkstone.train.optim import OptimizerConfig
from inkstone.train.schedule import ScheduleConfig


class FreezeConfig(Config):
    """What is left as it was."""

    blocks: int = Field(default=0, ge=0)
    """So many blocks, from the input on, and the embedding."""
    names: tuple[str, ...] = ()
    """Parameters whose names contain one of these regular expressions."""


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
    packing: bool = True
    """Put several short examples into one row (decoders); changes speed only."""
    padding_side: Literal["right", "left"] = "right"
    """Where shorter rows are filled; changes nothing but the layout."""
    mixture: Mapping[str, float] = Field(default_factory=dict)
    """How often examples of a source are drawn, for each `source` in the data; 1 where it is not named."""
    curriculum: bool = False
    """Short examples first, in the first epoch."""
    lora: LoRAConfig | None = None
    """Train an adapter instead of the model; the output is an adapter folder (see `merge`)."""
    freeze: FreezeConfig = FreezeConfig()
    """What is not trained."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Learning rate of a block as a multiple of the next one's: lower near the input."""
    quantize_base: Literal["int8", "int4"] | None = None
    """Keep the frozen weights quantized (with `lora`)."""
    neftune_alpha: float = Field(default=0.0, ge=0)
    """Noise on the embeddings while training (Jain et al. 2023, arXiv:2310.05914); 5 is usual."""
