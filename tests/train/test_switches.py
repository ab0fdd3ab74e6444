"""Each switch with every family, and what comes out of it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from inkstone.checkpoint import load_checkpoint, read_safetensors, save_checkpoint
from inkstone.checkpoint.adapters import load_adapter
from inkstone.core.config import parse_config
from inkstone.core.errors import ConfigError, InkstoneError
from inkstone.core.registry import lookup
from inkstone.core.stage import execute
from inkstone.nn.architectures import ARCHITECTURES
from inkstone.nn.kernels import llama_block
from inkstone.nn.models.base import EncoderDecoder
from inkstone.nn.rebuild import with_dropout
from inkstone.tokenizer import Tokenizer
from inkstone.train.config_finetune import FinetuneConfig
from inkstone.train.learning import build_model, equip
from inkstone.train.metrics import read_metrics
from inkstone.train.switches import mixture_weights
from tests.tiny_models import tiny_model
from tests.train.helpers import tiny_loop
from tests.train.kill import Job
from tests.train.taught import job_of
from tests.train.test_from_scratch import settings

EVERYTHING: dict[str, Any] = {
    "freeze": {"blocks": 1},
    "layer_decay": 0.7,
    "gradient_checkpointing": True,
    "neftune_alpha": 5.0,
    "ema": 0.9,
    "keep_every": 1,
    "keep": "average",
    "curriculum": True,
}


@pytest.fixture(autouse=True)
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inkstone.train.metrics.plot_losses", lambda *_: None)


def run(job: Job, out: Path) -> dict[str, Any]:
    stage = lookup("stages", job.stage)
    return execute(stage, parse_config(stage.config, job.config, where=job.stage), job.inputs, out).summary


@pytest.fixture
def family_job(tokenizer: Tokenizer, tmp_path: Path) -> Callable[..., Job]:
    """The job of teaching a tiny model of an architecture what it can be taught without a new head."""

    def make(arch: str, **changes: Any) -> Job:
        config = settings(arch)
        equipped = equip(tokenizer, config)
        model = build_model(config, equipped)
        save_checkpoint(tmp_path / arch, model, equipped)
        method = "pairs" if isinstance(model, EncoderDecoder) else "text"
        job = job_of(method, tmp_path, steps=2, log_every=1, eval_every=2, **changes)
        return replace(job, inputs={**job.inputs, "model": str(tmp_path / arch)})

    return make


@pytest.mark.parametrize("arch", sorted(ARCHITECTURES))
def test_all_switches_of_a_whole_model_with_every_family(
    arch: str, family_job: Callable[..., Job], tmp_path: Path
) -> None:
    job = family_job(arch, **EVERYTHING)
    summary = run(job, tmp_path / "out")
    assert 0 < summary["trained_parameters"] < summary["parameters"]
    before, after = (
        read_safetensors(Path(folder) / "model.safetensors") for folder in (job.inputs["model"], tmp_path / "out")
    )
    same = [name for name, value in before.items() if torch.equal(value, after[name])]
    assert 0 < len(same) < len(before)
    assert all(
        row["of_peak"] > 0 and row["memory_bytes"] > 10**7 for row in read_metrics(tmp_path / "out") if "loss" in row
    )


@pytest.mark.parametrize("arch", sorted(ARCHITECTURES))
def test_an_adapter_on_a_quantized_base_with_every_family(
    arch: str, family_job: Callable[..., Job], tmp_path: Path
) -> None:
    job = family_job(arch, lora={"r": 2}, quantize_base="int8", gradient_checkpointing=True)
    if arch == "lstm":
        with pytest.raises(InkstoneError, match="no linear layers to quantize"):
            run(job, tmp_path / "out")
        return
    summary = run(job, tmp_path / "out")
    assert (
        summary["parameters"]
        == load_checkpoint(job.inputs["model"], "cpu")[0].num_parameters() + summary["trained_parameters"]
    )
    weights = sum(path.stat().st_size for path in (tmp_path / "out" / "checkpoints").rglob("model.safetensors"))
    assert weights < 4 * 2 * summary["trained_parameters"] + 20_000
    merged = execute(
        lookup("stages", "merge"),
        lookup("stages", "merge").config(),
        {"model": job.inputs["model"], "adapter": tmp_path / "out"},
        tmp_path / "merged",
    )
    assert merged.summary["adapted_layers"] > 0


@pytest.mark.parametrize("precision", [None, "int4"])
def test_a_model_with_a_new_head_is_saved_whole(precision: str | None, tmp_path: Path) -> None:
    job = job_of("classify", tmp_path, lora={"r": 2}, quantize_base=precision, steps=3, learning_rate=0.02, keep="last")
    run(job, tmp_path / "out")
    model, _ = load_checkpoint(tmp_path / "out", "cpu")
    base = read_safetensors(Path(job.inputs["model"]) / "model.safetensors")
    trained = read_safetensors(tmp_path / "out" / "checkpoints" / "last" / "model.safetensors")
    query = "bert.encoder.layer.0.attention.self.query"
    update = trained[f"{query}.lora_B.weight"] @ trained[f"{query}.lora_A.weight"] * (8 / 2)
    assert float(update.abs().max()) > 1e-4
    torch.testing.assert_close(model.get_parameter(f"{query}.weight"), base[f"{query}.weight"] + update)
    for name in ("classifier.weight", "classifier.bias", "bert.pooler.dense.weight"):
        assert torch.equal(model.get_parameter(name), trained[name])


def test_an_adapter_is_saved_alone_and_does_what_it_did(tmp_path: Path) -> None:
    job = job_of("chat", tmp_path, lora={"r": 4, "use_dora": True}, steps=6, learning_rate=0.01, keep="last")
    summary = run(job, tmp_path / "out")
    assert not (tmp_path / "out" / "model.safetensors").exists()
    model, _ = load_checkpoint(job.inputs["model"], "cpu", "float32")
    adapter = load_adapter(tmp_path / "out", model)
    assert adapter.num_parameters() == summary["trained_parameters"]
    last = read_safetensors(tmp_path / "out" / "checkpoints" / "last" / "model.safetensors")
    assert adapter.parameters().keys() == last.keys()
    assert all(torch.equal(value, last[name]) for name, value in adapter.parameters().items())


@pytest.mark.parametrize("how", ["fused", "compiled", "packed"])
def test_checkpointed_steps_are_those_of_other_runs(
    how: str, corpus_folder: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    if how == "fused" and llama_block.unavailable() is not None:
        pytest.skip("no native kernel here")
    changes = {"fused": how == "fused", "compile": False, "micro_batch_size": 4}
    results = []
    for checkpointed in (False, True):
        out = tmp_path / str(checkpointed)
        loop = tiny_loop(corpus_folder, tokenizer, out, gradient_checkpointing=checkpointed, **changes)
        if how == "compiled":
            for block in loop.model.blocks:
                block.compile(dynamic=False, backend="aot_eager")
        assert loop.state.environment["fused"] is (how == "fused")
        loss, _, _ = loop.accumulate_gradient(0)
        results.append((loss, [parameter.grad for parameter in loop.parameters]))
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-6)
    for first, second in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(second, first, rtol=0, atol=1e-6)


def test_checkpointed_blocks_hold_fewer_bytes_for_the_backward_pass() -> None:
    held = []
    for checkpointed in (False, True):
        model, total = tiny_model(num_hidden_layers=6).train(), 0
        if checkpointed:
            model.checkpoint_blocks()

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal total
            total += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model(torch.zeros(4, 48, dtype=torch.long)).sum()
        held.append(total)
    assert held[1] < held[0] / 3


def test_mixtures_are_weights_of_examples() -> None:
    sources = ["en", "zh", "en", ""]
    assert mixture_weights(FinetuneConfig(), sources) is None
    assert mixture_weights(FinetuneConfig(mixture={"en": 0.5, "zh": 3}), sources) == [0.5, 3, 0.5, 1.0]
    with pytest.raises(ConfigError, match=r"(?s)no training example is of 'eng'.*did you mean 'en'"):
        mixture_weights(FinetuneConfig(mixture={"eng": 2}), sources)
    with pytest.raises(ConfigError, match="no example is left"):
        mixture_weights(FinetuneConfig(mixture={"en": 0}), ["en", "en"])


def test_an_epoch_of_a_mixture_has_the_examples_that_it_draws(tmp_path: Path) -> None:
    job = job_of("chat", tmp_path, mixture={"en": 2, "zh": 0.5}, epochs=1, steps=None)
    summary = run(job, tmp_path / "out")
    assert summary["examples"] == 16
    assert summary["steps"] == (8 * 2 + 8 * 0.5) / 4


@pytest.mark.parametrize("arch", ["bert", "modernbert", "t5", "marian", "lstm"])
def test_dropout_is_on_while_it_is_taught_only(arch: str, tokenizer: Tokenizer) -> None:
    config = settings(arch)
    model = build_model(config, equip(tokenizer, config))
    changed = with_dropout(model, 0.4)
    ids = torch.arange(12).reshape(2, 6)
    given = {"decoder_input_ids": ids} if isinstance(model, EncoderDecoder) else {}
    with torch.no_grad():
        expected = model.eval()(ids, **given)
        torch.testing.assert_close(changed.eval()(ids, **given), expected)
        changed.train()
        assert not torch.allclose(changed(ids, **given), changed(ids, **given))
    names = {"bert": ("hidden_dropout_prob", "attention_probs_dropout_prob"), "t5": ("dropout_rate",)}
    names["modernbert"] = ("embedding_dropout", "attention_dropout", "mlp_dropout")
    assert all(getattr(changed.config, name) == 0.4 for name in names.get(arch, ("dropout",)))


def test_dropout_reaches_a_model_with_a_head(tmp_path: Path) -> None:
    job = job_of("classify", tmp_path, dropout=0.25)
    run(job, tmp_path / "out")
    model, _ = load_checkpoint(tmp_path / "out", "cpu", "float32")
    dropouts = {name: module.p for name, module in model.named_modules() if isinstance(module, torch.nn.Dropout)}
    assert {value for name, value in dropouts.items() if name != "dropout"} == {0.25}
    assert model.config.hidden_dropout_prob == 0.25  # type: ignore[attr-defined]


def test_a_family_without_dropout_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a llama model has no dropout"):
        run(job_of("chat", tmp_path, dropout=0.1), tmp_path / "out")
