"""Tiny random models and a tiny tokenizer, made in milliseconds."""

from typing import TypeVar

import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from inkstone.nn.models.bert import BertConfig
from inkstone.nn.models.llama import LlamaConfig, LlamaForCausalLM
from inkstone.tokenizer import Tokenizer

TEXTS = (
    "def add(first, second):\n    return first + second\n",
    "The stone is wet; the ink is black, and the brush begins to write.\n",
    "磨墨者先注水,然後慢慢研磨。筆走龍蛇,墨分五色。\n",
    "Größe, naïve, señor 😀 🖋️ ✍🏽",
)
SHAPES = {
    "multi-head": {},
    "grouped-query": {"num_key_value_heads": 2},
    "multi-query, wide heads": {"num_key_value_heads": 1, "head_dim": 16},
    "qk_norm": {"num_key_value_heads": 2, "model_type": "qwen3"},
    "attention bias": {"attention_bias": True},
    "qk_norm and bias, untied": {"model_type": "qwen3", "attention_bias": True, "tie_word_embeddings": False},
    "untied": {"tie_word_embeddings": False},
    "theta and eps": {"rope_theta": 500_000.0, "rms_norm_eps": 1e-3},
}


def tiny_tokenizer(vocab_size: int = 320) -> Tokenizer:
    """Byte-level BPE trained on a few lines, special tokens first, bos added by the post-processor."""
    special = ["<|bos|>", "<|eos|>", "<|pad|>", "<|im_start|>", "<|im_end|>"]
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(TEXTS * 3, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="<|bos|> $A", pair="<|bos|> $A $B", special_tokens=[("<|bos|>", 0)]
    )
    return Tokenizer.from_tokenizers(backend, bos="<|bos|>", eos="<|eos|>", pad="<|pad|>")


def tiny_config(**changes: object) -> LlamaConfig:
    """Two layers, width 32, vocabulary 320, context 64."""
    shape: dict[str, object] = {
        "vocab_size": 320,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "intermediate_size": 80,
        "head_dim": 8,
        "max_position_embeddings": 64,
    }
    return LlamaConfig.model_validate(shape | changes)


def tiny_bert_config(vocab_size: int, **changes: object) -> BertConfig:
    """Two layers, width 32, context 48."""
    shape: dict[str, object] = {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 48,
    }
    return BertConfig.model_validate(shape | changes)


def tiny_model(seed: int = 0, **changes: object) -> LlamaForCausalLM:
    """A random model with logits far from uniform, every parameter (norms and biases too) random."""
    return randomized(LlamaForCausalLM(tiny_config(**changes)), seed).eval()


M = TypeVar("M", bound=torch.nn.Module)


def randomized(model: M, seed: int = 0, spread: float = 0.3) -> M:
    """The same model with every parameter random: those of norms around 1, all others around 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if "norm" in name.lower() else 0.0, spread, generator=generator)
    return model
