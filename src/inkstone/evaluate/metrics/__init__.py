"""Metrics: each counts something in every example, so that any resample of the examples can be measured at once."""
