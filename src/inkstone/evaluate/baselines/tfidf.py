"""Logistic regression on n-grams: what text classifiers were before language models, and hard to beat."""

from collections.abc import Sequence
from typing import ClassVar

from inkstone.data.examples.records import LabeledText
from inkstone.evaluate.baselines.majority import MajorityClass, classes_of
from inkstone.evaluate.baselines.text_features import tfidf_vectorizer
from inkstone.evaluate.extras import need
from inkstone.evaluate.metrics.base import Kind
from inkstone.evaluate.words import words

_INVERSE_REGULARIZATION = 10.0
_MOST_ITERATIONS = 1000


class TfidfClassifier:
    """TF-IDF of n-grams and logistic regression, one for each class where several can apply."""

    name: ClassVar[str] = "tfidf"
    kind: ClassVar[Kind] = "classes"
    title: ClassVar[str] = "TF-IDF + logistic regression"
    needs_training: ClassVar[bool] = True

    def predict(self, train: Sequence[LabeledText], test: Sequence[LabeledText]) -> Sequence[str | tuple[str, ...]]:
        """The likeliest class, or all that are likelier than not."""
        texts = [_text(example) for example in train]
        if not any(words(text) for text in texts):
            return MajorityClass().predict(train, test)
        vectorizer = tfidf_vectorizer(texts)
        features = vectorizer.fit_transform(texts)
        unseen = vectorizer.transform([_text(example) for example in test])
        regression = need("sklearn.linear_model").LogisticRegression(
            C=_INVERSE_REGULARIZATION, max_iter=_MOST_ITERATIONS
        )
        labels = [classes_of(example) for example in train]
        if isinstance(labels[0], tuple):
            binarizer = need("sklearn.preprocessing").MultiLabelBinarizer()
            each = need("sklearn.multiclass").OneVsRestClassifier(regression)
            each.fit(features, binarizer.fit_transform(labels))
            return [tuple(classes) for classes in binarizer.inverse_transform(each.predict(unseen))]
        if len(set(labels)) < 2:
            return MajorityClass().predict(train, test)
        regression.fit(features, labels)
        return [str(label) for label in regression.predict(unseen)]


def _text(example: LabeledText) -> str:
    return example.text if example.pair is None else f"{example.text}\n{example.pair}"
