from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inkstone.checkpoint import read_safetensors
from inkstone.core.config import parse_config
from inkstone.core.errors import ConfigError, InputError
from inkstone.tokenizer import Tokenizer
from inkstone.train.averaging import settle_weights
from inkstone.train.config import PretrainConfig
from inkstone.train.cost.counts import count
from inkstone.train.cost.disk import checkpoint_bytes
from tests.train.helpers import TINY, tiny_loop

NAME = "model.layers.1.self_attn.o_proj.weight"


def weights(out: Path, which: str) -> np.ndarray[Any, Any]:
    return read_safetensors(out / "checkpoints" / which / "model.safetensors")[NAME].numpy()


def test_the_model_is_numpys_mean_of_the_last_kept_weights(
    corpus_folder: Path, tokenizer: Tokenizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"steps": 9, "keep_every": 2, "keep": "average", "average_last": 3}
    loop = tiny_loop(corpus_folder, tokenizer, tmp_path, **changes)
    loop.run()
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["last", "step-0000002", "step-0000004", "step-0000006", "step-0000008"]
    loop.evaluate = lambda model, step: {"valid_loss": float(model.get_parameter(NAME).detach().sum())}
    valid_loss = settle_weights(loop)
    expected = np.mean([weights(tmp_path, name).astype(np.float64) for name in kept[2:]], axis=0)
    found = loop.model.get_parameter(NAME).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)
    assert valid_loss == pytest.approx(float(found.sum()), abs=1e-6)
    assert "the mean of the weights after the steps 4, 6, 8" in capsys.readouterr().err


def test_kept_weights_are_those_of_their_step(corpus_folder: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    tiny_loop(corpus_folder, tokenizer, tmp_path / "long", steps=6, keep_every=3, schedule={"name": "constant"}).run()
    tiny_loop(
        corpus_folder, tokenizer, tmp_path / "short", steps=3, schedule={"name": "constant", "warmup": 0.04}
    ).run()
    assert np.array_equal(weights(tmp_path / "long", "step-0000003"), weights(tmp_path / "short", "last"))


def test_a_run_that_ends_before_weights_are_kept(corpus_folder: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    loop = tiny_loop(corpus_folder, tokenizer, tmp_path, steps=2, keep_every=5, keep="average")
    loop.run()
    with pytest.raises(InputError, match="before weights were kept"):
        settle_weights(loop)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"keep": "average"}, "set keep_every"), ({"average_last": 3, "keep_every": 5}, "set keep to average")],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(PretrainConfig, TINY | changes, where="pretrain")


def test_the_disk_of_checkpoints_is_that_of_the_plan(corpus_folder: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    changes = {"steps": 9, "keep_every": 2, "ema": 0.9, "eval_every": 3, "optimizer": {"name": "adamw"}}
    loop = tiny_loop(corpus_folder, tokenizer, tmp_path, **changes)
    loop.evaluate = lambda model, step: {"valid_loss": 1 / step}
    loop.run()
    measured = sum(path.stat().st_size for path in (tmp_path / "checkpoints").rglob("*") if path.is_file())
    planned = checkpoint_bytes(loop.settings.config, count(loop.model, loop.settings.config.optimizer), 9)
    assert planned == pytest.approx(measured, rel=0.15)
