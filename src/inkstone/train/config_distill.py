"""Settings of the stage `distill`."""

from typing import Literal

from pydantic import Field, model_validator

from inkstone.train.config_teach import TeachConfig

DivergenceName = Literal["forward_kl", "reverse_kl", "jensen_shannon"]


class DistillConfig(TeachConfig):
    """Teach a model to answer as a larger one does."""

    temperature: float = Field(default=1.0, gt=0)
    """Logits of teacher and student are divided by it, and the divergence is multiplied by its square, so that
    `hard_weight` means the same at every temperature."""
    divergence: DivergenceName = "forward_kl"
    """How far the student is from the teacher: forward_kl covers all that the teacher finds likely, reverse_kl keeps
    to what it finds likeliest, jensen_shannon lies between."""
    interpolation: float = Field(default=0.5, gt=0, lt=1)
    """Share of the teacher in the mixture that jensen_shannon compares both with (β of GKD); small values are like
    forward_kl, large ones like reverse_kl."""
    hard_weight: float = Field(default=0.5, ge=0, le=1)
    """Weight of the loss on the labels of the data; that of the divergence is 1 minus this."""
    top_k: int | None = Field(default=None, gt=0)
    """Language models: compute so many of the teacher's likeliest tokens once and keep them on disk (8 bytes each);
    all others count as one. Without it the teacher reads every batch."""
    on_policy: float = Field(default=0.0, ge=0, le=1)
    """Decoders: share of the examples whose answer the student writes itself, for the teacher to judge (GKD)."""
    max_new_tokens: int = Field(default=256, gt=0)
    """Longest answer that the student writes with `on_policy`."""

    @model_validator(mode="after")
    def _check_teacher(self) -> "DistillConfig":
        if self.on_policy and self.top_k is not None:
            raise ValueError("top_k is computed before training, on_policy answers come later: leave one of them out")
        return self
