"""Settings of a pretraining run."""

from typing import Literal

from pydantic import Field

from inkstone.core.config import Config
from inkstone.core.errors import ConfigError
from inkstone.nn.models.llama import LlamaConfig
from inkstone.nn.sizing import feed_forward_size, llama_of_depth
from inkstone.train.optim import OptimizerConfig
from inkstone.train.schedule import ScheduleConfig


class ShapeConfig(Config):
    """Sizes that `depth` would choose otherwise; names and meanings are Hugging Face's."""

    arch: Literal["llama"] = "llama"
    hidden_size: int | None = Field(default=None, gt=0)
    num_hidden_layers: int | None = Field(default=None, gt=0)
    num_attention_heads: int | None = Field(default=None, gt=0)
    num_key_value_heads: int | None = Field(default=None, gt=0)
    intermediate_size: int | None = Field(default=None, gt=0)
    head_dim: int | None = Field(default=None, gt=0)
    rope_theta: float | None = Field(default=None, gt=0)
    attention_bias: bool = False
    qk_norm: bool = False
    tie_word_embeddings: bool = True


class LoopConfig(Config):
    """How a model is trained, whatever the objective."""

    steps: int = Field(default=1000, gt=0)
    """Optimizer steps."""
    batch_size: int | None = Field(default=None, gt=0)
    """Sequences of a step; by default chosen from depth."""
    micro_batch_size: int | None = Field(default=None, gt=0)
    """Sequences computed at a time; a divisor of batch_size, by default 2,048 tokens on a CPU, 32,768 elsewhere."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Highest learning rate; by default chosen from depth and optimizer."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """How gradients become updates."""
    schedule: ScheduleConfig = ScheduleConfig()
    """How the learning rate moves."""
    eval_every: int | None = Field(default=None, gt=0)
    """Steps between evaluations; by default 10 in a run."""
    eval_tokens: int = Field(default=65_536, gt=0)
    """Tokens of validation text read by each evaluation."""
    patience: int | None = Field(default=None, gt=0)
    """Stop after so many evaluations without a better validation loss."""
    checkpoint_every: int | None = Field(default=None, gt=0)
    """Steps between training checkpoints; by default 10 in a run."""
    log_every: int = Field(default=10, gt=0)
    """Steps between lines of metrics.jsonl."""
    keep: Literal["best", "last"] = "best"
    """Which weights become the model: those with the lowest validation loss, or the last."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    dtype: str = "auto"
    """Format of matrix products: auto (bfloat16 where the machine has matrix units for it), float32 or bfloat16."""
    fused: bool = True
    """Compute the blocks by this package's own kernels where they apply: Llama in float32 on a CPU."""
    compile: bool = True
    """Compile other blocks where a compiler is installed."""
    seed: int = 0
    """Of initial weights and of the order of the sequences."""


class PretrainConfig(LoopConfig):
    """Settings of the stage `pretrain`."""

    depth: int = Field(default=4, gt=0)
    """The one dial: blocks of the model. Width, attention heads, learning rate and batch follow from it."""
    model: ShapeConfig = ShapeConfig()
    """Sizes chosen by hand instead of by depth."""
    context_length: int = Field(default=256, gt=1)
    """Tokens the model sees at once."""

    def shape(self, vocab_size: int) -> LlamaConfig:
        """The model's config: that of `depth`, with what `model` sets.

        Raises:
            ConfigError: the sizes do not fit together.
        """
        chosen = {key: value for key, value in self.model.model_dump(exclude={"arch"}).items() if value is not None}
        depth = chosen.get("num_hidden_layers", self.depth)
        base = llama_of_depth(depth, vocab_size, self.context_length).model_dump()
        if "hidden_size" in chosen:
            base |= _shape_of_width(chosen["hidden_size"], chosen.get("num_attention_heads"))
        if "num_attention_heads" in chosen:
            base["num_key_value_heads"] = chosen["num_attention_heads"]
        try:
            return LlamaConfig(**base | chosen)
        except ValueError as error:
            raise ConfigError(str(error), where="model", remedy="set sizes that divide each other") from None

    def chosen_batch_size(self) -> int:
        """Sequences of a step: 2,048 tokens for each block unless set."""
        return self.batch_size or max(1, 2048 * self.depth // self.context_length)

    def chosen_micro_batch_size(self, device_type: str) -> int:
        """Sequences computed at a time: the largest divisor of the batch that stays under a number of tokens.

        Raises:
            ConfigError: `micro_batch_size` does not divide the batch.
        """
        batch_size = self.chosen_batch_size()
        if self.micro_batch_size is None:
            most = max(1, (_CPU_TOKENS if device_type == "cpu" else _GPU_TOKENS) // self.context_length)
            return max(size for size in range(1, min(batch_size, most) + 1) if batch_size % size == 0)
        if batch_size % self.micro_batch_size:
            raise ConfigError(
                f"micro_batch_size {self.micro_batch_size} does not divide batch_size {batch_size}",
                where="micro_batch_size",
                remedy="choose a divisor",
            )
        return self.micro_batch_size

    def chosen_learning_rate(self) -> float:
        """The highest learning rate: falls with the square root of depth, unless set."""
        return self.learning_rate or _LEARNING_RATE_AT_4[self.optimizer.name] * (4 / self.depth) ** 0.5


_CPU_TOKENS, _GPU_TOKENS = 2_048, 32_768
_LEARNING_RATE_AT_4 = {"muon": 6e-3, "adamw": 3e-3, "sgd": 0.3}


def _shape_of_width(hidden_size: int, num_attention_heads: int | None) -> dict[str, int]:
    heads = num_attention_heads or max(1, hidden_size // 64)
    if hidden_size % heads:
        raise ConfigError(
            f"hidden_size {hidden_size} is not a multiple of num_attention_heads {heads}",
            where="model",
            remedy="choose sizes that divide each other",
        )
    return {
        "hidden_size": hidden_size,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "head_dim": hidden_size // heads,
        "intermediate_size": feed_forward_size(hidden_size),
    }
