"""The evaluation report as a page to read."""

from collections.abc import Mapping, Sequence
from typing import Any

from inkstone.evaluate.tables import table

Json = Mapping[str, Any]


def to_markdown(report: Json) -> str:
    """The page for a report that `report.build_report` made."""
    parts = [
        f"# Evaluation of {report['facts']['model']}",
        _coverage(report),
        _comparison(report),
        _savings(report["baselines"]),
        _parts("Language", report["by_language"]),
        _parts("Source", report["by_source"]),
        "## How",
        _method(report),
        _baselines(report),
        *_warnings(report["facts"]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _coverage(report: Json) -> str:
    facts = report["facts"]
    return (
        f"{report['documents']:,} of {facts['of_documents']:,} documents of the {facts['split']} split, "
        f"{_size(report['bytes'])} of {_size(facts['of_bytes'])}, {report['tokens']:,} tokens. "
        "Model and baselines are measured on the same bytes."
    )


def _comparison(report: Json) -> str:
    facts, baselines = report["facts"], report["baselines"]
    loss, perplexity = report["loss"]["value"], report["perplexity"]["value"]
    ngram = f"n-gram, order {facts['ngram_order']}, {_size(facts['ngram_train_bytes'])} of training text"
    primed = baselines["xz"]["primed"] <= baselines["xz"]["alone"]
    xz = f"xz -9e, after {_size(baselines['xz']['train_bytes'])} of training text" if primed else "xz -9e, by itself"
    rows = [
        [f"**{facts['model']}**", *_estimate(report["bits_per_byte"]), f"{loss:.4f}", f"{perplexity:.2f}"],
        [ngram, *_estimate(baselines["ngram_bits_per_byte"]), "", ""],
        [xz, f"{baselines['xz_bits_per_byte']:.4f}", "", "", ""],
    ]
    return table(["", "bits per byte", "95% interval", "loss (nats/token)", "perplexity"], rows)


def _savings(baselines: Json) -> str:
    ngram, xz = _signed(baselines["saved_over_ngram"]), _signed(baselines["saved_over_xz"])
    return f"Bits per byte saved over the n-gram model: {ngram}; over xz: {xz}."


def _parts(title: str, parts: Sequence[Json]) -> str:
    if len(parts) < 2:
        return ""
    rows = []
    for row in parts:
        amounts = [f"{row['documents']:,}", _size(row["bytes"]), f"{row['bytes'] / row['tokens']:.2f}"]
        ngram = f"{row['ngram_bits_per_byte']['value']:.4f}"
        loss = f"{row['loss']['value']:.4f}"
        rows.append([row["name"], *amounts, loss, *_estimate(row["bits_per_byte"]), ngram])
    return table([title, "documents", "size", "bytes/token", "loss", "bits per byte", "95% interval", "n-gram"], rows)


def _method(report: Json) -> str:
    facts, bootstrap = report["facts"], report["bootstrap"]
    eos = "" if report["loss_of_eos"] is None else f" (it costs {report['loss_of_eos']:.3f} nats)"
    return (
        f"{facts['parameters']:,} parameters, {facts['dtype']}. Windows of {facts['context_length']:,} tokens, each "
        f"after the first scoring {facts['stride']:,} more. Every token of a text is scored once, the first given the "
        f"token that begins a document; the token that ends it is not counted{eos}. Intervals: bootstrap of "
        f"{bootstrap['resamples']:,} resamples of {bootstrap['units']:,} units, each a {bootstrap['unit']}."
    )


def _baselines(report: Json) -> str:
    xz = report["baselines"]["xz"]
    return (
        f"xz by itself: {xz['alone']:.4f} bits per byte; after {_size(xz['train_bytes'])} of training text in the same "
        f"dictionary: {xz['primed']:.4f}; the smaller counts. N-gram model: bytes, interpolated modified Kneser–Ney."
    )


def _warnings(facts: Json) -> list[str]:
    warnings = []
    if facts["cut_documents"]:
        limit = _size(facts["max_document_bytes"])
        warnings.append(f"{facts['cut_documents']:,} documents are longer than {limit} and count with their beginning.")
    if facts["unknown_tokens"]:
        warnings.append(
            f"**Warning:** {facts['unknown_tokens']:,} tokens stand for text that the tokenizer cannot write. That "
            "text is lost, so the model's bits per byte are lower than they should be."
        )
    return warnings


def _estimate(interval: Json) -> list[str]:
    ends = "" if interval["low"] is None else f"{interval['low']:.4f} – {interval['high']:.4f}"
    return [f"{interval['value']:.4f}", ends]


def _signed(interval: Json) -> str:
    ends = "" if interval["low"] is None else f" (95% interval {interval['low']:+.4f} to {interval['high']:+.4f})"
    return f"{interval['value']:+.4f}{ends}"


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.2f} MB" if num_bytes >= 100_000 else f"{num_bytes:,} bytes"
