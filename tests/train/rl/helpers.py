"""Tiny problems, a tiny model of characters, and a loop over them."""

import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inkstone.data.examples.records import Problem
from inkstone.nn.models.llama import LlamaForCausalLM
from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.train import train_characters
from inkstone.train.config_align import AlignConfig
from inkstone.train.loop import Loop
from inkstone.train.method import Lesson, Method
from inkstone.train.rl.experience import Experience
from inkstone.train.rl.grpo import GRPO
from inkstone.train.switches import prepare_switches
from inkstone.train.teach import teach_settings
from tests.tiny_models import randomized, tiny_config

TINY: dict[str, Any] = {
    "steps": 4,
    "batch_size": 4,
    "learning_rate": 3e-3,
    "dtype": "float32",
    "compile": False,
    "fused": False,
    "log_every": 1,
    "checkpoint_every": 100,
    "schedule": {"name": "constant", "warmup": 0.0},
}
RL: dict[str, Any] = {"group_size": 4, "max_new_tokens": 6}


def tiny_tokenizer() -> Tokenizer:
    """One token a character."""
    return train_characters([string.printable + "等于多少答案是。加减一二三"])


def tiny_policy(tokenizer: Tokenizer, seed: int = 0, spread: float = 0.15) -> LlamaForCausalLM:
    """Two layers, width 32, context 64; its next-token distribution is neither flat nor sharp."""
    config = tiny_config(vocab_size=tokenizer.vocab_size, num_key_value_heads=2, intermediate_size=64)
    return randomized(LlamaForCausalLM(config), seed, spread)


def sums(count: int) -> list[Problem]:
    """Problems of different lengths in English, Chinese and as plain equations."""
    forms = ("{a}+{b}=", "What is {a} plus {b}? ", "{a}加{b}等于多少?")
    return [
        Problem(prompt=forms[n % 3].format(a=n, b=n * 7 % 11), answer=str(n + n * 7 % 11), where=f"sums:{n + 1}")
        for n in range(count)
    ]


def tiny_lesson(
    out: Path,
    *,
    method: Method[Any] = GRPO,
    problems: Sequence[Problem] = (),
    rl: dict[str, Any] | None = None,
    inputs: dict[str, Path] | None = None,
    tokenizer: Tokenizer | None = None,
    **changes: Any,
) -> tuple[Lesson, list[Any]]:
    """A lesson whose switches are set, and its encoded problems."""
    tokenizer = tokenizer or tiny_tokenizer()
    config = AlignConfig(method=method.name, rl=RL | (rl or {}), **TINY | changes)
    problems = problems or sums(12)
    settings = teach_settings(config, len(problems), packed=config.packing)
    out.mkdir(parents=True, exist_ok=True)
    lesson = Lesson(tiny_policy(tokenizer), tokenizer, config, settings, inputs or {}, out)
    lesson.model = method.prepare(lesson, problems)
    encode = method.encoder(lesson)
    prompts = [prompt for problem in problems for prompt in encode(problem)]
    lesson.adapter = prepare_switches(lesson).adapter
    return lesson, prompts


def tiny_loop(out: Path, *, method: Method[Any] = GRPO, **changes: Any) -> Loop[Experience]:
    """A loop that learns from rewards, without evaluation."""
    lesson, prompts = tiny_lesson(out, method=method, **changes)
    assert method.draw is not None
    objective = method.objective(lesson, prompts)
    return Loop(lesson.model, objective, method.draw(lesson, prompts), lesson.settings, out, None)
