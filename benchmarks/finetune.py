"""Fine-tuning speed and memory beside what users would otherwise run, interleaved in one run.

    python benchmarks/finetune.py [--jobs full lora dpo grpo] [--rounds 3]

Contenders: this package's loop with its defaults, `transformers.Trainer`, and TRL's trainers, with PEFT for LoRA. All
train the same Llama on the same examples: random tokens in the lengths of 32 Alpaca rows, every step all of them. Each
contender is a process of its own, and they take turns.
"""

import argparse
import functools
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

import interleave

LENGTHS = (
    (42, 5), (38, 15), (38, 17), (46, 11), (53, 6), (48, 13), (38, 25), (55, 10),
    (39, 29), (56, 15), (43, 30), (63, 13), (57, 23), (35, 48), (41, 48), (69, 24),
    (40, 58), (72, 32), (46, 62), (41, 71), (46, 72), (61, 62), (43, 84), (38, 96),
    (98, 43), (44, 104), (47, 109), (42, 122), (41, 135), (40, 150), (47, 172), (57, 241),
)  # fmt: skip
"""Tokens of prompt and answer of 32 rows of Alpaca (English): every 1/32 of the rows in the order of their length."""
LORA_RANK = 16
GROUP, NEW_TOKENS = 8, 48


class Shape(NamedTuple):
    """The model of a job."""

    num_layers: int
    width: int
    num_heads: int
    vocab_size: int = 32_000
    context: int = 512


class Job(NamedTuple):
    """One row of the table."""

    label: str
    shape: Shape
    examples: int
    """Examples of a step: pairs for dpo, prompts for grpo."""
    contenders: dict[str, Callable[[], interleave.Steps]]


def main() -> None:
    """Measure and print the table."""
    jobs = all_jobs()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", nargs="+", choices=jobs, default=list(jobs))
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{interleave.machine_line()}; medians of {arguments.rounds} rounds, ratios with their range\n")
    print("| job | tool | examples/s | inkstone is faster by | peak memory, GB |")
    print("|---|---|---:|---:|---:|")
    for name in arguments.jobs:
        job = jobs[name]
        results = interleave.rounds(job.contenders, 1, arguments.rounds)
        ours = results["inkstone"].seconds
        for tool, result in results.items():
            speed = job.examples / statistics.median(result.seconds)
            compared = "" if tool == "inkstone" else interleave.ratio(result.seconds, ours)
            peak = result.peak_bytes / 1e9
            print(f"| {job.label} | {tool} | {speed:.2f} | {compared} | {peak:.2f} |", flush=True)


def all_jobs() -> dict[str, Job]:
    """What is measured, by name."""
    large, small = Shape(12, 768, 12), Shape(6, 384, 6)
    return {
        "full": Job(
            "full, 12 × 768",
            large,
            len(LENGTHS),
            {
                "inkstone": functools.partial(build_inkstone, large, "chat"),
                "Trainer bf16": functools.partial(build_peer, large, "trainer", bf16=True),
                "Trainer fp32": functools.partial(build_peer, large, "trainer", bf16=False),
                "SFTTrainer bf16": functools.partial(build_peer, large, "sft", bf16=True),
                "SFTTrainer fp32": functools.partial(build_peer, large, "sft", bf16=False),
            },
        ),
        "lora": Job(
            f"LoRA r = {LORA_RANK}, 12 × 768",
            large,
            len(LENGTHS),
            {
                "inkstone": functools.partial(build_inkstone, large, "chat", lora=True),
                "Trainer + PEFT fp32": functools.partial(build_peer, large, "trainer", lora=True),
                "SFTTrainer + PEFT fp32": functools.partial(build_peer, large, "sft", lora=True),
                "SFTTrainer + PEFT bf16": functools.partial(build_peer, large, "sft", lora=True, bf16=True),
            },
        ),
        "dpo": Job(
            "DPO, 6 × 384",
            small,
            len(LENGTHS) // 2,
            {
                "inkstone": functools.partial(build_inkstone, small, "dpo"),
                "DPOTrainer bf16": functools.partial(build_peer, small, "dpo", bf16=True),
                "DPOTrainer fp32": functools.partial(build_peer, small, "dpo", bf16=False),
            },
        ),
    }


