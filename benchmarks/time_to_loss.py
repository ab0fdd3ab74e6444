"""Seconds until a model of Shakespeare's characters reaches validation loss 1.88, beside nanoGPT's way.

    python benchmarks/time_to_loss.py [DATA/tinyshakespeare.txt] [--rounds 2]

Both train a 4 × 128 model with context 64 on the first nine tenths of the file's characters and are judged on all of
the last tenth. Ours is recipes/shakespeare.yaml; the peer is nanoGPT's settings for CPUs (batch 12, AdamW, 1e-3 falling
to 1e-4 over 2,000 steps), and its clock stops as soon as it is below the mark too. Every attempt is a fresh process.
Loop time counts training steps alone; cold time counts from the start of the process, imports and compilation
included, without the passes over the validation text, which are for the measurement.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import interleave

MARK = 1.88
CONTEXT = 64
DATA = Path(os.environ.get("INKSTONE_DATA") or Path(__file__).parent.parent.parent / "shared" / "data")
DEFAULT_TEXT = DATA / "english" / "tinyshakespeare.txt"
RECIPE = Path(__file__).parent.parent / "recipes" / "shakespeare.yaml"


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("text", type=Path, nargs="?", default=DEFAULT_TEXT)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--attempt", choices=("inkstone", "nanogpt"), help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--started", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.attempt:
        attempt = attempt_inkstone if arguments.attempt == "inkstone" else attempt_nanogpt
        print(json.dumps(attempt(arguments.text, arguments.work, arguments.started)))
        return
    if not arguments.text.is_file():
        print(f"time to loss: skipped, there is no {arguments.text}; give the path of tinyshakespeare.txt")
        return
    with tempfile.TemporaryDirectory() as work:
        prepare(arguments.text, Path(work))
        results: dict[str, list[dict[str, float]]] = {"inkstone": [], "nanogpt": []}
        for _ in range(arguments.rounds):
            for name, found in results.items():
                found.append(start(name, arguments.text, Path(work)))
    print(f"{interleave.machine_line()}; medians of {arguments.rounds} rounds, ratios with their range\n")
    print("| | loop, s | cold start, s | steps | tokens | loss |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, label in (("inkstone", "inkstone, recipes/shakespeare.yaml"), ("nanogpt", "nanoGPT's way, fp32")):
        row = {key: statistics.median(found[key] for found in results[name]) for key in results[name][0]}
        print(
            f"| {label} | {row['loop']:.1f} | {row['cold']:.1f} | {row['steps']:,.0f} | {row['tokens']:,.0f} "
            f"| {row['loss']:.3f} |"
        )
    ratios = [
        interleave.ratio([found[key] for found in results["nanogpt"]], [found[key] for found in results["inkstone"]])
        for key in ("loop", "cold")
    ]
    print(f"| sooner by | {ratios[0]} | {ratios[1]} | | | |")


def start(name: str, text: Path, work: Path) -> dict[str, float]:
    """One attempt in a fresh process."""
    command = [sys.executable, __file__, str(text), "--attempt", name, "--work", str(work)]
    command += ["--started", str(time.time())]
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": cache, "XDG_CACHE_HOME": cache}
        output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    result: dict[str, float] = json.loads(output.splitlines()[-1])
    return result


def prepare(text: Path, work: Path) -> None:
    """Corpus and tokenizer for both, made before any clock runs (nanoGPT, too, prepares its data beforehand)."""
    stages = ["--only", "collect", "--only", "prepare", "--only", "tokenizer"]
    command = [sys.executable, "-m", "inkstone", "run", str(RECIPE), "--set", f"collect.paths=[{text.resolve()}]"]
    subprocess.run([*command, *stages, "--runs", str(work)], check=True, capture_output=True)


def attempt_inkstone(text: Path, work: Path, started: float) -> dict[str, float]:
    """The recipe's settings through this package's loop, judged every few steps."""
    import yaml

    from inkstone.core.device import seed_everything, tune_allocator
    from inkstone.core.progress import set_quiet
    from inkstone.data.corpus import Corpus
    from inkstone.data.packing import PackedSequences
    from inkstone.data.tokens import tokenize
    from inkstone.nn.models.llama import LlamaForCausalLM
    from inkstone.tokenizer import Tokenizer
    from inkstone.train.config import PretrainConfig
    from inkstone.train.loop import Loop, pretrain_settings
    from inkstone.train.metrics import MetricsLog
    from inkstone.train.objectives.pretrain import Pretrain

    set_quiet(True)
    tune_allocator()
    stage = yaml.safe_load(RECIPE.read_text())["stages"]["pretrain"]
    settings = {key: value for key, value in stage.items() if key not in ("uses", "corpus", "tokenizer")}
    config = PretrainConfig.model_validate(settings)
    seed_everything(config.seed)
    corpus = Corpus(work / "shakespeare" / "prepare")
    tokenizer = Tokenizer.load(work / "shakespeare" / "tokenizer")
    out = Path(tempfile.mkdtemp())
    store = tokenize(corpus.texts("train"), tokenizer, out / "train")
    model = LlamaForCausalLM(config.shape(tokenizer.vocab_size))
    model.init_weights(torch.Generator().manual_seed(config.seed))
    loop_settings = pretrain_settings(config)
    sequences = PackedSequences(store, config.context_length, config.seed)
    loop = Loop(model, Pretrain(), sequences, loop_settings, out, None)
    ids = np.asarray(tokenizer.encode_plain(next(corpus.texts("valid"))))
    log = MetricsLog(out)

    def losses(inputs: torch.Tensor) -> torch.Tensor:
        return model(inputs)

    return race(lambda: loop.step(log) and None, losses, ids, started, config.steps, 4, config.chosen_batch_size())


def attempt_nanogpt(text: Path, work: Path, started: float) -> dict[str, float]:
    """The peer's settings for CPUs."""
    from torch.nn import functional as F

    import nanogpt

    characters = text.read_text(encoding="utf-8")
    vocabulary = {character: number for number, character in enumerate(sorted(set(characters)))}
    ids = np.asarray([vocabulary[character] for character in characters])
    cut = int(0.9 * len(ids))
    torch.manual_seed(1337)
    model = nanogpt.GPT(len(vocabulary), 4, 128, 4, CONTEXT)
    adamw = nanogpt.optimizer(model, 1e-3)
    training = torch.from_numpy(ids[:cut])
    steps, warmup, least = 2000, 100, 1e-4
    done = 0

    def step() -> None:
        nonlocal done
        progress = min(1.0, max(0.0, (done - warmup) / (steps - warmup)))
        rate = least + 0.5 * (1 + math.cos(math.pi * progress)) * (1e-3 - least)
        for group in adamw.param_groups:
            group["lr"] = 1e-3 * (done + 1) / warmup if done < warmup else rate
        starts = torch.randint(len(training) - CONTEXT, (12,))
        batch = torch.stack([training[start : start + CONTEXT + 1] for start in starts.tolist()])
        nanogpt.train_step(model, adamw, batch[:, :-1].contiguous(), batch[:, 1:].contiguous())
        done += 1

    def logits(inputs: torch.Tensor) -> torch.Tensor:
        hidden = model.tokens(inputs) + model.positions(torch.arange(inputs.shape[1]))
        for block in model.blocks:
            hidden = block(hidden)
        return F.linear(model.norm(hidden), model.head.weight)

    return race(step, logits, ids[cut:], started, 4 * steps, 50, 12)


