"""Text to token ids and back: training, loading, chat templates, reports."""

from inkstone.tokenizer.tokenizer import Tokenizer

__all__ = ["Tokenizer"]
