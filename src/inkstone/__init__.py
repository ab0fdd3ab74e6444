"""Inkstone: from raw text to a language model, on the machine you have."""

__version__ = "0.1.0"