def race(
    step: Callable[[], None],
    logits: Callable[[torch.Tensor], torch.Tensor],
    valid: Any,
    started: float,
    most_steps: int,
    every: int,
    batch_size: int,
) -> dict[str, float]:
    """Train until the loss over all of `valid` is at the mark, looking every few steps."""
    loop = judging = 0.0
    for number in range(1, most_steps + 1):
        began = time.perf_counter()
        step()
        loop += time.perf_counter() - began
        if number % every == 0:
            began = time.perf_counter()
            loss = validation_loss(logits, valid)
            judging += time.perf_counter() - began
            if loss <= MARK:
                cold = time.time() - started - judging
                tokens = number * batch_size * CONTEXT
                return {"loop": loop, "cold": cold, "steps": number, "tokens": tokens, "loss": loss}
    raise SystemExit(f"the mark {MARK} was not reached: {loss:.3f}")


@torch.no_grad()
def validation_loss(logits: Callable[[torch.Tensor], torch.Tensor], ids: Any) -> float:
    """Mean loss in nats per character over windows of the context length."""
    count = (len(ids) - 1) // CONTEXT
    inputs = torch.from_numpy(ids[: count * CONTEXT]).view(count, CONTEXT)
    labels = torch.from_numpy(ids[1 : count * CONTEXT + 1]).view(count, CONTEXT)
    total = sum(
        float(torch.nn.functional.cross_entropy(logits(x).flatten(0, 1), y.flatten(), reduction="sum"))
        for x, y in zip(inputs.split(64), labels.split(64), strict=True)
    )
    return total / labels.numel()


if __name__ == "__main__":
    main()
