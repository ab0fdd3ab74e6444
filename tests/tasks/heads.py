"""Tiny models with a head, in a folder, and texts of several lengths."""

from pathlib import Path

import torch

import inkstone
from inkstone.checkpoint import save_checkpoint
from inkstone.checkpoint.heads import with_head
from inkstone.nn.heads import HeadConfig
from inkstone.nn.models.bert import BertModel
from inkstone.tokenizer.pairs import with_separated_pairs
from inkstone.tokenizer.train_subwords import train_word_pieces
from tests.tiny_models import TEXTS, randomized, tiny_bert_config, tiny_model, tiny_tokenizer

SHORT = ("墨", "a stone", "the ink is black", "x", "磨墨者先注水,然後慢慢研磨。", "wet ink")
KINDS = ("encoder", "decoder")


def headed(folder: Path, kind: str, head: HeadConfig) -> inkstone.LanguageModel:
    """A saved and loaded model of random weights."""
    if kind == "encoder":
        tokenizer = train_word_pieces([*TEXTS, *SHORT] * 3, 300)
        model = with_head(BertModel(tiny_bert_config(tokenizer.vocab_size)), head)
    else:
        tokenizer = with_separated_pairs(tiny_tokenizer())
        model = with_head(tiny_model(), head)
    randomized(model, 3, spread=0.3)
    with torch.no_grad():
        model.output_layer.weight.mul_(3)  # type: ignore[operator, union-attr]
    save_checkpoint(folder, model, tokenizer)
    return inkstone.load(folder, device="cpu")
