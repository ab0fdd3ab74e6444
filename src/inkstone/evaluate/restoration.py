"""The loss of models that restore text instead of continuing it: on hidden tokens, or on spans that were cut out."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inkstone.core.errors import CheckpointError
from inkstone.core.progress import progress, say
from inkstone.data.noise import NoiseConfig
from inkstone.data.packing import PackedSequences
from inkstone.data.tokens import tokenize
from inkstone.evaluate.confidence import bootstrap_ratio
from inkstone.evaluate.likelihood import fitting_context, perplexity_of
from inkstone.nn.models.base import EncoderDecoder, Model
from inkstone.nn.models.masked_lm import MaskedLM
from inkstone.tokenizer import Tokenizer

if TYPE_CHECKING:
    import torch

    from inkstone.train.config import PretrainConfig


def evaluate_restoration(
    model: Model,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    *,
    context_length: int | None,
    noise: NoiseConfig,
    autocast: "torch.dtype | None",
    seed: int,
) -> dict[str, Any]:
    """The mean loss of a masked language model on hidden tokens, of an encoder–decoder on spans that were cut out.

    What is hidden is a matter of `noise` and the seed. Such a model says nothing about the probability of a whole text,
    so there are no bits per byte.

    Args:
        model: with an output layer.
        tokenizer: the model's own, with its mask token or sentinels.
        texts: documents, packed into sequences one after the other.
        context_length: tokens of a sequence; the model's own when None.
        noise: what is hidden, and what is to be written back.
        autocast: dtype to multiply in, where it is not the weights' own.
        seed: of what is hidden and of the bootstrap.

    Raises:
        CheckpointError: the model has no output layer, or its tokenizer nothing to hide tokens with.
        ConfigError: `context_length` is more than the model reads.
        InputError: the texts are shorter than one sequence.
    """
    import torch

    from inkstone.train.learning import learning_of

    config = _settings(model, tokenizer, context_length, noise, seed)
    learning = learning_of(config, tokenizer)
    losses, counts = [], []
    with tempfile.TemporaryDirectory() as folder:
        packed = PackedSequences(tokenize(texts, tokenizer, Path(folder) / "tokens"), learning.length, seed)
        examples = learning.examples(packed)
        with (
            torch.inference_mode(),
            torch.autocast(model.device.type, dtype=autocast or torch.bfloat16, enabled=autocast is not None),
            progress("score sequences", total=packed.per_epoch, unit="sequence") as bar,
        ):
            for index in range(packed.per_epoch):
                batch = learning.objective.collate(examples.batch(index, 1))
                counts.append(learning.objective.num_targets(batch))
                batch = {name: value.to(model.device) for name, value in batch.items()}
                losses.append(float(learning.objective.loss(model, batch)[0]))
                bar.update(1)
    loss = bootstrap_ratio(losses, counts, seed=seed)
    return {
        "learning": config.architecture.learning,
        "loss": asdict(loss),
        "perplexity": float(perplexity_of(loss.value)),
        "density": noise.density,
        "restored": noise.restore,
        "context_length": config.context_length,
        "sequences": len(losses),
        "restored_tokens": sum(counts),
    }


def _settings(
    model: Model, tokenizer: Tokenizer, context_length: int | None, noise: NoiseConfig, seed: int
) -> "PretrainConfig":
    from inkstone.nn.architectures import Arch
    from inkstone.train.config import PretrainConfig, ShapeConfig
    from inkstone.train.learning import equip

    if not isinstance(model, MaskedLM | EncoderDecoder):
        raise CheckpointError(
            f"a {model.config.model_type} model ({type(model).__name__}) without a language model's output layer",
            remedy="evaluate a decoder, a masked language model or an encoder–decoder",
        )
    length = fitting_context(model.context, context_length)
    arch: Arch = "bert" if isinstance(model, MaskedLM) else "t5"
    config = PretrainConfig(model=ShapeConfig(arch=arch), context_length=length, noise=noise, seed=seed)
    if equip(tokenizer, config) is not tokenizer:
        what = "mask token" if arch == "bert" else "sentinels (<extra_id_0> …) for so many spans"
        raise CheckpointError(
            f"its tokenizer has no {what}, so the model was not trained to restore text in that way",
            remedy="evaluate it on its own task, or lower context_length",
        )
    say(f"a {model.config.model_type} model gives no probability to a whole text; this is its loss on hidden parts")
    return config


def restoration_markdown(name: str, report: dict[str, Any]) -> str:
    """The report as a page for people."""
    loss = report["loss"]
    interval = "" if loss["low"] is None else f" ({loss['low']:.4f} to {loss['high']:.4f})"
    restored = "spans that were cut out" if report["restored"] == "spans" else "texts that spans were cut out of"
    hidden = "hidden tokens" if report["learning"] == "masked_tokens" else restored
    return (
        f"# {name}\n\n"
        f"Loss on {hidden}: **{loss['value']:.4f}** nats per token{interval}, "
        f"perplexity {report['perplexity']:.2f}.\n\n"
        f"{report['restored_tokens']:,} tokens to restore in {report['sequences']:,} sequences of "
        f"{report['context_length']:,} tokens, {report['density']:.0%} of each hidden. The interval is a 95 % "
        "bootstrap over sequences. It cannot be compared with the loss of a model that predicts the next token.\n"
    )
