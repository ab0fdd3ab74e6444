"""What is counted before a run, beside what the run's own model, optimizers and folder turn out to have."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from inkstone.core.files import write_json
from inkstone.core.manifest import read_manifest
from inkstone.core.records import Document
from inkstone.data.corpus import SPLITS, Corpus, CorpusWriter, Split
from inkstone.data.tokens import tokenize
from inkstone.nn.adapter_config import LoRAConfig
from inkstone.nn.adapters import add_adapter
from inkstone.nn.layers.quantized import QuantizedLinear
from inkstone.train.config import PretrainConfig
from inkstone.train.cost.amounts_teach import num_read
from inkstone.train.cost.counts import count
from inkstone.train.cost.forecast import Forecast
from inkstone.train.cost.live import live
from inkstone.train.cost.sketch import depth_of, sketch
from inkstone.train.cost.trial import shallow
from inkstone.train.cost.trial_pretrain import PretrainTrial
from inkstone.train.cost.trials import parsed, trial_of
from inkstone.train.objectives import num_tokens
from inkstone.train.optim import OptimizerConfig, build_optimizers
from inkstone.train.switches import quantize_base
from tests.tiny_models import tiny_model
from tests.train.helpers import TINY
from tests.train.kill import Runner
from tests.train.taught import METHODS, job_of

MEGABYTE = 1 << 20


def forecast_of(method: str, folder: Path, **changes: Any) -> Forecast:
    job = job_of(method, folder, **changes)
    config = parsed(job.stage, job.config)
    return Forecast.of(trial_of(job.stage, config, {name: Path(path) for name, path in job.inputs.items()}), config)


@pytest.mark.parametrize("name", ["adamw", "muon", "sgd"])
def test_what_optimizers_remember(name: str) -> None:
    model = tiny_model()
    config = OptimizerConfig.model_validate({"name": name})
    counted = count(model, config)
    optimizers = build_optimizers(model, config, 1.0)
    model(torch.arange(8).reshape(1, 8)).sum().backward()
    for optimizer in optimizers:
        optimizer.step()
    states = [value for optimizer in optimizers for state in optimizer.state.values() for value in state.values()]
    tensors = [value for value in states if isinstance(value, torch.Tensor) and value.dim() > 0]
    assert counted.optimizer_values == sum(tensor.numel() for tensor in tensors)
    assert all(tensor.dtype == torch.float32 for tensor in tensors)


def test_an_adapter_on_a_quantized_base() -> None:
    model = tiny_model()
    quantize_base(model, "int8")
    add_adapter(model, LoRAConfig(r=2, target_modules=("q_proj",)))
    counted = count(model, OptimizerConfig(name="adamw"))
    assert counted.trained == 2 * (2 * 32 + 32 * 2)
    assert counted.optimizer_values == 2 * counted.trained
    quantized = sum(each.num_weights for each in model.modules() if isinstance(each, QuantizedLinear))
    plain = 4 * sum(parameter.numel() for parameter in model.parameters())
    assert quantized < counted.weight_bytes - plain < 1.3 * quantized  # a byte each, and scales


def test_keys_and_values_of_a_token() -> None:
    model = tiny_model()
    heads, width = model.config.num_key_value_heads, model.config.head_dim
    assert count(model, OptimizerConfig()).cache_values == 2 * model.config.num_hidden_layers * heads * width


def test_memory_that_a_computation_takes_at_once() -> None:
    def compute() -> None:
        first = torch.zeros(MEGABYTE // 4)  # 1 MiB
        second = torch.zeros(MEGABYTE)  # 4 MiB beside it
        del second
        torch.zeros(MEGABYTE // 2)  # 2 MiB beside the first
        del first

    assert live(compute, torch.device("cpu")).peak_bytes == pytest.approx(5 * MEGABYTE, rel=0.001)


def test_a_deep_model_is_sketched_from_shallow_ones(tmp_path: Path) -> None:
    """What the blocks keep, extrapolated from four, is what eight blocks keep."""
    trial = forecast_of("chat", tmp_path).trial
    deep = shallow(trial.base(), 2)
    deep = type(deep)(deep.config.model_copy(update={"num_hidden_layers": 8}))  # type: ignore[call-arg]
    deep.init_weights()
    assert depth_of(deep) == 8
    trial.base = lambda: deep  # type: ignore[method-assign]
    sketched = sketch(trial, trial.config)
    loop_run = trial.run(deep, trial.config, tmp_path)

    def compute() -> None:
        batch = loop_run.loop.objective.collate(loop_run.hungriest)
        loop_run.loop.batch_loss(batch)[0].backward()  # type: ignore[no-untyped-call]

    assert sketched.live_bytes == pytest.approx(live(compute, torch.device("cpu")).peak_bytes, rel=0.05)


@pytest.mark.parametrize("method", METHODS)
def test_parameters_and_disk_are_those_of_the_run(method: str, tmp_path: Path, runner: Runner) -> None:
    lora = {"lora": {"r": 2}} if method in {"chat", "classify", "dpo"} else {}
    planned = forecast_of(method, tmp_path, **lora).to_plan()
    job = job_of(method, tmp_path, **lora)
    out = tmp_path / "out"
    assert runner.run(replace(job, out=str(out))) == 0
    summary = read_manifest(out).summary
    assert planned["parameters"] == summary["parameters"]
    assert planned["trained_parameters"] == summary["trained_parameters"]
    disk = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    assert planned["disk_bytes"] == pytest.approx(disk, rel=0.15)


@pytest.mark.parametrize("order", [1, -1])
def test_a_corpus_is_counted_from_a_sample_of_it(order: int, tokenizer_folder: Path, tmp_path: Path) -> None:
    """Whatever comes first in it; and where it holds out little, evaluations are as much shorter."""
    texts = [*["The ink is ground on the stone. " * 20] * 6000, *["墨"] * 9000][::order]
    counts = {split: {"documents": 0, "bytes": 0} for split in SPLITS}
    with CorpusWriter(tmp_path / "corpus") as writer:
        for number, text in enumerate(texts):
            split: Split = "train" if number % 50 else "valid"
            writer.write(Document(text, str(number), "made up"), split)
            counts[split]["documents"] += 1
            counts[split]["bytes"] += len(text.encode())
    write_json(tmp_path / "corpus" / "card.json", {"splits": counts})
    config = PretrainConfig(**TINY | {"context_length": 32, "eval_tokens": 10**9})
    inputs = {"corpus": tmp_path / "corpus", "tokenizer": tokenizer_folder}
    trial = PretrainTrial(config, inputs)
    corpus = Corpus(tmp_path / "corpus")
    stored = {each: tokenize(corpus.texts(each), trial.tokenizer, tmp_path / "tokens" / each) for each in SPLITS}
    assert trial.amounts.validation_tokens == pytest.approx(stored["valid"].num_tokens, rel=0.03)
    on_disk = sum(file.stat().st_size for file in (tmp_path / "tokens").rglob("*.bin"))
    assert trial.amounts.kept_bytes == pytest.approx(on_disk, rel=0.03)
    assert trial.amounts.start_seconds > 0
    few = PretrainTrial(config.model_copy(update={"eval_tokens": 64}), inputs).amounts
    assert few.validation_tokens == 64
    unknown = PretrainTrial(config, {"tokenizer": tokenizer_folder}).amounts
    assert unknown.validation_tokens == 10**9 // 32 * 32
    assert unknown.kept_bytes == unknown.start_seconds == 0


@pytest.mark.parametrize("method", METHODS)
def test_tokens_are_those_that_are_read(method: str, tmp_path: Path) -> None:
    trial = forecast_of(method, tmp_path).trial
    run = trial.run(trial.load(), trial.config, tmp_path / "run")
    batch = run.loop.objective.collate(run.hungriest)
    assert sum(map(num_read, run.hungriest)) == num_tokens(batch)


def test_a_text_without_its_spans_is_as_long_as_what_is_read(tokenizer_folder: Path) -> None:
    """64 tokens: 15 % are cut out, 10 in 3 spans; a sentinel stands for each, and an end token comes after all."""
    model = {"arch": "t5", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = PretrainConfig(**TINY | {"model": model, "context_length": 64})
    assert PretrainTrial(config, {"tokenizer": tokenizer_folder}).amounts.example_tokens == 64 - 10 + 3 + 1
