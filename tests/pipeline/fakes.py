"""Small stages, installed in tests as a plug-in package is: through entry points."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from inkstone.core.config import Config
from inkstone.core.errors import InputError
from inkstone.core.progress import progress
from inkstone.core.stage import Summary, stage

ENTRY_POINTS = """\
[inkstone.stages]
gather = tests.pipeline.fakes:gather
change = tests.pipeline.fakes:change
join = tests.pipeline.fakes:join
slow = tests.pipeline.fakes:slow
broken = tests.pipeline.fakes:broken
fake-data = tests.pipeline.fakes:fake_data
fake-training = tests.pipeline.fakes:fake_training
fake-scores = tests.pipeline.fakes:fake_scores
"""


def install(folder: Path) -> Path:
    """Make `folder` look like a place where a plug-in package with these stages is installed; for sys.path."""
    metadata = folder / "fakes-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: fakes\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder


class GatherConfig(Config):
    """Settings of gather."""

    paths: list[str]
    """Files to read."""
    repeat: int = 1
    """How often each is written."""


def gather_sources(config: GatherConfig) -> Iterable[Path]:
    """The files that gather reads."""
    for path in config.paths:
        if not Path(path).is_file():
            raise InputError("no such file", where=path, remedy="check the path")
        yield Path(path)


@stage("gather", sources=gather_sources)
def gather(config: GatherConfig, inputs: Mapping[str, Path], out: Path) -> Summary:
    """Copy files."""
    texts = [Path(path).read_text() for path in config.paths] * config.repeat
    (out / "texts.txt").write_text("".join(texts))
    return {"documents": len(texts), "bytes": sum(map(len, texts))}


class ChangeConfig(Config):
    """Settings of change."""

    how: Literal["upper", "lower"] = "upper"
    """Which way."""
    times: int = 1
    """How often."""
    loud: bool = False
    """Add an exclamation mark."""
    seed: int = 0
    """Seed of the random streams."""


def plan_change(config: ChangeConfig, inputs: Mapping[str, Path]) -> Mapping[str, Any]:
    """What change costs."""
    return {"tokens": 1_000_000, "memory_bytes": 2_000_000, "disk_bytes": 1_000, "seconds": 90.0, "fast": True}


@stage("change", inputs=("texts",), plan=plan_change)
def change(config: ChangeConfig, inputs: Mapping[str, Path], out: Path) -> Summary:
    """Change the case."""
    text = (inputs["texts"] / "texts.txt").read_text()
    with progress("change", total=config.times, unit="pass") as bar:
        for _ in range(config.times):
            text = text.upper() if config.how == "upper" else text.lower()
            bar.update(size=len(text))
    (out / "texts.txt").write_text(text + "!" * config.loud)
    return {"bytes": len(text), "bits_per_byte": 1.25, "seed": config.seed}


class JoinConfig(Config):
    """Settings of join."""


@stage("join", inputs=("left", "right"))
def join(config: JoinConfig, inputs: Mapping[str, Path], out: Path) -> Summary:
    """Join two folders."""
    texts = [(inputs[name] / "texts.txt").read_text() for name in ("left", "right")]
    (out / "texts.txt").write_text("".join(texts))
    return {"bytes": sum(map(len, texts))}


class SlowConfig(Config):
    """Settings of slow."""

    pieces: int = 40
    """Files to write, one after the other."""
    pause: float = 0.1
    """Seconds for each, in the first attempt: it is there to be interrupted."""


@stage("slow")
def slow(config: SlowConfig, inputs: Mapping[str, Path], out: Path) -> Summary:
    """Write pieces, going on after those that are already there."""
    earlier = len(list(out.glob("piece-*")))
    with progress("slow", total=config.pieces, unit="piece", done=earlier) as bar:
        for index in range(earlier, config.pieces):
            time.sleep(0 if earlier else config.pause)
            (out / f"piece-{index:03d}").write_text(str(index))
            bar.update(loss=1 / (index + 1))
    return {"pieces": config.pieces, "found": earlier}


class BrokenConfig(Config):
    """Settings of broken."""

    how: Literal["input", "disk", "memory", "bug"] = "bug"
    """What goes wrong."""


@stage("broken")
def broken(config: BrokenConfig, inputs: Mapping[str, Path], out: Path) -> Summary:
    """Fail."""
    (out / "half.txt").write_text("half")
    if config.how == "input":
        raise InputError("malformed JSON", where="data.jsonl:731", remedy="correct the line")
    if config.how == "disk":
        raise OSError(28, "No space left on device")
    if config.how == "memory":
        raise MemoryError
    raise RuntimeError("a bug")


class NoConfig(Config):
    """No settings."""


@stage("fake-data")
def fake_data(config: NoConfig, inputs: Mapping[str, Path], out: Path) -> Summary:
    """Report what a corpus reports."""
    (out / "card.json").write_text("{}")
    return {"documents": 1173, "kept": 1170, "dropped": 3, "bytes": 13_700_000}


@stage("fake-training", inputs=("corpus",))
def fake_training(config: NoConfig, inputs: Mapping[str, Path], out: Path) -> Summary:
    """Report what training reports."""
    (out / "loss.png").write_bytes(b"")
    return {
        "parameters": 3_400_000,
        "tokens": 5_100_000,
        "seconds": 150.0,
        "tokens_per_second": 34_000.0,
        "steps": 300,
        "train_loss": 3.1,
        "valid_loss": 3.2,
        "loss_curve": "loss.png",
    }


@stage("fake-scores", inputs=("model", "corpus"))
def fake_scores(config: NoConfig, inputs: Mapping[str, Path], out: Path) -> Summary:
    """Report what an evaluation reports."""
    (out / "report.json").write_text("{}")
    return {
        "loss": 3.2,
        "perplexity": 24.5,
        "bits_per_byte": 1.43,
        "bits_per_byte_low": 1.41,
        "bits_per_byte_high": 1.45,
        "xz_bits_per_byte": 2.05,
        "ngram_bits_per_byte": 1.91,
    }
