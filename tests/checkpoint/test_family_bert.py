"""BERT, RoBERTa and XLM-RoBERTa against `transformers`, in both directions."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from inkstone.checkpoint import load_model, read_safetensors, save_checkpoint, write_safetensors
from inkstone.core.errors import CheckpointError
from inkstone.nn.layers.attention import attention
from inkstone.nn.layers.mask import AttentionMask
from inkstone.nn.models.base import Encoder
from inkstone.nn.models.bert import BertConfig, BertModel
from inkstone.nn.models.masked_lm import BertForMaskedLM, MaskedLM, RobertaForMaskedLM
from tests.nn import contract
from tests.tiny_models import tiny_tokenizer

SIZES: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
}
NAMES = {"bert": "Bert", "roberta": "Roberta", "xlm-roberta": "XLMRoberta"}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("bert", {}),
    "bert, relu, three token types": ("bert", {"hidden_act": "relu", "type_vocab_size": 3, "layer_norm_eps": 1e-3}),
    "bert, gelu_new": ("bert", {"hidden_act": "gelu_new"}),
    "roberta": ("roberta", {"type_vocab_size": 1, "pad_token_id": 1, "layer_norm_eps": 1e-5}),
    "roberta, other padding": ("roberta", {"pad_token_id": 3}),
    "xlm-roberta": ("xlm-roberta", {"type_vocab_size": 1, "pad_token_id": 1}),
}


def theirs(model_type: str, suffix: str, **changes: Any) -> transformers.PreTrainedModel:
    """A random model of `transformers`, far from its initial weights."""
    config = getattr(transformers, f"{NAMES[model_type]}Config")(**SIZES | changes)
    torch.manual_seed(0)
    model = getattr(transformers, NAMES[model_type] + suffix)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def batch(pad_token_id: int, *, left: bool) -> tuple[Tensor, Tensor]:
    """Token ids (3, 12) and their attention mask."""
    mask = contract.padding_mask(left=left)
    ids = torch.randint(5, 320, mask.shape, generator=torch.Generator().manual_seed(1))
    return ids.where(mask.bool(), torch.tensor(pad_token_id)), mask


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=0)


def tiny(model_type: str = "bert", cls: type[Encoder] = BertModel, **changes: Any) -> Any:
    pad = 0 if model_type == "bert" else 1
    model = cls(BertConfig(model_type=model_type, pad_token_id=pad, **SIZES | changes))
    model.init_weights(torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


@pytest.mark.parametrize("model_type", NAMES)
@pytest.mark.parametrize("check", contract.ENCODER)
def test_contract(check: contract.Check[Encoder], model_type: str) -> None:
    if check is contract.encoder_padding_changes_nothing:
        check = partial(contract.encoder_padding_changes_nothing, first_position=0 if model_type == "bert" else 2)
    check(tiny(model_type))


@pytest.mark.parametrize(("model_type", "cls"), [("bert", BertForMaskedLM), ("roberta", RobertaForMaskedLM)])
@pytest.mark.parametrize("check", contract.MODEL)
def test_contract_of_masked_language_models(
    check: contract.Check[Encoder], model_type: str, cls: type[MaskedLM]
) -> None:
    check(tiny(model_type, cls))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
@torch.inference_mode()
def test_hidden_states_attentions_and_pooler(tmp_path: Path, variant: str, left: bool) -> None:
    model_type, changes = VARIANTS[variant]
    oracle = theirs(model_type, "Model", **changes, attn_implementation="eager")
    oracle.save_pretrained(tmp_path)
    model = load_model(tmp_path, device="cpu")
    assert type(model) is BertModel
    ids, mask = batch(oracle.config.pad_token_id, left=left)
    types = torch.arange(12).expand(3, -1) % oracle.config.type_vocab_size
    hidden_states: list[Tensor] = []
    attentions: list[Tensor] = []
    last = model.hidden_states(
        ids,
        attention_mask=mask,
        token_type_ids=types,
        output_hidden_states=hidden_states,
        output_attentions=attentions,
    )
    expected = oracle(ids, mask, types, output_hidden_states=True, output_attentions=True)
    real = mask.bool()
    assert len(hidden_states) == len(expected.hidden_states) == 3
    for ours, other in zip(hidden_states, expected.hidden_states, strict=True):
        assert_close(ours[real], other[real])
    for ours, other in zip(attentions, expected.attentions, strict=True):
        assert_close(ours.transpose(1, 2)[real], other.transpose(1, 2)[real])
    if not left:
        assert_close(model.pooled(last), expected.pooler_output)
    assert_close(model.hidden_states(ids, attention_mask=mask, token_type_ids=types)[real], last[real])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@torch.inference_mode()
def test_masked_language_logits_both_ways(tmp_path: Path, variant: str, dtype: torch.dtype) -> None:
    model_type, changes = VARIANTS[variant]
    oracle = theirs(model_type, "ForMaskedLM", **changes).to(dtype)
    oracle.save_pretrained(tmp_path / "theirs")
    model = load_model(tmp_path / "theirs", device="cpu", dtype=str(dtype).removeprefix("torch."))
    assert isinstance(model, MaskedLM)
    ids, mask = batch(oracle.config.pad_token_id, left=False)
    expected = oracle(ids, mask).logits[mask.bool()]
    ours = model(ids, attention_mask=mask)[mask.bool()]
    if dtype == torch.float32:
        assert_close(ours, expected)
    else:
        assert (ours.float() - expected.float()).norm() < 2e-2 * expected.float().norm()
    save_checkpoint(tmp_path / "ours", model, tiny_tokenizer())
    again, report = type(oracle).from_pretrained(tmp_path / "ours", dtype="auto", output_loading_info=True)
    assert not any(report.values()), report
    assert again.config.pad_token_id == oracle.config.pad_token_id
    torch.testing.assert_close(again(ids, mask).logits[mask.bool()], expected, rtol=0, atol=0)


@pytest.mark.parametrize("model_type", NAMES)
@torch.inference_mode()
def test_transformers_loads_encoders_saved_here(tmp_path: Path, model_type: str) -> None:
    model = tiny(model_type, add_pooling_layer=True, type_vocab_size=1)
    save_checkpoint(tmp_path, model, tiny_tokenizer())
    oracle, report = transformers.AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    assert type(oracle).__name__ == NAMES[model_type] + "Model"
    ids, mask = batch(model.config.pad_token_id, left=False)
    expected = oracle(ids, mask)
    hidden_states = model.hidden_states(ids, attention_mask=mask)
    assert_close(hidden_states[mask.bool()], expected.last_hidden_state[mask.bool()])
    assert_close(model.pooled(hidden_states), expected.pooler_output)


def rewritten(folder: Path, **renamed: str) -> None:
    """Rename parts of the tensors' names in a model folder."""
    tensors = read_safetensors(folder / "model.safetensors")
    out = {}
    for name, value in tensors.items():
        for old, new in renamed.items():
            name = name.replace(old, new)
        out[name] = value.clone()
    write_safetensors(folder / "model.safetensors", out)


