"""Settings of training, and of pretraining."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from inkstone.core.config import Config, suggestion
from inkstone.core.errors import ConfigError
from inkstone.core.registry import names
from inkstone.data.noise import NoiseConfig
from inkstone.nn.architectures import ARCHITECTURES, Arch, Architecture
from inkstone.nn.models.base import ModelConfig
from inkstone.nn.sizing import Sizes
from inkstone.train.optim import OptimizerConfig
from inkstone.train.schedule import ScheduleConfig


class ShapeConfig(Config):
    """What to train, and sizes that `depth` would choose otherwise; names and meanings are Hugging Face's."""

    arch: Arch = "llama"
    """Decoders learn the next token, encoders hidden tokens, t5 and marian to write back spans that were cut out."""
    hidden_size: int | None = Field(default=None, gt=0)
    num_hidden_layers: int | None = Field(default=None, gt=0)
    """Of the encoder and of the decoder, where there are two."""
    num_attention_heads: int | None = Field(default=None, gt=0)
    num_key_value_heads: int | None = Field(default=None, gt=0)
    intermediate_size: int | None = Field(default=None, gt=0)
    head_dim: int | None = Field(default=None, gt=0)
    embedding_size: int | None = Field(default=None, gt=0)
    """Width of lstm's embedding."""
    num_experts: int | None = Field(default=None, gt=0)
    """Of every block of mixtral."""
    num_experts_per_tok: int | None = Field(default=None, gt=0)
    router_aux_loss_coef: float | None = Field(default=None, ge=0)
    """Weight of the loss that keeps mixtral's experts equally busy."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    rope_theta: float | None = Field(default=None, gt=0)
    attention_bias: bool | None = None
    qk_norm: bool | None = None
    """Normalize llama's queries and keys; the model is saved as a qwen3 then."""
    tie_word_embeddings: bool | None = None

    def chosen(self) -> dict[str, Any]:
        """The sizes that are set."""
        return self.model_dump(exclude={"arch"}, exclude_none=True)


class NewModelConfig(Config):
    """A model that is made from scratch."""

    depth: int = Field(default=4, gt=0)
    """The one dial: blocks of the model. Width and attention heads follow from it, in pretraining the learning rate and
    the batch, too."""
    model: ShapeConfig = ShapeConfig()
    """The architecture, and sizes chosen by hand instead of by depth."""
    noise: NoiseConfig = NoiseConfig()
    """What encoders, t5 and marian have to restore."""
    context_length: int = Field(default=256, gt=1)
    """Tokens the model sees at once."""
    seed: int = 0
    """Of initial weights."""

    @model_validator(mode="after")
    def _check_shape(self) -> Self:
        try:
            self.shape(vocab_size=_ANY_VOCABULARY, token_ids={"decoder_start_token_id": 0})
        except ConfigError as error:
            remedy = f"; {error.remedy}" if error.remedy else ""
            raise ValueError(f"{error.cause}{remedy}") from None
        return self

    @property
    def architecture(self) -> Architecture:
        """What `model.arch` names."""
        return ARCHITECTURES[self.model.arch]

    def sizes(self) -> Sizes:
        """Those of `depth`, with what `model` sets.

        Raises:
            ConfigError: a size that the architecture does not have, or sizes that do not fit together.
        """
        return self.architecture.sizes(self.model.arch, self.depth, self.model.chosen())

    def shape(self, vocab_size: int, token_ids: Mapping[str, int | None] | None = None) -> ModelConfig:
        """The model's config.

        Args:
            vocab_size: of the tokenizer.
            token_ids: special tokens by their names in config.json, for the families that need to know them.

        Raises:
            ConfigError: a size that the architecture does not have, or sizes that do not fit together.
        """
        return self.architecture.config_of(self.sizes(), vocab_size, self.context_length, token_ids or {})


class LoopConfig(Config):
    """How a model is trained, whatever the objective."""

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
    keep_every: int | None = Field(default=None, gt=0)
    """Keep the weights of every so many steps, in checkpoints/step-…; each takes the disk space of a model."""
    keep: Literal["best", "last", "average"] = "best"
    """Which weights become the model: those with the lowest validation loss, the last, or the mean of
    `average_last` kept ones."""
    average_last: int | None = Field(default=None, gt=1)
    """How many of the weights that `keep_every` kept, the latest, `keep: average` takes the mean of; by default 5."""
    ema: float = Field(default=0.0, ge=0, lt=1)
    """Decay of a moving average of the weights, such as 0.999, which is evaluated and saved instead; 0: none."""
    gradient_checkpointing: bool = False
    """Compute each block again in the backward pass: less memory, a third more time."""
    sample_tokens: int = Field(default=32, ge=0)
    """Tokens that the model writes at each evaluation, for people to read (samples.jsonl); 0: none. Methods that learn
    from completions show those instead."""
    trackers: tuple[str, ...] = ()
    """Programs that follow the run beside TensorBoard: mlflow, wandb, or a plug-in."""
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

    @field_validator("trackers")
    @classmethod
    def _check_trackers(cls, trackers: tuple[str, ...]) -> tuple[str, ...]:
        known = names("trackers")
        for name in trackers:
            if name not in known:
                raise ValueError(f"no tracker is called {name!r}; {suggestion(name, known)}")
        return trackers

    @model_validator(mode="after")
    def _check_kept(self) -> Self:
        if self.keep == "average" and self.keep_every is None:
            raise ValueError("keep: average takes the mean of kept weights; set keep_every, too")
        if self.average_last is not None and self.keep != "average":
            raise ValueError("average_last says what keep: average takes the mean of; set keep to average, too")
        return self


class PretrainConfig(LoopConfig, NewModelConfig):
    """Settings of the stage `pretrain`."""

    steps: int = Field(default=1000, gt=0)
    """Optimizer steps."""
    batch_size: int | None = Field(default=None, gt=0)
    """Sequences of a step; by default chosen from depth."""
    micro_batch_size: int | None = Field(default=None, gt=0)
    """Sequences computed at a time; a divisor of batch_size, by default 2,048 tokens on a CPU, 32,768 elsewhere."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Highest learning rate; by default chosen from depth and optimizer."""

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
            most = max(1, most_tokens(device_type) // self.context_length)
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


def most_tokens(device_type: str) -> int:
    """Tokens computed at a time unless a recipe says otherwise."""
    return _CPU_TOKENS if device_type == "cpu" else _GPU_TOKENS


_ANY_VOCABULARY = 8
_CPU_TOKENS, _GPU_TOKENS = 2_048, 32_768
_LEARNING_RATE_AT_4 = {"muon": 6e-3, "adamw": 3e-3, "sgd": 0.3}
