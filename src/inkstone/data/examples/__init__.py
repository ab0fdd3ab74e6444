"""Supervised examples: what a model is taught from, whatever the file they come in."""
