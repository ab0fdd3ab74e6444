"""The stage `initialize`: a model with initial weights, so that everything can be taught from scratch."""

from collections.abc import Mapping
from pathlib import Path

from inkstone.checkpoint import save_checkpoint
from inkstone.core.stage import Summary, stage
from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.pairs import with_separated_pairs
from inkstone.train.config import NewModelConfig
from inkstone.train.cost.new_model import outline_new_model, plan_new_model
from inkstone.train.learning import build_model, equip


class InitializeConfig(NewModelConfig):
    """Settings of the stage `initialize`."""


@stage("initialize", inputs=("tokenizer",), plan=plan_new_model, outline=outline_new_model)
def initialize(config: InitializeConfig, inputs: Mapping[str, Path], out: Path) -> Summary:
    """Make a model with initial weights for a tokenizer."""
    tokenizer = equip(Tokenizer.load(inputs["tokenizer"]), config)
    if config.architecture.learning == "masked_tokens":
        tokenizer = with_separated_pairs(tokenizer)
    model = build_model(config, tokenizer)
    save_checkpoint(out, model, tokenizer, training={"steps": 0, "seed": config.seed})
    return {
        "parameters": model.num_parameters(),
        "vocabulary": tokenizer.vocab_size,
        "context_length": config.context_length,
    }
