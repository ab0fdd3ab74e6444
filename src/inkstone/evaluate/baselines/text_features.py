"""TF-IDF vectors of texts: of characters where they are written without spaces, of words elsewhere."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from inkstone.evaluate.extras import need
from inkstone.evaluate.words import is_ideographic, words


def tfidf_vectorizer(texts: Sequence[str]) -> Any:
    """The vectorizer of scikit-learn for texts like these, not fitted yet.

    It counts one to three characters in a row, or one and two words, takes logarithms of the counts and makes vectors
    of unit length.
    """
    vectorizer = need("sklearn.feature_extraction.text").TfidfVectorizer
    by_character = is_ideographic(texts)
    return vectorizer(
        analyzer="char" if by_character else "word",
        ngram_range=(1, 3) if by_character else (1, 2),
        tokenizer=None if by_character else words,
        token_pattern=None,
        sublinear_tf=True,
        dtype=np.float32,
    )
