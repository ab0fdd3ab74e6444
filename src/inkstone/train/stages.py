"""The stages of training: folders in, a model folder out."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inkstone.checkpoint import save_checkpoint
from inkstone.core.device import seed_everything, tune_allocator
from inkstone.core.errors import InputError
from inkstone.core.progress import say
from inkstone.core.stage import Summary, stage
from inkstone.data.corpus import Corpus
from inkstone.data.packing import PackedSequences
from inkstone.data.tokens import TokenStore, tokenize
from inkstone.tokenizer import Tokenizer
from inkstone.train.averaging import settle_weights
from inkstone.train.config import PretrainConfig
from inkstone.train.config_align import AlignConfig
from inkstone.train.config_distill import DistillConfig
from inkstone.train.config_finetune import FinetuneConfig
from inkstone.train.continuation import continuation
from inkstone.train.cost.estimate import outline_of, plan_of
from inkstone.train.cost.new_model import outline_new_model
from inkstone.train.extend import goes_on
from inkstone.train.learning import Learning, build_model, equip, learning_of
from inkstone.train.loop import Loop, LoopSettings, pretrain_settings
from inkstone.train.method import method_for
from inkstone.train.metrics import LOSS_CURVE, read_metrics
from inkstone.train.teach import teach
from inkstone.train.validation import ValidationLoss


@stage("pretrain", inputs=("corpus", "tokenizer"), plan=plan_of("pretrain"), outline=outline_new_model, extends=goes_on)
def pretrain(config: PretrainConfig, inputs: Mapping[str, Path], out: Path) -> Summary:
    """Train a language model from scratch on a corpus."""
    tune_allocator()
    seed_everything(config.seed)
    tokenizer = equip(Tokenizer.load(inputs["tokenizer"]), config)
    corpus = Corpus(inputs["corpus"])
    train_store = _tokens(corpus, "train", tokenizer, out)
    settings = pretrain_settings(config)
    model = build_model(config, tokenizer)
    model.to(settings.device)
    learning = learning_of(config, tokenizer)
    examples = learning.examples(PackedSequences(train_store, learning.length, config.seed))
    loop = Loop(model, learning.objective, examples, settings, out, None)
    loop.evaluate = _validation(corpus, tokenizer, learning, loop, out)
    began = time.perf_counter()
    state = loop.run()
    valid_loss = settle_weights(loop)
    save_checkpoint(out, model, tokenizer, training=_card(config, settings, loop))
    rows = read_metrics(out)
    return {
        "parameters": model.num_parameters(),
        "steps": state.step,
        "tokens": state.tokens,
        "seconds": round(state.seconds, 1),
        "minutes_this_time": round((time.perf_counter() - began) / 60, 2),
        "tokens_per_second": round(state.tokens / max(state.seconds, 1e-9)),
        "train_loss": next((row["loss"] for row in reversed(rows) if "loss" in row), math.nan),
        "valid_loss": valid_loss,
        **({"continued_from_step": state.continued_from} if state.continued_from else {}),
        "loss_curve": LOSS_CURVE,
    }


@stage(
    "finetune",
    inputs=("model", "data"),
    optional_inputs=("replay",),
    plan=plan_of("finetune"),
    outline=outline_of("finetune"),
    extends=goes_on,
)
def finetune(config: FinetuneConfig, inputs: Mapping[str, Path], out: Path) -> Summary:
    """Teach a model a job by examples of it."""
    return teach(method_for("finetune", config, inputs), config, inputs, out)


@stage(
    "align",
    inputs=("model", "data"),
    optional_inputs=("reward", "replay"),
    plan=plan_of("align"),
    outline=outline_of("align"),
    extends=goes_on,
)
def align(config: AlignConfig, inputs: Mapping[str, Path], out: Path) -> Summary:
    """Teach a model what is preferred."""
    return teach(method_for("align", config, inputs), config, inputs, out)


@stage(
    "distill",
    inputs=("model", "teacher", "data"),
    optional_inputs=("replay",),
    plan=plan_of("distill"),
    outline=outline_of("distill"),
    extends=goes_on,
)
def distill(config: DistillConfig, inputs: Mapping[str, Path], out: Path) -> Summary:
    """Teach a model to answer as a larger one does."""
    return teach(method_for("distill", config, inputs), config, inputs, out)


def _tokens(corpus: Corpus, split: Any, tokenizer: Tokenizer, out: Path) -> TokenStore:
    return tokenize(corpus.texts(split), tokenizer, out / "tokens" / split, total=corpus.num_documents(split))


def _validation(
    corpus: Corpus, tokenizer: Tokenizer, learning: Learning, loop: Loop[Any], out: Path
) -> ValidationLoss | None:
    if corpus.num_documents("valid") == 0:
        say("the corpus has no validation text: the last weights become the model")
        return None
    store = _tokens(corpus, "valid", tokenizer, out)
    settings = loop.settings
    config = settings.config
    try:
        examples = learning.examples(PackedSequences(store, learning.length, config.seed))
    except InputError:
        say(f"the validation text has only {store.num_tokens:,} tokens, less than one sequence: training without it")
        return None
    count = max(1, min(examples.per_epoch, config.eval_tokens // learning.length))
    size = len(settings.split(range(settings.batch_size))[0])  # batches of another size would be compiled anew
    count = max(count // size * size, min(count, size))
    valid = examples.batch(0, count)
    loop.sample = continuation(loop.model, tokenizer, settings, valid)
    return ValidationLoss(valid, learning.objective, loop.batch_loss, settings.split)


def _card(config: PretrainConfig, settings: LoopSettings, loop: Loop[Any]) -> dict[str, Any]:
    return {
        "steps": loop.state.step,
        "tokens": loop.state.tokens,
        "sequences per step": settings.batch_size,
        "context length": config.context_length,
        "learned": _LEARNED[config.architecture.learning],
        "optimizer": config.optimizer.name,
        "learning rate": settings.learning_rate,
        "schedule": config.schedule.name,
        "matrix products in": str(settings.dtype).removeprefix("torch."),
        "validation loss": loop.state.best_loss,
        "seed": config.seed,
    }


_LEARNED = {
    "next_token": "to predict the next token",
    "masked_tokens": "to find hidden tokens",
    "corrupted_spans": "to write back spans that were cut out",
}
