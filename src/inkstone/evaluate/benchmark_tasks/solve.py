"""Problems whose answers can be checked."""

from collections.abc import Sequence
from typing import Any, ClassVar

from inkstone.core.errors import InputError
from inkstone.core.progress import progress
from inkstone.core.registry import lookup
from inkstone.data.examples.records import Problem
from inkstone.evaluate.benchmark_config import BenchmarkConfig
from inkstone.evaluate.benchmark_tasks.base import BenchmarkTask, Subject
from inkstone.evaluate.metrics.base import Kind
from inkstone.evaluate.metrics.problems import Attempts
from inkstone.nn.models.base import Decoder, Model
from inkstone.nn.sampling_params import SamplingParams

_MAX_NEW_TOKENS = 256


class Solve(BenchmarkTask[Problem]):
    """A reward says whether an answer is right."""

    name: ClassVar[str] = "solve"
    kind: ClassVar[Kind] = "attempts"
    formats: ClassVar[tuple[str, ...]] = ("problems",)
    baselines: ClassVar[tuple[str, ...]] = ("majority_answer",)
    decoding: ClassVar[tuple[str, ...]] = ("max_new_tokens", "num_samples", "temperature", "reward")

    def takes(self, model: Model) -> bool:
        """Whatever continues text."""
        return isinstance(model, Decoder)

    def predict(self, subject: Subject, examples: Sequence[Problem]) -> list[Attempts]:
        """The rewards of the likeliest answer to each problem and of some that are drawn."""
        config = subject.config
        longest = config.max_new_tokens or _MAX_NEW_TOKENS
        greedy = _answers(subject, examples, SamplingParams(max_new_tokens=longest, temperature=0))
        sampled: list[list[str]] = [[] for _ in examples]
        if config.num_samples:
            drawing = SamplingParams(
                max_new_tokens=longest, temperature=config.temperature, num_return_sequences=config.num_samples
            )
            sampled = _answers(subject, examples, drawing)
        reward = lookup("rewards", config.reward)
        return [
            Attempts(reward(example, likeliest), tuple(reward(example, text) for text in drawn), likeliest)
            for example, (likeliest,), drawn in zip(examples, greedy, sampled, strict=True)
        ]

    def of_baseline(
        self, config: BenchmarkConfig, examples: Sequence[Problem], predictions: Sequence[Any]
    ) -> list[Attempts]:
        """The rewards of texts."""
        reward = lookup("rewards", config.reward)
        return [Attempts(reward(example, text), (), text) for example, text in zip(examples, predictions, strict=True)]

    def metrics(self, examples: Sequence[Problem]) -> tuple[str, ...]:
        """Of the likeliest answer and of those drawn."""
        return ("solved", "solved_mean", "pass_at_k")

    def reference(self, example: Problem) -> str | None:
        """The answer."""
        return example.answer

    def shown_input(self, example: Problem) -> Any:
        """The prompt."""
        return example.prompt

    def shown_prediction(self, prediction: Attempts) -> dict[str, Any]:
        """The likeliest answer and all rewards."""
        return prediction._asdict()


def _answers(subject: Subject, examples: Sequence[Problem], params: SamplingParams) -> list[list[str]]:
    """`params.num_return_sequences` answers to each problem; each problem has a random stream of its own."""
    from inkstone.checkpoint.save import stop_ids
    from inkstone.engine.config import EngineConfig
    from inkstone.engine.offline import as_completed
    from inkstone.engine.open import open_engine
    from inkstone.engine.request import Request
    from inkstone.train.rl.prompts import prompt_ids_of

    model, tokenizer = subject.model, subject.tokenizer
    assert isinstance(model, Decoder)
    prompts = [prompt_ids_of(tokenizer, example) for example in examples]
    for example, prompt_ids in zip(examples, prompts, strict=True):
        if not 0 < len(prompt_ids) < model.context:
            raise InputError(
                f"the prompt has {len(prompt_ids):,} tokens, and the model reads {model.context:,}",
                where=example.where,
                remedy="shorten it or leave it out",
            )
    config = EngineConfig(max_running=subject.config.batch_size)
    engine = open_engine(model, config, stop_ids=tuple(stop_ids(tokenizer, model)), decode=tokenizer.decode)
    requests = [
        Request(prompt, params.model_copy(update={"seed": subject.config.seed + number}))
        for number, prompt in enumerate(prompts)
    ]
    answers: list[list[str]] = [[] for _ in prompts]
    with progress("solve problems", total=len(prompts), unit="problem") as bar:
        for number, outputs in as_completed(engine, requests):
            answers[number] = [each.text for each in outputs]
            bar.update(1)
    return answers
