"""The evaluation report: every number with what it was measured on, as JSON values."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from inkstone.core.records import Document
from inkstone.evaluate.confidence import Interval
from inkstone.evaluate.likelihood import perplexity_of
from inkstone.evaluate.units import Units
from inkstone.evaluate.xz import XzSizes

MAX_SOURCES = 10


@dataclass(frozen=True, slots=True)
class Facts:
    """What was evaluated, on what, and how."""

    model: str
    parameters: int
    context_length: int
    stride: int
    dtype: str
    split: str
    of_documents: int
    of_bytes: int
    cut_documents: int
    max_document_bytes: int
    unknown_tokens: int
    ngram_order: int
    ngram_train_bytes: int
    seed: int


def build_report(
    facts: Facts, documents: Sequence[Document], units: Units, xz: XzSizes, eos_nll: Sequence[float]
) -> dict[str, Any]:
    """Everything as JSON values. Intervals are 95% bootstrap intervals, null where there is one unit only."""
    loss = units.loss(facts.seed)
    bits_per_byte = units.bits_per_byte(facts.seed)
    return {
        "facts": asdict(facts),
        "documents": len(documents),
        "bytes": int(units.bytes.sum()),
        "tokens": int(units.tokens.sum()),
        "loss": asdict(loss),
        "perplexity": asdict(_map(loss, lambda nats: float(perplexity_of(nats)))),
        "bits_per_byte": asdict(bits_per_byte),
        "loss_of_eos": float(np.mean(eos_nll)) if eos_nll else None,
        "bootstrap": {
            "resamples": 1000,
            "level": 0.95,
            "units": len(units.nats),
            "unit": "document" if units.block_tokens is None else f"block of {units.block_tokens} tokens",
        },
        "baselines": {
            "xz_bits_per_byte": xz.best,
            "xz": {"alone": xz.alone, "primed": xz.primed, "train_bytes": xz.train_bytes},
            "ngram_bits_per_byte": asdict(units.ngram_bits_per_byte(facts.seed)),
            "saved_over_ngram": asdict(units.advantage_over_ngram(facts.seed)),
            "saved_over_xz": asdict(_saved(bits_per_byte, xz.best)),
        },
        "by_language": _rows(units, [document.lang or "unknown" for document in documents], facts.seed),
        "by_source": _rows(units, _main_sources(documents), facts.seed),
    }


def _map(interval: Interval, function: Callable[[float], float]) -> Interval:
    ends = (None if end is None else function(end) for end in (interval.low, interval.high))
    return Interval(function(interval.value), *ends)


def _saved(ours: Interval, theirs: float) -> Interval:
    low, high = (None if end is None else theirs - end for end in (ours.high, ours.low))
    return Interval(theirs - ours.value, low, high)


def _rows(units: Units, labels: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """One row per label, the most bytes first."""
    names = np.array(labels, dtype=object)
    rows = []
    for label in sorted(set(labels)):
        part = units.of(names == label)
        if not part.bytes.sum() or not part.tokens.sum():
            continue
        rows.append(
            {
                "name": label,
                "documents": int((names == label).sum()),
                "bytes": int(part.bytes.sum()),
                "tokens": int(part.tokens.sum()),
                "loss": asdict(part.loss(seed)),
                "bits_per_byte": asdict(part.bits_per_byte(seed)),
                "ngram_bits_per_byte": asdict(part.ngram_bits_per_byte(seed)),
            }
        )
    return sorted(rows, key=lambda row: -row["bytes"])


def _main_sources(documents: Sequence[Document]) -> list[str]:
    """Each document's source, or "others" for all but the largest."""
    sizes: dict[str, int] = {}
    for document in documents:
        sizes[document.source] = sizes.get(document.source, 0) + len(document.text.encode())
    main = set(sorted(sizes, key=lambda source: (-sizes[source], source))[:MAX_SOURCES])
    others = f"{len(sizes) - len(main)} others"
    return [document.source if document.source in main else others for document in documents]
