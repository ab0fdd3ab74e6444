"""`transformers.Trainer` and TRL's trainers in `finetune.py`."""

import re
import tempfile
from typing import Any

import torch

import finetune_examples as given
import interleave


def build(
    shape: given.Shape, tool: str, *, at_once: int, bf16: bool, by_length: bool = False, **options: Any
) -> interleave.Steps:
    """A trainer on `LlamaForCausalLM`.

    Args:
        shape: of the model.
        tool: trainer, sft, dpo or grpo.
        at_once: `per_device_train_batch_size`; so many steps are accumulated that all examples of a step are read.
        bf16: matrix products in bfloat16, under autocast.
        by_length: the examples of a step come from short to long, so that those computed together are of like length.
        options: `lora`, and further arguments of the trainer.
    """
    import transformers

    transformers.logging.set_verbosity_error()
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**given.llama_keys(shape)))
    adapter = _adapter() if options.pop("lora", False) else None
    of_step = {"dpo": len(given.LENGTHS) // 2, "grpo": given.NUM_PROMPTS * given.GROUP_SIZE}.get(
        tool, len(given.LENGTHS)
    )
    arguments: dict[str, Any] = {
        "output_dir": tempfile.mkdtemp(),
        "per_device_train_batch_size": at_once,
        "gradient_accumulation_steps": of_step // at_once,
        "max_steps": 1 << 20,
        "learning_rate": 1e-4,
        "bf16": bf16,
        "use_cpu": True,
        "report_to": [],
        "logging_strategy": "no",
        "save_strategy": "no",
        "disable_tqdm": True,
        "gradient_checkpointing": False,
        "train_sampling_strategy": "sequential",
    } | options
    if tool == "trainer":
        trainer = _plain(model, arguments, given.rows(shape, by_length=by_length), adapter)
    elif tool == "sft":
        trainer = _sft(model, arguments, shape, given.rows(shape, by_length=by_length), adapter)
    elif tool == "dpo":
        trainer = _dpo(model, arguments, shape, given.pairs(shape, by_length=by_length), adapter)
    else:
        trainer = _grpo(model, arguments, shape)
    return interleave.stepwise(trainer)


def _adapter() -> Any:
    """LoRA on every linear layer of the blocks, as ours."""
    import peft

    return peft.LoraConfig(r=given.LORA_RANK, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")


def _plain(model: Any, arguments: dict[str, Any], rows: list[given.Row], adapter: Any) -> Any:
    """`transformers.Trainer` with the usual padding collator."""
    import peft
    import transformers

    dataset = [{"input_ids": row.prompt + row.answer, "labels": [-100] * len(row.prompt) + row.answer} for row in rows]

    def collate(features: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        longest = max(len(feature["input_ids"]) for feature in features)
        fill = {"input_ids": 0, "labels": -100}
        batch = {
            name: torch.tensor([each[name] + [filler] * (longest - len(each[name])) for each in features])
            for name, filler in fill.items()
        }
        batch["attention_mask"] = (batch["input_ids"] != 0).long()
        return batch

    if adapter is not None:
        model = peft.get_peft_model(model, adapter)
    settings = transformers.TrainingArguments(**arguments)
    return transformers.Trainer(model=model, args=settings, train_dataset=dataset, data_collator=collate)


def _sft(model: Any, arguments: dict[str, Any], shape: given.Shape, rows: list[given.Row], adapter: Any) -> Any:
    """TRL's `SFTTrainer` on ids, loss on the completion."""
    import datasets
    import trl

    dataset = datasets.Dataset.from_list(
        [
            {"input_ids": row.prompt + row.answer, "completion_mask": [0] * len(row.prompt) + [1] * len(row.answer)}
            for row in rows
        ]
    )
    settings = trl.SFTConfig(**{"max_length": shape.context, "completion_only_loss": True} | arguments)
    return trl.SFTTrainer(
        model=model, args=settings, train_dataset=dataset, processing_class=_tokenizer(shape), peft_config=adapter
    )


def _dpo(model: Any, arguments: dict[str, Any], shape: given.Shape, pairs: list[given.Pair], adapter: Any) -> Any:
    """TRL's `DPOTrainer`; the reference's log-probabilities are computed before, as ours are."""
    import datasets
    import trl

    # The tokenizer's end of text, which is the last token here, is added by the trainer.
    texts = [
        {
            "prompt": given.words(pair.prompt),
            "chosen": given.words(pair.chosen[:-1]),
            "rejected": given.words(pair.rejected[:-1]),
        }
        for pair in pairs
    ]
    settings = trl.DPOConfig(**{"max_length": shape.context, "precompute_ref_log_probs": True} | arguments)
    return trl.DPOTrainer(
        model=model,
        args=settings,
        train_dataset=datasets.Dataset.from_list(texts),
        processing_class=_tokenizer(shape),
        peft_config=adapter,
    )


def _grpo(model: Any, arguments: dict[str, Any], shape: given.Shape) -> Any:
    """TRL's `GRPOTrainer` with cached generation; the model goes over a folder, from which it loads the reference."""
    import datasets
    import transformers
    import trl

    folder = tempfile.mkdtemp()
    model.save_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    rewarded = re.compile(given.REWARDED)

    def reward(completions: list[str], **_: Any) -> list[float]:
        return [float(rewarded.fullmatch(completion.strip()) is not None) for completion in completions]

    del arguments["train_sampling_strategy"]
    settings = trl.GRPOConfig(
        num_generations=given.GROUP_SIZE,
        max_completion_length=given.NEW_TOKENS,
        temperature=1.0,
        beta=given.KL_COEFFICIENT,
        shuffle_dataset=False,
        generation_kwargs={"eos_token_id": None},
        model_init_kwargs={"dtype": torch.float32},
        **arguments,
    )
    texts = [{"prompt": given.words(ids)} for ids in given.prompts(shape)]
    return trl.GRPOTrainer(
        model=model,
        args=settings,
        reward_funcs=reward,
        train_dataset=datasets.Dataset.from_list(texts),
        processing_class=_tokenizer(shape),
    )


def _tokenizer(shape: given.Shape) -> Any:
    import transformers

    backend = given.word_backend(shape)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>")
