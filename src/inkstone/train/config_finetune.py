"""Settings of the stage `finetune`."""

from pydantic import Field

from inkstone.data.noise import NoiseConfig
from inkstone.train.config_teach import TeachConfig
from inkstone.train.objectives.head_config import HeadTeaching


class FinetuneConfig(TeachConfig):
    """Teach a model a job by examples of it."""

    method: str = "auto"
    """What is learned: chat (what the assistant says), text, pairs (write the target of a source), classify, regress,
    tokens, span or reward; auto: what the format of the examples and the model suggest."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the probability that a target gives up to all others alike: a token's of pairs, a class's of classify
    and tokens."""
    noise: NoiseConfig = NoiseConfig()
    """What models that learn from text by restoring it have to restore (text)."""
    head: HeadTeaching = HeadTeaching()
    """What classify, regress, tokens, span and reward put on the model."""
