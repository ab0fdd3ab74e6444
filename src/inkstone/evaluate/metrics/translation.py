"""BLEU and chrF, computed by sacreBLEU (Post 2018, arXiv:1804.08771), with its signatures."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from inkstone.data.characters import profile
from inkstone.evaluate.extras import need
from inkstone.evaluate.metrics.base import Additive, Kind, Statistics, Values
from inkstone.evaluate.words import is_ideographic


class _SacreMetric(Additive):
    """A corpus metric of sacreBLEU: n-grams are counted in each text, and the sums over a sample make its score."""

    best: ClassVar[float] = 100.0

    def scorer(self, references: Sequence[str]) -> Any:
        """The object of sacreBLEU for texts like these references."""
        raise NotImplementedError

    def count(self, references: Sequence[str], predictions: Sequence[str]) -> Statistics:
        """What sacreBLEU counts in each text."""
        counts = self.scorer(references)._extract_corpus_statistics(list(predictions), [list(references)])
        return Statistics(np.asarray(counts, np.float64))

    def value(self, sums: Values) -> Values:
        """Sums (R, k) → (R,): sacreBLEU's own arithmetic, which does not depend on the tokenizer."""
        scorer = self.scorer(())
        return np.array([scorer._compute_score_from_stats(row).score for row in sums.astype(np.int64).tolist()])

    def signature(self, references: Sequence[str]) -> str | None:
        """That of sacreBLEU."""
        scorer = self.scorer(references)
        scorer.corpus_score(list(references[:1]), [list(references[:1])])
        return str(scorer.get_signature())


class Bleu(_SacreMetric):
    """BLEU (Papineni et al. 2002), tokenized as `zh` where the references are Chinese, as `13a` otherwise."""

    name: ClassVar[str] = "bleu"
    kind: ClassVar[Kind] = "texts"

    def scorer(self, references: Sequence[str]) -> Any:
        """BLEU of sacreBLEU; Japanese is cut into characters, for its tokenizer needs a dictionary."""
        return need("sacrebleu").BLEU(tokenize=_tokenizer(references))

    def example_values(self, statistics: Statistics) -> Values | None:
        """None: few sentences have four words in common, and BLEU is 0 without."""
        return None


class ChrF(_SacreMetric):
    """chrF (Popović 2015): F-score, recall counting twice, of character n-grams up to six."""

    name: ClassVar[str] = "chrf"
    kind: ClassVar[Kind] = "texts"

    def scorer(self, references: Sequence[str]) -> Any:
        """CHRF of sacreBLEU."""
        return need("sacrebleu").CHRF()


def _tokenizer(references: Sequence[str]) -> str:
    if not is_ideographic(references):
        return "13a"
    counts = [profile(text) for text in references]
    return "char" if sum(each.kana for each in counts) > 0.1 * sum(each.han for each in counts) else "zh"
