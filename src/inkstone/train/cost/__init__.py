"""What a run will cost: counted where it can be counted, measured on a few micro-batches where it cannot."""
