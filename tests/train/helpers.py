"""A tiny training run in this process."""

from pathlib import Path
from typing import Any

import torch

from inkstone.data.corpus import Corpus
from inkstone.data.packing import PackedSequence, PackedSequences
from inkstone.data.tokens import tokenize
from inkstone.nn.models.llama import LlamaForCausalLM
from inkstone.tokenizer import Tokenizer
from inkstone.train.config import PretrainConfig
from inkstone.train.loop import Loop, pretrain_settings
from inkstone.train.objectives.pretrain import Pretrain

TINY: dict[str, Any] = {
    "depth": 2,
    "model": {"hidden_size": 32, "num_attention_heads": 2},
    "context_length": 32,
    "batch_size": 8,
    "steps": 6,
    "compile": False,
    "dtype": "float32",
    "log_every": 1,
}


def tiny_model(config: PretrainConfig, tokenizer: Tokenizer) -> LlamaForCausalLM:
    """The model of `config` with weights drawn from its seed."""
    model = LlamaForCausalLM(config.shape(tokenizer.vocab_size))
    model.init_weights(torch.Generator().manual_seed(config.seed))
    return model


def tiny_loop(corpus: Path, tokenizer: Tokenizer, out: Path, **changes: Any) -> Loop[PackedSequence]:
    """A loop over the training split, without evaluation."""
    config = PretrainConfig(**TINY | changes)
    store = tokenize(Corpus(corpus).texts("train"), tokenizer, out / "tokens")
    settings = pretrain_settings(config)
    examples = PackedSequences(store, config.context_length, config.seed)
    return Loop(tiny_model(config, tokenizer), Pretrain(), examples, settings, out, None)