@torch.inference_mode()
def test_files_of_2018(tmp_path: Path) -> None:
    """Pretraining heads, `gamma` and `beta`, a position table: as in the files of bert-base-uncased."""
    oracle = theirs("bert", "ForPreTraining")
    oracle.save_pretrained(tmp_path)
    rewritten(tmp_path, **{"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"})
    tensors = read_safetensors(tmp_path / "model.safetensors")
    assert "cls.seq_relationship.weight" in tensors
    tensors = {name: value.clone() for name, value in tensors.items()}
    tensors["bert.embeddings.position_ids"] = torch.arange(40).unsqueeze(0)
    write_safetensors(tmp_path / "model.safetensors", tensors)
    config = json.loads((tmp_path / "config.json").read_text())
    ids, mask = batch(0, left=False)
    for architecture in ("BertForPreTraining", "BertForMaskedLM"):
        (tmp_path / "config.json").write_text(json.dumps(config | {"architectures": [architecture]}))
        model = load_model(tmp_path, device="cpu")
        assert isinstance(model, BertForMaskedLM)
        expected = oracle(ids, mask, output_hidden_states=True)
        assert_close(model(ids, attention_mask=mask)[mask.bool()], expected.prediction_logits[mask.bool()])
        pooled = model.bert.pooled(model.hidden_states(ids, attention_mask=mask))
        assert_close(pooled, oracle.bert(ids, mask).pooler_output)


