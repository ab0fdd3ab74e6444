"""Settings of the stage `benchmark`."""

from typing import Literal

from pydantic import Field

from inkstone.core.config import Config
from inkstone.data.examples.config import ExamplesConfig


class BenchmarkConfig(Config):
    """What to measure, and how the model answers."""

    examples: ExamplesConfig = ExamplesConfig()
    """How the files of examples are read."""
    task: str = "auto"
    """classify, regress, extract, answer, translate (summaries too), chat, prefer or solve; auto: the one that the
    model and the format of the examples are for."""
    split: Literal["auto", "test", "valid", "train", "all"] = "auto"
    """Examples to measure on; auto: test where there are such, else valid. all: every one, for data that nothing was
    trained on."""
    metrics: tuple[str, ...] = ("auto",)
    """The main one first; auto: those of the task."""
    baselines: tuple[str, ...] = ("auto",)
    """What to compare with; auto: those of the task, none: none. Those that learn do so from the train split."""
    limit: int | None = Field(default=None, gt=0)
    """Measure on so many examples, drawn with the seed; by default on all."""
    max_new_tokens: int | None = Field(default=None, gt=0)
    """Longest answer, in tokens; by default 256, or what came with a model that translates."""
    num_beams: int | None = Field(default=None, gt=0)
    """Beams of translations; 1 is greedy, by default what came with the model."""
    num_samples: int = Field(default=4, ge=0)
    """Answers drawn to each problem, beside the likeliest one."""
    temperature: float = Field(default=1.0, gt=0)
    """Of drawing them."""
    reward: str = "math"
    """What says whether an answer to a problem is right."""
    batch_size: int = Field(default=64, gt=0)
    """Answers to problems that are written at a time; changes memory and speed only."""
    truncate: bool = False
    """Cut texts that are too long for the model, and say how many; without it they are an error."""
    num_bootstrap: int = Field(default=1000, ge=100)
    """Resamples of the examples, from which the intervals are."""
    device: str = "auto"
    """cpu, cuda, mps …"""
    dtype: str = "auto"
    """float32, bfloat16 …; auto: as saved."""
    seed: int = Field(default=0, ge=0)
    """Of the bootstrap, of what is drawn, and of `limit`."""
