"""Rotary frequencies for contexts longer than those first trained on; keys are Hugging Face's (`rope_scaling`)."""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from inkstone.core.config import Config


def rope_frequencies(rotary_dim: int, theta: float) -> Tensor:
    """`theta^(-2i/D)` for the D/2 component pairs, float32 (Su et al. 2021, arXiv:2104.09864, eq. 15)."""
    exponents = torch.arange(0, rotary_dim, 2, dtype=torch.float32, device="cpu") / rotary_dim
    return 1.0 / theta**exponents


class LinearScaling(Config):
    """Position interpolation: every angle is divided by `factor` (Chen et al. 2023, arXiv:2306.15595, eq. 4)."""

    rope_type: Literal["linear"] = "linear"
    factor: float = Field(ge=1)

    def frequencies(self, rotary_dim: int, theta: float) -> Tensor:
        """(D/2,)."""
        return rope_frequencies(rotary_dim, theta) / self.factor

    def amplitude(self, max_positions: int) -> float:
        """What cosines and sines are multiplied with."""
        return 1.0


class DynamicScaling(Config):
    """Frequencies that change only beyond `max_position_embeddings`, which is our context: here they are plain."""

    rope_type: Literal["dynamic"] = "dynamic"
    factor: float = Field(ge=1)

    def frequencies(self, rotary_dim: int, theta: float) -> Tensor:
        """(D/2,)."""
        return rope_frequencies(rotary_dim, theta)

    def amplitude(self, max_positions: int) -> float:
        """What cosines and sines are multiplied with."""
        return 1.0


class Llama3Scaling(Config):
    """Slow rotations are divided by `factor`, fast ones kept, those between blended (Llama 3.1).

    As in `apply_scaling` of Meta's reference implementation (github.com/meta-llama/llama-models, llama3/model.py).
    """

    rope_type: Literal["llama3"] = "llama3"
    factor: float = Field(ge=1)
    low_freq_factor: float = Field(gt=0)
    """Turns within the original context below which a rotation is slow."""
    high_freq_factor: float = Field(gt=0)
    """Turns within the original context above which a rotation is fast."""
    original_max_position_embeddings: int = Field(gt=0)

    @model_validator(mode="after")
    def _check_order(self) -> "Llama3Scaling":
        if self.high_freq_factor <= self.low_freq_factor:
            raise ValueError(
                f"high_freq_factor {self.high_freq_factor} must be greater than low_freq_factor {self.low_freq_factor}"
            )
        return self

    def frequencies(self, rotary_dim: int, theta: float) -> Tensor:
        """(D/2,)."""
        plain = rope_frequencies(rotary_dim, theta)
        turns = self.original_max_position_embeddings * plain / (2 * math.pi)
        kept = (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
        kept = kept.clamp(0, 1)
        return (1 - kept) * plain / self.factor + kept * plain

    def amplitude(self, max_positions: int) -> float:
        """What cosines and sines are multiplied with."""
        return 1.0


class YarnScaling(Config):
    """YaRN: interpolation by parts, and larger cosines and sines (Peng et al. 2023, arXiv:2309.00071, section 3)."""

    rope_type: Literal["yarn"] = "yarn"
    factor: float = Field(ge=1)
    original_max_position_embeddings: int = Field(gt=0)
    beta_fast: float = Field(default=32.0, gt=0)
    """Turns within the original context above which a rotation is kept."""
    beta_slow: float = Field(default=1.0, gt=0)
    """Turns within the original context below which a rotation is divided by `factor`."""
    attention_factor: float | None = Field(default=None, gt=0)
    mscale: float | None = Field(default=None, gt=0)
    mscale_all_dim: float | None = Field(default=None, gt=0)
    truncate: bool = True
    """Round the borders of the blended parts to whole components."""

    def frequencies(self, rotary_dim: int, theta: float) -> Tensor:
        """(D/2,)."""
        plain = rope_frequencies(rotary_dim, theta)
        low, high = self._blended_part(rotary_dim, theta)
        pairs = torch.arange(rotary_dim // 2, dtype=torch.float32, device="cpu")
        divided = ((pairs - low) / (high - low)).clamp(0, 1)
        return plain / self.factor * divided + plain * (1 - divided)

    def _blended_part(self, rotary_dim: int, theta: float) -> tuple[float, float]:
        """The component pairs, first and last, that turn `beta_fast` and `beta_slow` times."""

        def pair_that_turns(times: float) -> float:
            wavelength = self.original_max_position_embeddings / (2 * math.pi * times)
            return rotary_dim * math.log(wavelength) / (2 * math.log(theta))

        low, high = pair_that_turns(self.beta_fast), pair_that_turns(self.beta_slow)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, rotary_dim - 1)
        return low, high if high != low else low + 0.001

    def amplitude(self, max_positions: int) -> float:
        """What cosines and sines are multiplied with: by default 0.1·ln(factor) + 1 (eq. 22)."""
        if self.attention_factor is not None:
            return self.attention_factor
        if self.mscale and self.mscale_all_dim:
            return self._temperature(self.mscale) / self._temperature(self.mscale_all_dim)
        return self._temperature(1.0)

    def _temperature(self, weight: float) -> float:
        return 0.1 * weight * math.log(self.factor) + 1.0


class LongRopeScaling(Config):
    """LongRoPE: a factor for every component pair (Ding et al. 2024, arXiv:2402.13753, section 3).

    Beyond `original_max_position_embeddings` tokens such models change to other factors for all positions at once,
    those already cached included. Here the original context is the context, and `long_factor` is only kept.
    """

    rope_type: Literal["longrope"] = "longrope"
    short_factor: tuple[float, ...]
    long_factor: tuple[float, ...]
    original_max_position_embeddings: int = Field(gt=1)
    factor: float | None = Field(default=None, ge=1)
    attention_factor: float | None = Field(default=None, gt=0)

    def frequencies(self, rotary_dim: int, theta: float) -> Tensor:
        """(D/2,)."""
        exponents = torch.arange(0, rotary_dim, 2, dtype=torch.float32, device="cpu") / rotary_dim
        return 1.0 / (torch.tensor(self.short_factor, dtype=torch.float32, device="cpu") * theta**exponents)

    def amplitude(self, max_positions: int) -> float:
        """What cosines and sines are multiplied with."""
        if self.attention_factor is not None:
            return self.attention_factor
        factor = self.factor or max_positions / self.original_max_position_embeddings
        if factor <= 1:
            return 1.0
        return math.sqrt(1 + math.log(factor) / math.log(self.original_max_position_embeddings))


RopeScaling = Annotated[
    LinearScaling | DynamicScaling | Llama3Scaling | YarnScaling | LongRopeScaling, Field(discriminator="rope_type")
]
