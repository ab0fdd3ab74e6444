"""What the model writes while it learns: `samples.jsonl`, beside `metrics.jsonl`."""

from pathlib import Path

from inkstone.train.row_log import Row, read_rows

SAMPLES = "samples.jsonl"
_TEXTS = ("prompt", "completion")


def read_samples(out: Path) -> list[Row]:
    """The rows of a run's `samples.jsonl`: `prompt`, `completion`, and what else is known of it."""
    return read_rows(out / SAMPLES)


def sample_page(sample: Row) -> str:
    """A sample as Markdown: its texts as they are, and what is known of it."""
    texts = [f"{name}:\n\n{_as_it_is(sample[name])}" for name in _TEXTS if name in sample]
    facts = [f"{name}: {value}" for name, value in sample.items() if name not in (*_TEXTS, "step")]
    return "\n\n".join([*texts, *facts])


def _as_it_is(text: str) -> str:
    """A block that Markdown leaves alone."""
    return "\n".join(f"    {line}" for line in text.split("\n"))
