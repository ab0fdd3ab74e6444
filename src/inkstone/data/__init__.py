"""From files to a corpus: readers, cleaning, filters, deduplication, split, and the corpus on disk."""
