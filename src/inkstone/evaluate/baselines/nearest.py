"""What was written for the most similar source in training."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from inkstone.data.examples.records import Pair
from inkstone.evaluate.baselines.text_features import tfidf_vectorizer
from inkstone.evaluate.metrics.base import Kind

_ROWS_AT_ONCE = 256


class NearestPair:
    """The target of the training pair whose source is nearest by the cosine of TF-IDF vectors."""

    name: ClassVar[str] = "nearest"
    kind: ClassVar[Kind] = "texts"
    title: ClassVar[str] = "target of the most similar training pair"
    needs_training: ClassVar[bool] = True

    def predict(self, train: Sequence[Pair], test: Sequence[Pair]) -> Sequence[str]:
        """It, for each pair; the first of several that are as near."""
        sources = [example.source_text for example in train]
        vectorizer = tfidf_vectorizer(sources)
        known = vectorizer.fit_transform(sources)
        asked = vectorizer.transform([example.source_text for example in test])
        nearest: list[int] = []
        for start in range(0, len(test), _ROWS_AT_ONCE):
            similarity = asked[start : start + _ROWS_AT_ONCE] @ known.T
            nearest += np.asarray(similarity.argmax(axis=1)).ravel().tolist()
        return [train[index].target_text for index in nearest]
