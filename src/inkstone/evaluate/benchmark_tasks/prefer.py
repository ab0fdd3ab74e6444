"""Which of two answers a model prefers."""

from collections.abc import Sequence
from typing import Any, ClassVar

from inkstone.core.errors import InputError
from inkstone.data.examples.answers import answer_ids_of
from inkstone.data.examples.encoded import TokenSequence
from inkstone.data.examples.records import Preference
from inkstone.evaluate.benchmark_tasks.base import BenchmarkTask, Subject, warn_of_cut
from inkstone.evaluate.benchmark_tasks.likelihoods import likelihoods
from inkstone.evaluate.metrics.base import Kind
from inkstone.evaluate.metrics.likelihood import Likelihood
from inkstone.evaluate.metrics.preference import Margin
from inkstone.nn.heads import HeadedModel
from inkstone.nn.models.base import Decoder, Model
from inkstone.train.objectives.answers import cut_prompt


class Prefer(BenchmarkTask[Preference]):
    """The likelier of two answers, or the one with the higher reward."""

    name: ClassVar[str] = "prefer"
    kind: ClassVar[Kind] = "margins"
    formats: ClassVar[tuple[str, ...]] = ("preferences",)
    baselines: ClassVar[tuple[str, ...]] = ("longer", "shorter")

    def takes(self, model: Model) -> bool:
        """Decoders, and reward models."""
        return isinstance(model, Decoder) or _gives_rewards(model)

    def predict(self, subject: Subject, examples: Sequence[Preference]) -> list[Margin]:
        """By how much each chosen answer is preferred."""
        whole = [
            (_encode(subject, example, answer), example.where)
            for example in examples
            for answer in (example.chosen, example.rejected)
        ]
        context = subject.context
        sequences = [_fitting(sequence, subject, where) for sequence, where in whole]
        warn_of_cut(sum(sequence.length > context for sequence, _ in whole), len(whole), context)
        if isinstance(subject.model, HeadedModel):
            rewards = _rewards(subject, sequences)
            return [Margin(chosen - rejected, chosen - rejected) for chosen, rejected in _pairs(rewards)]
        assert isinstance(subject.model, Decoder)
        return [_margin(*pair) for pair in _pairs(likelihoods(subject.model, sequences))]

    def metrics(self, examples: Sequence[Preference]) -> tuple[str, ...]:
        """In total and for a token."""
        return ("preference_accuracy", "preference_accuracy_per_token")

    def metrics_of_comparison(self) -> tuple[str, ...]:
        """DPO's implicit reward needs the reference."""
        return ("implicit_reward_accuracy",)

    def beside(self, predictions: Sequence[Margin], others: Sequence[Margin]) -> list[Margin]:
        """With the margins over those of the reference."""
        return [
            each._replace(over_reference=each.total - other.total)
            for each, other in zip(predictions, others, strict=True)
        ]

    def reference(self, example: Preference) -> None:
        """The chosen answer is the right one."""

    def shown_input(self, example: Preference) -> Any:
        """Prompt and both answers."""
        return {"prompt": example.prompt, "chosen": example.chosen, "rejected": example.rejected}

    def shown_prediction(self, prediction: Margin) -> dict[str, Any]:
        """The margins."""
        return {name: value for name, value in prediction._asdict().items() if value is not None}


def _gives_rewards(model: Model) -> bool:
    return (
        isinstance(model, HeadedModel) and model.head_config.kind == "sequence" and model.head_config.num_outputs == 1
    )


def _encode(subject: Subject, example: Preference, answer: Any) -> TokenSequence:
    """A prompt and an answer, of which the answer counts."""
    prompt_ids, answer_ids = answer_ids_of(subject.tokenizer, example.prompt, answer, example.where)
    return TokenSequence.of(prompt_ids + answer_ids, [False] * len(prompt_ids) + [True] * len(answer_ids))


def _fitting(sequence: TokenSequence, subject: Subject, where: str) -> TokenSequence:
    """The sequence, where it is too long without the beginning of its prompt, then without the end of its answer."""
    context = subject.context
    if sequence.length <= context:
        return sequence
    if not subject.config.truncate:
        raise InputError(
            f"{sequence.length:,} tokens of prompt and answer, and the model reads {context:,}",
            where=where,
            remedy="set truncate to cut such prompts and answers",
        )
    fitting = cut_prompt(sequence, sequence.length - context)
    return TokenSequence(fitting.input_ids[:context], fitting.labels[:context])


def _rewards(subject: Subject, sequences: Sequence[TokenSequence]) -> list[float]:
    from inkstone.tasks.headed import logits_of

    assert isinstance(subject.model, HeadedModel)
    rows = [sequence.input_ids.tolist() for sequence in sequences]
    logits = logits_of(subject.model, rows, [[0] * len(row) for row in rows], subject.tokenizer.pad_id)
    return [float(each[0]) for each in logits]


def _pairs(values: Sequence[Any]) -> list[tuple[Any, Any]]:
    return list(zip(values[::2], values[1::2], strict=True))


def _margin(chosen: Likelihood, rejected: Likelihood) -> Margin:
    per_token = rejected.nats / max(rejected.num_tokens, 1) - chosen.nats / max(chosen.num_tokens, 1)
    return Margin(rejected.nats - chosen.nats, per_token)