@pytest.mark.parametrize(
    ("suffix", "old", "new"),
    [("Model", "e", "e"), ("Model", "", ""), ("ForMaskedLM", "bert.", "")],
    ids=["as saved", "prefix added", "prefix missing"],
)
@torch.inference_mode()
def test_prefix_of_the_backbone(tmp_path: Path, suffix: str, old: str, new: str) -> None:
    oracle = theirs("bert", suffix)
    oracle.save_pretrained(tmp_path)
    if old:
        rewritten(tmp_path, **{old: new})
    else:
        tensors = read_safetensors(tmp_path / "model.safetensors")
        prefixed = {f"bert.{name}": value.clone() for name, value in tensors.items()}
        write_safetensors(tmp_path / "model.safetensors", prefixed)
    ids, _ = batch(0, left=False)
    assert_close(load_model(tmp_path, device="cpu")(ids), oracle(ids)[0])


@torch.inference_mode()
def test_an_encoder_without_pooler(tmp_path: Path) -> None:
    config = transformers.BertConfig(**SIZES)
    oracle = transformers.BertModel(config, add_pooling_layer=False).eval()
    oracle.save_pretrained(tmp_path)
    model = load_model(tmp_path, device="cpu")
    ids, _ = batch(0, left=False)
    assert_close(model(ids), oracle(ids).last_hidden_state)
    assert model.config.add_pooling_layer is False


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("position_embedding_type", "relative_key"),
        ("is_decoder", True),
        ("tie_word_embeddings", False),
        ("hidden_act", "mish"),
        ("num_attention_heads", 5),
    ],
)
def test_what_is_not_supported_is_refused(tmp_path: Path, key: str, value: object) -> None:
    theirs("bert", "Model").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(CheckpointError, match=key):
        load_model(tmp_path, device="cpu")


def test_initial_weights() -> None:
    model = BertForMaskedLM(BertConfig(**SIZES | {"hidden_size": 128, "initializer_range": 0.05}))
    model.init_weights(torch.Generator().manual_seed(0))
    first_attention = "bert.encoder.layer.0.attention.self."  # see tests/nn/test_initialization.py
    with_a_meaning = {f"{first_attention}query.weight", f"{first_attention}key.weight"}
    for name, parameter in model.named_parameters():
        if name in with_a_meaning:
            continue
        if parameter.dim() > 1:
            assert parameter.square().mean().sqrt().item() == pytest.approx(0.05, rel=0.1), name
        else:
            assert parameter.unique().tolist() == [0.0 if name.endswith("bias") else 1.0], name


@pytest.mark.parametrize("key", ["hidden_dropout_prob", "attention_probs_dropout_prob"])
def test_dropout_is_for_training_only(key: str) -> None:
    model = tiny(**{"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0} | {key: 0.5})
    ids, _ = batch(0, left=False)
    assert torch.equal(model(ids), model(ids))
    model.train()
    assert not torch.equal(model(ids), model(ids))


@pytest.mark.parametrize("implementation", ["sdpa", "explicit"])
def test_dropout_of_attention_weights_is_right_on_average(implementation: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, 1, 6, 8, generator=generator) for _ in range(3))
    causal = AttentionMask(causal=True)
    torch.manual_seed(0)
    many = [tensor.expand(4000, -1, -1, -1) for tensor in (query, key, value)]
    dropped = attention(*many, causal, dropout=0.25, implementation=implementation)
    expected = attention(query, key, value, causal, implementation=implementation)
    torch.testing.assert_close(dropped.mean(0, keepdim=True), expected, atol=0.06, rtol=0)
    share = (dropped[:, 0, 0] == 0).all(-1).float().mean()  # the first query sees one key only
    assert share.item() == pytest.approx(0.25, abs=0.03)
