"""Layers, models and generation: everything that computes logits (floor 1)."""
