from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from inkstone.core.config import parse_config
from inkstone.core.errors import ConfigError
from inkstone.core.stage import execute
from inkstone.train.config import PretrainConfig
from inkstone.train.metrics import LOSS_CURVE, read_metrics
from inkstone.train.stages import pretrain
from tests.train.helpers import TINY


@pytest.fixture(scope="module")
def out(corpus_folder: Path, tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stage") / "pretrain"
    config = PretrainConfig(**TINY | {"steps": 10, "eval_every": 5, "eval_tokens": 256})
    result = execute(pretrain, config, {"corpus": corpus_folder, "tokenizer": tokenizer_folder}, folder)
    assert result.summary["tokens"] == 10 * 8 * 32
    assert result.summary["valid_loss"] == min(row["valid_loss"] for row in read_metrics(folder) if "valid_loss" in row)
    return folder


def test_the_output_is_a_model_folder_that_transformers_loads(out: Path) -> None:
    from transformers import AutoTokenizer, LlamaForCausalLM

    from inkstone.checkpoint import load_checkpoint

    text = "The stick of ink. 学而不思则罔。"
    theirs = LlamaForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    ids = AutoTokenizer.from_pretrained(out)(text).input_ids
    ours, tokenizer = load_checkpoint(out, device="cpu", dtype="float32")
    assert tokenizer.encode(text) == ids
    with torch.no_grad():
        expected = theirs(torch.tensor([ids])).logits
        torch.testing.assert_close(ours(torch.tensor([ids])), expected, rtol=0, atol=1e-4)


def test_metrics_reach_tensorboard_and_the_curve(out: Path) -> None:
    rows = read_metrics(out)
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    for name in ("loss", "valid_loss", "learning_rate"):
        written = [(row["step"], row[name]) for row in rows if name in row]
        read = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in read] == [step for step, _ in written]
        assert [value for _, value in read] == pytest.approx([value for _, value in written], rel=1e-6)
    assert (out / LOSS_CURVE).read_bytes().startswith(b"\x89PNG")


def test_the_dial_chooses_a_shape_and_sizes_override_it() -> None:
    shape = PretrainConfig(depth=6).shape(1000)
    assert (shape.hidden_size, shape.num_hidden_layers, shape.num_attention_heads) == (384, 6, 6)
    chosen = PretrainConfig(model={"hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 6})  # type: ignore[arg-type]
    assert (chosen.shape(1000).head_dim, chosen.shape(1000).num_hidden_layers) == (16, 3)
    with pytest.raises(ConfigError, match="multiple"):
        parse_config(PretrainConfig, {"model": {"hidden_size": 100, "num_attention_heads": 3}}, where="pretrain")


def test_a_micro_batch_divides_the_batch() -> None:
    config = PretrainConfig(batch_size=12, context_length=1024)
    assert config.chosen_micro_batch_size("cpu") == 2
    with pytest.raises(ConfigError, match="does not divide"):
        PretrainConfig(batch_size=12, micro_batch_size=5).chosen_micro_batch_size("cpu")


def test_the_plan_counts_parameters_and_times_steps(tokenizer_folder: Path) -> None:
    assert pretrain.plan is not None
    config = PretrainConfig(**TINY | {"steps": 100})
    plan = pretrain.plan(config, {"tokenizer": tokenizer_folder})
    assert plan["parameters"] == config.shape(plan_vocabulary(tokenizer_folder)).num_parameters()
    assert plan["tokens"] == 100 * 8 * 32
    assert plan["seconds"] > 0


def plan_vocabulary(folder: Path) -> int:
    from inkstone.tokenizer import Tokenizer

    return Tokenizer.load(folder).vocab_size
