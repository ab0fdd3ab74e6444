"""What `inkstone plan` says beside what is then measured: memory, disk and time of whole runs of a few steps.

    python benchmarks/plan.py [--rows chat-256 dpo-384 …]

Of every row the stage is planned, then run with the same settings in a process of its own, whose peak memory (maximum
resident set), duration and folder are measured. Models are new, examples are made up, in the lengths of Alpaca's.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import interleave
from finetune_examples import LENGTHS

EXAMPLES = 2000
VOCABULARY = 8192


class Shape(NamedTuple):
    """A new model."""

    arch: str
    depth: int
    width: int


class Row(NamedTuple):
    """A run."""

    stage: str
    shape: Shape
    settings: Mapping[str, Any]
    data: str = ""
    teacher: Shape | None = None


SMALL, MIDDLE, LARGE = Shape("llama", 4, 256), Shape("llama", 6, 384), Shape("llama", 12, 768)
CHAT: dict[str, Any] = {"method": "chat", "steps": 10, "eval_every": 10}
ROWS: dict[str, Row] = {
    "chat, 4 × 256": Row("finetune", SMALL, CHAT, "chat"),
    "chat, 4 × 256, micro-batch of 512": Row("finetune", SMALL, {**CHAT, "micro_batch_tokens": 512}, "chat"),
    "chat, 4 × 256, micro-batch of 8192": Row(
        "finetune", SMALL, {**CHAT, "batch_size": 64, "micro_batch_tokens": 8192}, "chat"
    ),
    "chat, 4 × 256, LoRA": Row("finetune", SMALL, {**CHAT, "lora": {}}, "chat"),
    "chat, 4 × 256, checkpointing": Row("finetune", SMALL, {**CHAT, "gradient_checkpointing": True}, "chat"),
    "chat, gpt2 4 × 256": Row("finetune", Shape("gpt2", 4, 256), CHAT, "chat"),
    "classify, bert 4 × 256": Row("finetune", Shape("bert", 4, 256), {**CHAT, "method": "classify"}, "labels"),
    "pairs, marian 4 × 256": Row("finetune", Shape("marian", 4, 256), {**CHAT, "method": "pairs"}, "pairs"),
    "pairs, t5 4 × 256": Row("finetune", Shape("t5", 4, 256), {**CHAT, "method": "pairs"}, "pairs"),
    "dpo, 4 × 256": Row("align", SMALL, {**CHAT, "method": "dpo", "batch_size": 16}, "preferences"),
    "grpo, 4 × 256": Row(
        "align",
        SMALL,
        {"method": "grpo", "steps": 4, "batch_size": 8, "rl": {"max_new_tokens": 48}, "eval_tokens": 960},
        "problems",
    ),
    "distill from 6 × 384 to 4 × 256": Row("distill", SMALL, {"steps": 8, "eval_every": 8}, "chat", MIDDLE),
    "pretrain, 4 × 256": Row("pretrain", SMALL, {"steps": 12, "context_length": 256}, "corpus"),
    "chat, 6 × 384": Row("finetune", MIDDLE, CHAT, "chat"),
    "chat, 12 × 768": Row("finetune", LARGE, {**CHAT, "batch_size": 16, "steps": 6}, "chat"),
    "chat, 12 × 768, LoRA, int8 base": Row(
        "finetune", LARGE, {**CHAT, "batch_size": 16, "steps": 6, "lora": {}, "quantize_base": "int8"}, "chat"
    ),
}


class Result(NamedTuple):
    """Planned, or measured."""

    memory: float
    disk: float
    seconds: float


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--run", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        run(json.loads(arguments.run))
        return
    print(f"{interleave.machine_line()}\n")
    print("| run | memory, MB: planned, measured | disk, MB | time, s |")
    print("|---|---:|---:|---:|")
    for name in arguments.rows:
        with tempfile.TemporaryDirectory() as folder:
            planned, measured = compare(ROWS[name], Path(folder))
        cells = [
            f"{plan / unit:.{digits}f}, {seen / unit:.{digits}f} ({plan / seen - 1:+.0%})"
            for plan, seen, unit, digits in zip(planned, measured, (1e6, 1e6, 1), (0, 1, 1), strict=True)
        ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def compare(row: Row, folder: Path) -> tuple[Result, Result]:
    """What a row is planned to take, and what it takes."""
    from inkstone.core.config import parse_config
    from inkstone.core.progress import set_quiet
    from inkstone.core.registry import lookup

    set_quiet(True)
    inputs = make_inputs(row, folder)
    settings = settings_of(row)
    stage: Any = lookup("stages", row.stage)
    estimate = stage.plan(parse_config(stage.config, settings, where=row.stage), inputs)
    planned = Result(estimate["memory_bytes"], estimate["disk_bytes"], estimate["seconds"])
    out = folder / "out"
    job = {"stage": row.stage, "settings": settings, "inputs": {k: str(v) for k, v in inputs.items()}, "out": str(out)}
    command = [sys.executable, __file__, "--run", json.dumps(job)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    memory, seconds = json.loads(done.stdout.splitlines()[-1])
    disk = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    return planned, Result(memory, disk, seconds)


def settings_of(row: Row) -> dict[str, Any]:
    """The settings of a row's stage."""
    return {**shape_settings(row.shape), **row.settings} if row.stage == "pretrain" else dict(row.settings)


