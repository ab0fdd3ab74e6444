"""ModernBERT against `transformers`, in both directions."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from inkstone.checkpoint import load_model, save_checkpoint
from inkstone.checkpoint.heads import with_head
from inkstone.core.errors import CheckpointError
from inkstone.nn.adapter_config import LoRAConfig
from inkstone.nn.adapters import add_adapter
from inkstone.nn.heads import HeadConfig
from inkstone.nn.models.base import Encoder
from inkstone.nn.models.modernbert import ModernBertConfig, ModernBertForMaskedLM, ModernBertModel
from inkstone.train.switches import with_new_parts
from tests.nn import contract
from tests.tiny_models import randomized, tiny_tokenizer

SIZES: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
}
THEIRS = SIZES | {"pad_token_id": 2, "bos_token_id": 0, "eos_token_id": 1, "cls_token_id": 0, "sep_token_id": 1}
SLIDING, FULL = "sliding_attention", "full_attention"
VARIANTS: dict[str, dict[str, Any]] = {
    "one layer of three sees everything": {"local_attention": 6},
    "windows longer than the text": {},
    "no windows": {"layer_types": [FULL] * 4},
    "windows in no pattern": {"layer_types": [SLIDING, FULL, FULL, SLIDING], "local_attention": 4},
    "biases everywhere, other activations": {
        "norm_bias": True,
        "attention_bias": True,
        "mlp_bias": True,
        "classifier_bias": True,
        "decoder_bias": False,
        "hidden_activation": "silu",
        "classifier_activation": "relu",
        "norm_eps": 1e-3,
    },
    "other rotary bases": {
        "local_attention": 6,
        "rope_parameters": {
            FULL: {"rope_type": "default", "rope_theta": 50.0},
            SLIDING: {"rope_type": "default", "rope_theta": 20.0},
        },
    },
}


def theirs(suffix: str, **changes: Any) -> transformers.PreTrainedModel:
    """A random model of `transformers`, far from its initial weights."""
    torch.manual_seed(0)
    model = getattr(transformers, f"ModernBert{suffix}")(transformers.ModernBertConfig(**THEIRS | changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def tiny(cls: type[Encoder] = ModernBertForMaskedLM, **changes: Any) -> Any:
    return randomized(cls(ModernBertConfig(**SIZES | changes))).eval()  # type: ignore[call-arg]


def batch(*, left: bool) -> tuple[Tensor, Tensor]:
    """Token ids (3, 12) and their attention mask."""
    mask = contract.padding_mask(left=left)
    ids = torch.randint(5, 320, mask.shape, generator=torch.Generator().manual_seed(1))
    return ids.where(mask.bool(), torch.tensor(2)), mask


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("check", contract.ENCODER)
def test_contract(check: contract.Check[Encoder]) -> None:
    check(tiny(ModernBertModel, layer_types=(FULL, SLIDING, SLIDING, FULL), local_attention=6))


@pytest.mark.parametrize("check", contract.MODEL)
def test_contract_of_the_masked_language_model(check: contract.Check[Encoder]) -> None:
    check(tiny())


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
@torch.inference_mode()
def test_hidden_states_and_attentions(tmp_path: Path, variant: str, left: bool) -> None:
    oracle = theirs("Model", **VARIANTS[variant], attn_implementation="eager")
    oracle.save_pretrained(tmp_path)
    model = load_model(tmp_path, device="cpu")
    assert type(model) is ModernBertModel
    ids, mask = batch(left=left)
    hidden_states: list[Tensor] = []
    attentions: list[Tensor] = []
    last = model.hidden_states(
        ids, attention_mask=mask, output_hidden_states=hidden_states, output_attentions=attentions
    )
    expected = oracle(ids, mask, output_hidden_states=True, output_attentions=True)
    real = mask.bool()
    for ours, other in zip(hidden_states, expected.hidden_states, strict=True):
        assert_close(ours[real], other[real])
    for ours, other in zip(attentions, expected.attentions, strict=True):
        assert_close(ours.transpose(1, 2)[real], other.transpose(1, 2)[real])
    assert_close(model.hidden_states(ids, attention_mask=mask)[real], last[real])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@torch.inference_mode()
def test_masked_language_logits_both_ways(tmp_path: Path, variant: str, dtype: torch.dtype) -> None:
    theirs("ForMaskedLM", **VARIANTS[variant]).to(dtype).save_pretrained(tmp_path / "theirs")
    # `to` rounds its rotary frequencies, too, which loading does not.
    oracle = transformers.ModernBertForMaskedLM.from_pretrained(tmp_path / "theirs", dtype=dtype)
    model = load_model(tmp_path / "theirs", device="cpu", dtype=str(dtype).removeprefix("torch."))
    assert isinstance(model, ModernBertForMaskedLM)
    ids, mask = batch(left=False)
    real = mask.bool()
    expected = oracle(ids, mask).logits[real]
    ours = model(ids, attention_mask=mask)[real]
    if dtype == torch.float32:
        assert_close(ours, expected)
    else:
        assert (ours.float() - expected.float()).norm() < 2e-2 * expected.float().norm()
    save_checkpoint(tmp_path / "ours", model, tiny_tokenizer())
    again, report = type(oracle).from_pretrained(tmp_path / "ours", dtype="auto", output_loading_info=True)
    assert not any(report.values()), report
    assert all(
        value is None or value < 320 for key, value in again.config.to_dict().items() if key.endswith("token_id")
    )
    torch.testing.assert_close(again(ids, mask).logits[real], expected, rtol=0, atol=0)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@torch.inference_mode()
def test_what_a_head_reads_of_a_text(tmp_path: Path, pooling: str) -> None:
    oracle = theirs("ForSequenceClassification", classifier_pooling=pooling, num_labels=3, local_attention=6)
    oracle.save_pretrained(tmp_path)
    ids, mask = batch(left=False)
    model = load_model(tmp_path, device="cpu")
    expected = oracle(ids, mask).logits
    assert_close(model(ids, mask), expected)
    assert_close(model(ids[:1]), oracle(ids[:1]).logits)
    left = torch.stack([row.roll(12 - size) for row, size in zip(ids, contract.LENGTHS, strict=True)])
    assert_close(model(left, contract.padding_mask(left=True)), expected)


@torch.inference_mode()
def test_a_new_head_goes_on_from_the_masked_language_head(tmp_path: Path) -> None:
    """As `transformers` does, whose classes give both the same name."""
    model = tiny(classifier_pooling="mean", classifier_bias=True)
    headed = with_head(model, HeadConfig(kind="sequence", labels=("ham", "spam")))
    assert torch.equal(headed.get_parameter("head.dense.weight"), model.head.dense.weight)
    save_checkpoint(tmp_path, headed, tiny_tokenizer())
    oracle, report = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    ids, mask = batch(left=False)
    assert_close(headed(ids, mask), oracle(ids, attention_mask=mask).logits)
    tagger = with_head(headed, HeadConfig(kind="token", labels=("O", "B-X", "I-X")))
    assert tagger.get_submodule("head") is headed.get_submodule("head") is model.head
    bare = with_head(model.model, HeadConfig(kind="token", labels=("O", "B-X", "I-X")))
    assert bare.get_submodule("head") is not model.head


def test_an_adapter_trains_the_head_and_the_layer_before_it_whole() -> None:
    headed = with_head(tiny(), HeadConfig(kind="sequence", labels=("ham", "spam")))
    add_adapter(headed, with_new_parts(headed, LoRAConfig(r=2)))
    trained = {name for name, parameter in headed.named_parameters() if parameter.requires_grad}
    whole = {name for name in trained if "lora" not in name}
    assert {name.split(".")[0] for name in whole} == {"head", "classifier"}
    adapted = trained - whole
    assert {part for name in adapted for part in name.split(".")} & {"Wqkv", "Wi", "Wo"} == {"Wqkv", "Wi", "Wo"}


@torch.inference_mode()
def test_config_json_of_version_4(tmp_path: Path) -> None:
    """It has a step and two keys for the rotary bases, where version 5 lists the layers."""
    oracle = theirs("ForMaskedLM", local_attention=6)
    oracle.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config.pop("layer_types") == [FULL, SLIDING, SLIDING, FULL]
    config.pop("rope_parameters")
    config |= {"global_attn_every_n_layers": 3, "global_rope_theta": 160000.0, "local_rope_theta": 10000.0}
    (tmp_path / "config.json").write_text(json.dumps(config))
    ids, mask = batch(left=False)
    model = load_model(tmp_path, device="cpu")
    assert_close(model(ids, attention_mask=mask)[mask.bool()], oracle(ids, mask).logits[mask.bool()])
    save_checkpoint(tmp_path / "ours", model, tiny_tokenizer())
    written = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert {key: written[key] for key in config if key.startswith(("global", "local"))} == {
        "global_attn_every_n_layers": 3,
        "global_rope_theta": 160000.0,
        "local_rope_theta": 10000.0,
        "local_attention": 6,
    }


@torch.inference_mode()
def test_a_local_base_of_null_is_the_global_one(tmp_path: Path) -> None:
    """In files of version 4; where the key is missing it is 10,000."""
    bases = {kind: {"rope_type": "default", "rope_theta": 50.0} for kind in (FULL, SLIDING)}
    oracle = theirs("Model", local_attention=6, rope_parameters=bases)
    oracle.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["rope_parameters"]
    config |= {"global_rope_theta": 50.0, "local_rope_theta": None, "rope_scaling": {"rope_type": "default"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    ids, mask = batch(left=False)
    ours = load_model(tmp_path, device="cpu").hidden_states(ids, attention_mask=mask)  # type: ignore[operator]
    assert_close(ours[mask.bool()], oracle(ids, mask).last_hidden_state[mask.bool()])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_activation", "mish"),
        ("rope_scaling", {"rope_type": "linear", "factor": 2.0}),
        ("rope_parameters", {FULL: {"rope_type": "yarn", "factor": 2.0}}),
        ("rope_parameters", [1]),
        ("rope_parameters", {"rope_type": "linear", "factor": 4.0, "rope_theta": 5.0}),
        ("rope_parameters", {FULL: 5.0}),
        ("num_hidden_layers", "4.5"),
        ("tie_word_embeddings", False),
        ("layer_types", [FULL]),
        ("global_attn_every_n_layers", 0),
        ("num_attention_heads", 5),
    ],
)
def test_what_is_not_supported_is_refused(tmp_path: Path, key: str, value: object) -> None:
    theirs("Model").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    if key == "global_attn_every_n_layers":
        del config["layer_types"]
    (tmp_path / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(CheckpointError, match=key):
        load_model(tmp_path, device="cpu")


def test_initial_weights() -> None:
    model = ModernBertForMaskedLM(ModernBertConfig(**SIZES | {"hidden_size": 128, "initializer_range": 0.05}))
    model.init_weights(torch.Generator().manual_seed(0))
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            expected = 0.05 / 8**0.5 if name.endswith("Wo.weight") else 0.05
            assert parameter.square().mean().sqrt().item() == pytest.approx(expected, rel=0.1), name
        else:
            assert parameter.unique().tolist() == [0.0 if name.endswith("bias") else 1.0], name


@pytest.mark.parametrize("key", ["embedding_dropout", "attention_dropout", "mlp_dropout"])
def test_dropout_is_for_training_only(key: str) -> None:
    model = tiny(**{key: 0.5})
    ids, _ = batch(left=False)
    assert torch.equal(model(ids), model(ids))
    model.train()
    assert not torch.equal(model(ids), model(ids))