def random_ids(number: int, count: int, vocab_size: int) -> list[int]:
    """Token ids that depend on nothing but `number`."""
    generator = torch.Generator().manual_seed(number)
    return torch.randint(3, vocab_size, (count,), generator=generator).tolist()


def sft_row(index: int, shape: Shape) -> tuple[list[int], int]:
    """Ids of example `index`, and how many of them are the prompt."""
    prompt, answer = LENGTHS[index % len(LENGTHS)]
    return random_ids(index, prompt + answer, shape.vocab_size), prompt


def pair_row(index: int, shape: Shape) -> tuple[list[int], list[int], list[int]]:
    """Ids of a prompt and of two answers: those of two neighboring lengths."""
    prompt, first = LENGTHS[2 * index % len(LENGTHS)]
    second = LENGTHS[(2 * index + 1) % len(LENGTHS)][1]
    ids = random_ids(index, prompt + first + second, shape.vocab_size)
    return ids[:prompt], ids[prompt : prompt + first], ids[prompt + first :]


def build_inkstone(shape: Shape, method: str, *, lora: bool = False) -> interleave.Steps:
    """Our loop, as `inkstone finetune` and `inkstone align` run it."""
    from inkstone.core.device import tune_allocator
    from inkstone.core.progress import set_quiet
    from inkstone.nn.adapters import add_adapter
    from inkstone.nn.models.llama import LlamaConfig, LlamaForCausalLM
    from inkstone.train.config_align import AlignConfig
    from inkstone.train.config_finetune import FinetuneConfig
    from inkstone.train.loop import Loop
    from inkstone.train.metrics import MetricsLog
    from inkstone.train.teach import teach_settings

    set_quiet(True)
    tune_allocator()
    model = LlamaForCausalLM(LlamaConfig.model_validate(llama_keys(shape)))
    model.init_weights()
    options: dict[str, Any] = {"lora": {"r": LORA_RANK}} if lora else {}
    if method == "dpo":
        config, objective, examples = AlignConfig(batch_size=len(LENGTHS) // 2), *inkstone_dpo(model, shape)
    else:
        config, objective, examples = FinetuneConfig(batch_size=len(LENGTHS), **options), *inkstone_sft(shape)
    if config.lora is not None:
        add_adapter(model, config.lora, torch.Generator())
    out = Path(tempfile.mkdtemp())
    settings = teach_settings(config, 1_000_000)
    loop = Loop(model.train(), objective, Endless(examples), settings, out, None)
    log = MetricsLog(out)

    def run(steps: int) -> None:
        for _ in range(steps):
            loop.step(log)

    run(1)
    return run


class Endless:
    """One list of examples, again and again in its order."""

    def __init__(self, examples: Sequence[Any]) -> None:
        self._examples = examples
        self.per_epoch = 1 << 30

    def batch(self, start: int, size: int) -> list[Any]:
        """Examples `start` to `start + size`."""
        return [self._examples[index % len(self._examples)] for index in range(start, start + size)]


def inkstone_sft(shape: Shape) -> tuple[Any, list[Any]]:
    """Objective and examples of supervised fine-tuning."""
    from inkstone.data.examples.encoded import TokenSequence
    from inkstone.train.objectives.sft import SupervisedFineTuning

    rows = (sft_row(index, shape) for index in range(8 * len(LENGTHS)))
    examples = [TokenSequence.of(ids, [index >= prompt for index in range(len(ids))]) for ids, prompt in rows]
    return SupervisedFineTuning(), examples


def inkstone_dpo(model: Any, shape: Shape) -> tuple[Any, list[Any]]:
    """Objective and examples of DPO; the reference is computed before, as the stage does."""
    raise NotImplementedError


def llama_keys(shape: Shape) -> dict[str, Any]:
    """The model's config, under the names that `transformers` shares."""
    return {
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.width,
        "intermediate_size": 4 * shape.width * 2 // 3 // 32 * 32,
        "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_heads,
        "num_key_value_heads": shape.num_heads,
        "head_dim": shape.width // shape.num_heads,
        "max_position_embeddings": shape.context,
        "tie_word_embeddings": True,
    }


def build_peer(shape: Shape, tool: str, *, lora: bool = False, bf16: bool = False) -> interleave.Steps:
    """A trainer of `transformers` or TRL on `LlamaForCausalLM`, four examples at a time."""
    import transformers

    transformers.logging.set_verbosity_error()
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**llama_keys(shape)))
    options: dict[str, Any] = {
        "output_dir": tempfile.mkdtemp(),
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": (len(LENGTHS) // 2 if tool == "dpo" else len(LENGTHS)) // 4,
        "max_steps": 1 << 20,
        "learning_rate": 1e-4,
        "bf16": bf16,
        "use_cpu": True,
        "report_to": [],
        "logging_strategy": "no",
        "save_strategy": "no",
        "disable_tqdm": True,
        "gradient_checkpointing": False,
    }
    adapter = peft_config() if lora else None
    if tool == "trainer":
        trainer = plain_trainer(model, options, shape, adapter)
    elif tool == "sft":
        trainer = trl_sft(model, options, shape, adapter)
    else:
        trainer = trl_dpo(model, options, shape)
    return interleave.stepwise(trainer)


