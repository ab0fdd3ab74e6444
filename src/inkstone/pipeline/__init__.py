"""Recipes: parse them, plan them, run their stages, and trace where every folder came from."""
