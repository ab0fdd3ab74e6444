"""Fine-tuning speed and memory beside what users would otherwise run, interleaved in one run.

    python benchmarks/finetune.py [--jobs full lora dpo grpo] [--rounds 3] [--only inkstone "SFTTrainer bf16"]

Contenders: this package's loop with its defaults, `transformers.Trainer`, and TRL's trainers, with PEFT for LoRA. All
train the same Llama on the same examples: random tokens in the lengths of 32 rows of Alpaca, every step all of them.
Each contender is a process of its own, and they take turns.
"""

import argparse
import functools
import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import finetune_examples as given
import finetune_ours
import finetune_peers
import interleave


class Job(NamedTuple):
    """One part of the table."""

    label: str
    examples: int
    """Of a step: pairs for dpo, completions for grpo."""
    contenders: dict[str, Callable[[], interleave.Steps]]


def main() -> None:
    """Measure and print the table."""
    jobs = all_jobs()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", nargs="+", choices=jobs, default=list(jobs))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=[], help="contenders beside inkstone")
    arguments = parser.parse_args()
    print(f"{interleave.machine_line()}; medians of {arguments.rounds} rounds, ratios with their range\n")
    print("| job | tool | examples/s | inkstone is faster by | peak memory, GB |")
    print("|---|---|---:|---:|---:|")
    for name in arguments.jobs:
        job = jobs[name]
        wanted = {"inkstone", *(arguments.only or job.contenders)}
        contenders = {tool: build for tool, build in job.contenders.items() if tool in wanted}
        results = interleave.rounds(contenders, 1, arguments.rounds)
        ours = results["inkstone"].seconds
        for tool, result in results.items():
            speed = job.examples / statistics.median(result.seconds)
            compared = "" if tool == "inkstone" else interleave.ratio(result.seconds, ours)
            peak = result.peak_bytes / 1e9
            print(f"| {job.label} | {tool} | {speed:.2f} | {compared} | {peak:.2f} |", flush=True)


def all_jobs() -> dict[str, Job]:
    """What is measured, by name."""
    large, small = given.Shape(12, 768, 12), given.Shape(6, 384, 6)
    rows = len(given.LENGTHS)
    lora = {"lora": {"r": given.LORA_RANK}}
    rewards = {
        "group_size": given.GROUP_SIZE,
        "max_new_tokens": given.NEW_TOKENS,
        "temperature": 1.0,
        "kl_coefficient": given.KL_COEFFICIENT,
        "rewards": {"format": 1.0},
        "format_pattern": given.REWARDED,
    }
    return {
        "full": Job(
            "full, 12 × 768",
            rows,
            {
                "inkstone": _ours(large, "chat", batch_size=rows),
                "Trainer bf16": _peer(large, "trainer", at_once=4, bf16=True),
                "Trainer fp32": _peer(large, "trainer", at_once=4, bf16=False),
                "SFTTrainer bf16": _peer(large, "sft", at_once=4, bf16=True),
                "SFTTrainer fp32": _peer(large, "sft", at_once=4, bf16=False),
                "SFTTrainer fp32 by length": _peer(large, "sft", at_once=4, bf16=False, by_length=True),
            },
        ),
        "lora": Job(
            f"LoRA r = {given.LORA_RANK}, 12 × 768",
            rows,
            {
                "inkstone": _ours(large, "chat", batch_size=rows, **lora),
                "Trainer + PEFT fp32": _peer(large, "trainer", at_once=4, bf16=False, lora=True),
                "SFTTrainer + PEFT bf16": _peer(large, "sft", at_once=4, bf16=True, lora=True),
                "SFTTrainer + PEFT fp32": _peer(large, "sft", at_once=4, bf16=False, lora=True),
                "SFTTrainer + PEFT fp32 by length": _peer(
                    large, "sft", at_once=4, bf16=False, lora=True, by_length=True
                ),
            },
        ),
        "dpo": Job(
            "DPO, 6 × 384",
            rows // 2,
            {
                "inkstone": _ours(small, "dpo", batch_size=rows // 2),
                "DPOTrainer bf16": _peer(small, "dpo", at_once=4, bf16=True),
                "DPOTrainer fp32": _peer(small, "dpo", at_once=4, bf16=False),
                "DPOTrainer fp32 by length": _peer(small, "dpo", at_once=4, bf16=False, by_length=True),
            },
        ),
        "grpo": Job(
            f"GRPO, 6 × 384, {given.NUM_PROMPTS} × {given.GROUP_SIZE} completions of {given.NEW_TOKENS} tokens",
            given.NUM_PROMPTS * given.GROUP_SIZE,
            {
                "inkstone": _ours(small, "grpo", batch_size=given.NUM_PROMPTS, rl=rewards),
                "GRPOTrainer bf16": _peer(small, "grpo", at_once=8, bf16=True),
                "GRPOTrainer fp32": _peer(small, "grpo", at_once=8, bf16=False),
            },
        ),
    }


def _ours(shape: given.Shape, method: str, **settings: Any) -> Callable[[], interleave.Steps]:
    return functools.partial(finetune_ours.build, shape, method, **settings)


def _peer(shape: given.Shape, tool: str, **options: Any) -> Callable[[], interleave.Steps]:
    return functools.partial(finetune_peers.build, shape, tool, **options)


if __name__ == "__main__":
    main()
