"""This package in `finetune.py`: its loop, set up as the stages `finetune` and `align` do."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import finetune_examples as given
import interleave


def build(shape: given.Shape, method: str, **settings: Any) -> interleave.Steps:
    """The loop with its defaults, but for `settings`."""
    from inkstone.core.device import tune_allocator
    from inkstone.core.progress import set_quiet
    from inkstone.nn.models.llama import LlamaConfig, LlamaForCausalLM
    from inkstone.tokenizer import Tokenizer
    from inkstone.train.config_align import AlignConfig
    from inkstone.train.config_finetune import FinetuneConfig
    from inkstone.train.loop import Loop
    from inkstone.train.method import Lesson, method_named
    from inkstone.train.metrics import MetricsLog
    from inkstone.train.switches import prepare_switches
    from inkstone.train.teach import teach_settings

    set_quiet(True)
    tune_allocator()
    model = LlamaForCausalLM(LlamaConfig.model_validate(given.llama_keys(shape)))
    model.init_weights()
    stage, config_class = ("finetune", FinetuneConfig) if method == "chat" else ("align", AlignConfig)
    config = config_class.model_validate({"method": method, "steps": 1 << 20, **settings})
    out = Path(tempfile.mkdtemp())
    examples = encoded(shape, method)
    loop_settings = teach_settings(config, len(examples), packed=config.packing)
    tokenizer = Tokenizer.from_tokenizers(given.word_backend(shape), pad="<pad>", unk="<unk>")
    lesson = Lesson(model.train(), tokenizer, config, loop_settings, {}, out)
    way = method_named(method, stage)
    lesson.adapter = prepare_switches(lesson).adapter
    examples = way.complete(lesson, examples, "train")
    draw = way.draw or (lambda _, examples: InOrder(examples))
    loop = Loop(model, way.objective(lesson, examples), draw(lesson, examples), loop_settings, out, None)
    log = MetricsLog(out)

    def run(steps: int) -> None:
        for _ in range(steps):
            loop.step(log)

    run(1)
    return run


class InOrder:
    """One list of examples, again and again in its order."""

    def __init__(self, examples: Sequence[Any]) -> None:
        self._examples = examples
        self.per_epoch = len(examples)

    def batch(self, start: int, size: int) -> list[Any]:
        """Examples `start` to `start + size`."""
        return [self._examples[index % len(self._examples)] for index in range(start, start + size)]


def encoded(shape: given.Shape, method: str) -> list[Any]:
    """The examples, as a method's encoder leaves them."""
    from inkstone.data.examples.encoded import SequencePair, TokenSequence
    from inkstone.data.examples.records import Problem
    from inkstone.train.rl.prompts import Prompt

    def sequence(prompt: list[int], answer: list[int]) -> TokenSequence:
        return TokenSequence.of(prompt + answer, [False] * len(prompt) + [True] * len(answer))

    if method == "chat":
        return [sequence(*row) for row in given.rows(shape)]
    if method == "dpo":
        return [
            SequencePair(sequence(pair.prompt, pair.chosen), sequence(pair.prompt, pair.rejected))
            for pair in given.pairs(shape)
        ]
    problem = Problem(prompt="", answer=None, where="")
    return [Prompt(tuple(ids), problem) for ids in given.prompts(shape)]