def run(job: Mapping[str, Any]) -> None:
    """Run a stage in this process; the last line says its peak memory and duration."""
    from inkstone.core.config import parse_config
    from inkstone.core.device import peak_rss_bytes
    from inkstone.core.registry import lookup
    from inkstone.core.stage import execute

    stage: Any = lookup("stages", job["stage"])
    config = parse_config(stage.config, job["settings"], where=job["stage"])
    began = time.perf_counter()
    execute(stage, config, job["inputs"], job["out"])
    print(json.dumps([peak_rss_bytes(), time.perf_counter() - began]))


def shape_settings(shape: Shape) -> dict[str, Any]:
    """A model's shape, as recipes give it."""
    return {
        "depth": shape.depth,
        "model": {"arch": shape.arch, "hidden_size": shape.width, "num_attention_heads": shape.width // 64},
    }


def make_inputs(row: Row, folder: Path) -> dict[str, Path]:
    """The folders that a row reads."""
    from inkstone.data.tokenizer_outline import assumed_tokenizer

    kind = "wordpiece" if row.shape.arch == "bert" else "bytes_bpe"
    tokenizer = folder / "tokenizer"
    assumed_tokenizer(kind, VOCABULARY).save(tokenizer)
    if row.stage == "pretrain":
        return {"corpus": make_corpus(folder / "corpus"), "tokenizer": tokenizer}
    inputs = {"model": make_model(row.shape, tokenizer, folder / "model"), "data": make_data(row.data, folder / "data")}
    if row.teacher is not None:
        inputs["teacher"] = make_model(row.teacher, tokenizer, folder / "teacher")
    return inputs


def make_model(shape: Shape, tokenizer: Path, folder: Path) -> Path:
    """A folder with a model with initial weights."""
    from inkstone.core.stage import execute
    from inkstone.train.initialize import InitializeConfig, initialize

    config = InitializeConfig(**shape_settings(shape), context_length=512)
    execute(initialize, config, {"tokenizer": tokenizer}, folder)
    return folder


def make_corpus(folder: Path) -> Path:
    """A folder with a corpus."""
    from inkstone.core.files import write_json
    from inkstone.core.records import Document
    from inkstone.data.corpus import SPLITS, CorpusWriter

    counts = {split: {"documents": 0, "bytes": 0} for split in SPLITS}
    with CorpusWriter(folder) as writer:
        for number, (first, second) in enumerate(texts()):
            split = "valid" if number % 20 == 0 else "train"
            document = Document(f"{first} {second}", str(number), "made up")
            writer.write(document, split)
            counts[split]["documents"] += 1
            counts[split]["bytes"] += len(document.text)
    write_json(folder / "card.json", {"splits": counts})
    return folder


def make_data(kind: str, folder: Path) -> Path:
    """A folder with examples of a kind."""
    folder.mkdir()
    with open(folder / "train.jsonl", "w", encoding="utf-8") as train, open(folder / "valid.jsonl", "w") as valid:
        for number, (first, second) in enumerate(texts()):
            (valid if number % 50 == 0 else train).write(json.dumps(example(kind, number, first, second)) + "\n")
    return folder


def example(kind: str, number: int, first: str, second: str) -> dict[str, Any]:
    """One example of two texts."""
    if kind == "chat":
        return {"messages": [{"role": "user", "content": first}, {"role": "assistant", "content": second}]}
    return {
        "labels": {"text": f"{first} {second}", "label": ("good", "bad", "so so")[number % 3]},
        "pairs": {"source": first, "target": second},
        "preferences": {"prompt": first, "chosen": second, "rejected": f"{first[:60]} {second[:90]}"},
        "problems": {"prompt": first[:120], "answer": str(number)},
    }[kind]


def texts() -> Iterator[tuple[str, str]]:
    """Pairs of texts in so many words as Alpaca's prompts and answers have tokens."""
    draw = random.Random(0)
    for _ in range(EXAMPLES):
        yield tuple(  # type: ignore[misc]
            " ".join("".join(draw.choices("abcdefghijklmnopqrst", k=4)) for _ in range(count))
            for count in draw.choice(LENGTHS)
        )


if __name__ == "__main__":
    main()
