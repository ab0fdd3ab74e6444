"""Baselines: what a skeptic would try before a model."""
