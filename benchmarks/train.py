"""Training speed beside what users would otherwise run, interleaved in one run.

    python benchmarks/train.py [--sizes small medium large] [--rounds 3]

Contenders: this package's loop with its defaults; nanoGPT's settings as a plain float32 loop; `transformers.Trainer`
in bfloat16 and in float32. All train the same depth, width, context, batch and vocabulary with AdamW on random tokens;
each is a process of its own, and they take turns.
"""

import argparse
import functools
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

import interleave
import nanogpt


class Size(NamedTuple):
    """One row of the table."""

    num_layers: int
    width: int
    num_heads: int
    context: int
    batch: int
    vocab_size: int
    steps: int

    @property
    def tokens(self) -> int:
        """Tokens of a step."""
        return self.batch * self.context


SIZES = {
    "small": Size(4, 128, 4, 64, 12, 65, 40),
    "medium": Size(6, 384, 6, 256, 64, 65, 1),
    "large": Size(12, 768, 12, 512, 4, 50_304, 1),
}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{interleave.machine_line()}; medians of {arguments.rounds} rounds, ratios with their range\n")
    print("| size | tool | tokens/s | inkstone is faster by |")
    print("|---|---|---:|---:|")
    notes = []
    for name in arguments.sizes:
        size = SIZES[name]
        results = interleave.rounds(contenders(size), size.steps, arguments.rounds)
        seconds = {tool: result.seconds for tool, result in results.items()}
        label = (
            f"{size.num_layers} × {size.width}, context {size.context}, batch {size.batch}, {size.vocab_size:,} tokens"
        )
        for tool, times in seconds.items():
            speed = size.tokens / statistics.median(times)
            compared = "" if tool == "inkstone" else interleave.ratio(times, seconds["inkstone"])
            print(f"| {label} | {tool} | {speed:,.0f} | {compared} |", flush=True)
        notes.append(f"{label}: {fraction_of_peak(size, statistics.median(seconds['inkstone']))}")
    print("\n6·N·D operations of inkstone's step as a share of the matrix peak measured in this run:")
    print("\n".join(f"- {note}" for note in notes))


def contenders(size: Size) -> dict[str, Callable[[], interleave.Steps]]:
    """Name → builder."""
    return {
        "inkstone": functools.partial(build_inkstone, size),
        "nanoGPT fp32": functools.partial(build_nanogpt, size),
        "Trainer bf16": functools.partial(build_trainer, size, bf16=True),
        "Trainer fp32": functools.partial(build_trainer, size, bf16=False),
    }


def fraction_of_peak(size: Size, seconds: float) -> str:
    """6·N·D over time, beside the peaks of bfloat16 and float32 products."""
    rate = 6 * shape(size).num_parameters() * size.tokens / seconds
    peaks = {"bf16": interleave.matrix_peak(torch.bfloat16), "fp32": interleave.matrix_peak(torch.float32)}
    shares = ", ".join(f"{rate / peak:.0%} of {name} ({peak / 1e12:.2f} TFLOP/s)" for name, peak in peaks.items())
    return f"{rate / 1e12:.3f} TFLOP/s, {shares}"


def config(size: Size) -> Any:
    """This package's settings for a size: its defaults, with AdamW as the others have."""
    from inkstone.train.config import PretrainConfig

    return PretrainConfig.model_validate(
        {
            "model": {
                "hidden_size": size.width,
                "num_hidden_layers": size.num_layers,
                "num_attention_heads": size.num_heads,
            },
            "context_length": size.context,
            "batch_size": size.batch,
            "steps": 1_000_000,
            "optimizer": {"name": "adamw"},
        }
    )


def shape(size: Size) -> Any:
    """This package's model config for a size; `Trainer` trains the same."""
    return config(size).shape(size.vocab_size)


def build_inkstone(size: Size) -> interleave.Steps:
    """Our loop, as `inkstone pretrain` runs it."""
    from inkstone.core.device import tune_allocator
    from inkstone.core.progress import set_quiet
    from inkstone.nn.models.llama import LlamaForCausalLM
    from inkstone.train.cost.trial_pretrain import RandomSequences
    from inkstone.train.loop import Loop, pretrain_settings
    from inkstone.train.metrics import MetricsLog
    from inkstone.train.objectives.pretrain import Pretrain

    set_quiet(True)
    tune_allocator()
    settings = config(size)
    model = LlamaForCausalLM(shape(size))
    model.init_weights()
    loop_settings = pretrain_settings(settings)
    out = Path(tempfile.mkdtemp())
    objective = Pretrain()
    loop = Loop(model, objective, RandomSequences(size.vocab_size, size.context), loop_settings, out, None)
    log = MetricsLog(out)

    def run(steps: int) -> None:
        for _ in range(steps):
            loop.step(log)

    run(max(2, size.steps // 4))
    return run


def build_nanogpt(size: Size) -> interleave.Steps:
    """The plain float32 loop."""
    model = nanogpt.GPT(size.vocab_size, size.num_layers, size.width, size.num_heads, size.context)
    adamw = nanogpt.optimizer(model, 1e-3)

    def run(steps: int) -> None:
        for _ in range(steps):
            ids = torch.randint(size.vocab_size, (size.batch, size.context + 1))
            nanogpt.train_step(model, adamw, ids[:, :-1].contiguous(), ids[:, 1:].contiguous())

    run(max(1, size.steps // 4))
    return run


def build_trainer(size: Size, *, bf16: bool) -> interleave.Steps:
    """`transformers.Trainer` on `LlamaForCausalLM` of our shape."""
    import transformers

    transformers.logging.set_verbosity_error()

    class Tokens(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
        def __len__(self) -> int:
            return 1 << 20

        def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
            ids = torch.randint(size.vocab_size, (size.context,))
            return {"input_ids": ids, "labels": ids}

    ours = shape(size)
    llama = transformers.LlamaConfig(
        vocab_size=ours.vocab_size,
        hidden_size=ours.hidden_size,
        intermediate_size=ours.intermediate_size,
        num_hidden_layers=ours.num_hidden_layers,
        num_attention_heads=ours.num_attention_heads,
        num_key_value_heads=ours.num_key_value_heads,
        max_position_embeddings=size.context,
        tie_word_embeddings=True,
    )
    options = transformers.TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=size.batch,
        max_steps=1 << 20,
        learning_rate=1e-3,
        bf16=bf16,
        use_cpu=True,
        report_to=[],
        logging_strategy="no",
        save_strategy="no",
        disable_tqdm=True,
    )
    return interleave.stepwise(
        transformers.Trainer(model=transformers.LlamaForCausalLM(llama), args=options, train_dataset=Tokens())
    )


if __name__ == "__main__":
    main()
