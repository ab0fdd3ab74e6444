"""Tiny causal models whose likelihoods can be worked out by hand, and a tokenizer for them."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.train import train_bytes_bpe


class Bigram(nn.Module):
    """The next token depends on the last one alone: any window of two tokens gives the whole truth."""

    def __init__(self, vocab_size: int, max_position_embeddings: int = 16) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.table = nn.Parameter(torch.randn(vocab_size, vocab_size, generator=generator))
        self.config = SimpleNamespace(vocab_size=vocab_size, max_position_embeddings=max_position_embeddings)
        self.widest = 0
        self.calls = 0

    def forward(self, input_ids: Tensor) -> Tensor:
        self.widest = max(self.widest, input_ids.shape[1])
        self.calls += 1
        return self.table[input_ids]


class Mean(Bigram):
    """The next token depends on all tokens in the window: shows what context each prediction had."""

    def forward(self, input_ids: Tensor) -> Tensor:
        super().forward(input_ids)
        steps = torch.arange(1, input_ids.shape[1] + 1)
        return self.table[input_ids].cumsum(dim=1) / steps[None, :, None]


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return train_bytes_bpe(["An inkstone is where a stick of ink is ground. 砚台是磨墨的石器。\n" * 3], 300)
