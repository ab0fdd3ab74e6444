"""Settings of the stage `distill`."""

from pydantic import Field

from inkstone.train.config_teach import TeachConfig


class DistillConfig(TeachConfig):
    """Teach a model to answer as a larger one does."""

    temperature: float = Field(default=1.0, gt=0)
    """Logits of teacher and student are divided by it."""