def peft_config() -> Any:
    """LoRA on every linear layer, as ours."""
    import peft

    return peft.LoraConfig(r=LORA_RANK, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")


def plain_trainer(model: Any, options: dict[str, Any], shape: Shape, adapter: Any) -> Any:
    """`transformers.Trainer` with the usual padding collator."""
    import peft
    import transformers

    rows = [sft_row(index, shape) for index in range(8 * len(LENGTHS))]
    dataset = [{"input_ids": ids, "labels": [-100] * prompt + ids[prompt:]} for ids, prompt in rows]

    def collate(features: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        longest = max(len(feature["input_ids"]) for feature in features)
        fill = {"input_ids": 0, "labels": -100}
        batch = {
            name: torch.tensor([each[name] + [filler] * (longest - len(each[name])) for each in features])
            for name, filler in fill.items()
        }
        batch["attention_mask"] = (batch["labels"] != -100) | (batch["input_ids"] != 0)
        return batch

    if adapter is not None:
        model = peft.get_peft_model(model, adapter)
    arguments = transformers.TrainingArguments(**options)
    return transformers.Trainer(model=model, args=arguments, train_dataset=dataset, data_collator=collate)


def trl_sft(model: Any, options: dict[str, Any], shape: Shape, adapter: Any) -> Any:
    """TRL's `SFTTrainer` on ids, loss on the completion."""
    import datasets
    import trl

    rows = [sft_row(index, shape) for index in range(8 * len(LENGTHS))]
    dataset = datasets.Dataset.from_list(
        [{"input_ids": ids, "completion_mask": [0] * prompt + [1] * (len(ids) - prompt)} for ids, prompt in rows]
    )
    arguments = trl.SFTConfig(**options, max_length=shape.context, completion_only_loss=True)
    return trl.SFTTrainer(
        model=model, args=arguments, train_dataset=dataset, processing_class=word_tokenizer(shape), peft_config=adapter
    )


def trl_dpo(model: Any, options: dict[str, Any], shape: Shape) -> Any:
    """TRL's `DPOTrainer`; the reference's log-probabilities are computed before, as ours are."""
    import datasets
    import trl

    rows = [pair_row(index, shape) for index in range(8 * len(LENGTHS) // 2)]
    names = ("prompt", "chosen", "rejected")
    texts = [{name: words(ids) for name, ids in zip(names, row, strict=True)} for row in rows]
    arguments = trl.DPOConfig(**options, max_length=shape.context, precompute_ref_log_probs=True)
    return trl.DPOTrainer(
        model=model,
        args=arguments,
        train_dataset=datasets.Dataset.from_list(texts),
        processing_class=word_tokenizer(shape),
    )


def words(ids: list[int]) -> str:
    """A text that `word_tokenizer` turns back into `ids`."""
    return " " + " ".join(f"w{token}" for token in ids)


def word_tokenizer(shape: Shape) -> Any:
    """A tokenizer with one word for every id."""
    import tokenizers
    import transformers

    vocabulary = {"<pad>": 0, "<eos>": 1, "<unk>": 2} | {f"w{token}": token for token in range(3, shape.vocab_size)}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>")


if __name__ == "__main__":
    main()
