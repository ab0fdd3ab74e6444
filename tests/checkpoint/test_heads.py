"""Heads on encoders and decoders against `transformers`: logits, losses, and folders in both directions."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from inkstone.checkpoint import load_model, save_checkpoint
from inkstone.checkpoint.heads import with_head
from inkstone.core.errors import CheckpointError, ConfigError
from inkstone.nn.heads import HeadConfig, HeadedModel
from inkstone.nn.layers.head_loss import preference_loss, sequence_loss, span_loss, token_loss
from inkstone.nn.models.bert import BertConfig, BertModel
from inkstone.nn.models.masked_lm import BertForMaskedLM
from tests.nn import contract
from tests.tiny_models import tiny_model, tiny_tokenizer

ENCODER = {
    "vocab_size": 320,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "pad_token_id": 2,
}
DECODER = ENCODER | {"num_key_value_heads": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "Bert": ENCODER,
    "Roberta": ENCODER,
    "XLMRoberta": ENCODER,
    "ModernBert": ENCODER | {"bos_token_id": 0, "eos_token_id": 1, "cls_token_id": 0, "sep_token_id": 1},
    "Llama": DECODER,
    "Mistral": DECODER,
    "Qwen2": DECODER,
    "Qwen3": DECODER | {"head_dim": 8},
    "SmolLM3": DECODER | {"no_rope_layers": [1, 0], "no_rope_layer_interval": 2},
    "Phi3": DECODER,
    "Olmo2": DECODER,
    "Mixtral": DECODER | {"num_local_experts": 3},
    "Qwen3Moe": DECODER | {"head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24},
    "GPT2": {"vocab_size": 320, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 40, "pad_token_id": 2},
}
WIRINGS = ("Bert", "Roberta", "ModernBert", "Llama", "Mistral", "GPT2")
"""Those whose heads are named or read each in their own way."""
FIRST = 5
LABELS = ("ham", "spam", "垃圾")


def theirs(name: str, suffix: str, **changes: Any) -> transformers.PreTrainedModel:
    """A random model of `transformers`, far from its initial weights."""
    config = getattr(transformers, f"{name}Config")(**FAMILIES[name] | changes)
    torch.manual_seed(0)
    model = getattr(transformers, name + suffix)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def batch() -> tuple[Tensor, Tensor]:
    """Token ids (3, 12) padded on the right, and their attention mask."""
    mask = contract.padding_mask(left=False)
    ids = torch.randint(FIRST, 320, mask.shape, generator=torch.Generator().manual_seed(1))
    return ids.where(mask.bool(), torch.tensor(2)), mask


def named(labels: tuple[str, ...]) -> dict[str, Any]:
    return {"id2label": dict(enumerate(labels)), "label2id": {label: index for index, label in enumerate(labels)}}


def both_ways(oracle: transformers.PreTrainedModel, folder: Path) -> HeadedModel:
    """Our model of a folder that `transformers` saved, once it has been shown that it reads ours."""
    oracle.save_pretrained(folder / "theirs")
    model = load_model(folder / "theirs", device="cpu")
    assert isinstance(model, HeadedModel)
    save_checkpoint(folder / "ours", model, tiny_tokenizer())
    again, report = type(oracle).from_pretrained(folder / "ours", output_loading_info=True)
    assert not any(report.values()), report
    assert again.config.architectures == [type(oracle).__name__]
    assert again.config.id2label == oracle.config.id2label
    assert again.config.label2id == oracle.config.label2id
    assert again.config.problem_type == oracle.config.problem_type
    expected = oracle.state_dict()
    assert again.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in again.state_dict().items())
    return model


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
@torch.inference_mode()
def test_sequence_classification(tmp_path: Path, name: str) -> None:
    oracle = theirs(name, "ForSequenceClassification", **named(LABELS))
    model = both_ways(oracle, tmp_path)
    assert (model.head_config.kind, model.head_config.labels) == ("sequence", LABELS)
    ids, mask = batch()
    labels = torch.tensor([2, 0, 1])
    expected = oracle(ids, attention_mask=mask, labels=labels)
    logits = model(ids, mask)
    assert_close(logits, expected.logits)
    assert_close(sequence_loss(logits, labels, model.head_config.problem), expected.loss)


@pytest.mark.parametrize("name", ["Bert", "Llama"])
@torch.inference_mode()
def test_multi_label_classification(tmp_path: Path, name: str) -> None:
    oracle = theirs(name, "ForSequenceClassification", **named(LABELS), problem_type="multi_label_classification")
    model = both_ways(oracle, tmp_path)
    assert model.head_config.problem_type == "multi_label_classification"
    ids, mask = batch()
    labels = torch.tensor([[1.0, 0, 1], [0, 0, 0], [1, 1, 1]])
    logits = model(ids, mask)
    loss = sequence_loss(logits, labels.long(), model.head_config.problem)
    assert_close(loss, oracle(ids, attention_mask=mask, labels=labels).loss)


@pytest.mark.parametrize("name", ["Roberta", "Qwen2", "GPT2"])
@torch.inference_mode()
def test_regression_and_reward(tmp_path: Path, name: str) -> None:
    model = both_ways(oracle := theirs(name, "ForSequenceClassification", num_labels=1), tmp_path)
    assert model.head_config.problem == "regression"
    ids, mask = batch()
    values = torch.tensor([0.5, -1.0, 2.0])
    expected = oracle(ids, attention_mask=mask, labels=values)
    logits = model(ids, mask)
    assert logits.shape == (3, 1)
    assert_close(logits, expected.logits)
    assert_close(sequence_loss(logits, values, model.head_config.problem), expected.loss)


@torch.inference_mode()
def test_regression_of_several_values(tmp_path: Path) -> None:
    oracle = theirs("Bert", "ForSequenceClassification", num_labels=2, problem_type="regression")
    model = both_ways(oracle, tmp_path)
    ids, mask = batch()
    values = torch.randn(3, 2)
    loss = sequence_loss(model(ids, mask), values, model.head_config.problem)
    assert_close(loss, oracle(ids, attention_mask=mask, labels=values).loss)


@pytest.mark.parametrize("name", WIRINGS)
@torch.inference_mode()
def test_token_classification(tmp_path: Path, name: str) -> None:
    oracle = theirs(name, "ForTokenClassification", **named(LABELS))
    model = both_ways(oracle, tmp_path)
    assert (model.head_config.kind, model.head_config.labels) == ("token", LABELS)
    ids, mask = batch()
    labels = (ids % 3).where(mask.bool(), torch.tensor(-100))
    expected = oracle(ids, attention_mask=mask, labels=labels)
    logits = model(ids, mask)
    assert_close(logits[mask.bool()], expected.logits[mask.bool()])
    assert_close(token_loss(logits, labels), expected.loss)


@pytest.mark.parametrize("name", WIRINGS)
@torch.inference_mode()
def test_extractive_span(tmp_path: Path, name: str) -> None:
    model = both_ways(oracle := theirs(name, "ForQuestionAnswering"), tmp_path)
    assert (model.head_config.kind, model.head_config.labels) == ("span", ())
    ids, mask = batch()
    starts, ends = torch.tensor([3, 1, 0]), torch.tensor([5, 12, 0])  # 12: cut off
    expected = oracle(ids, attention_mask=mask, start_positions=starts, end_positions=ends)
    logits = model(ids, mask)
    assert_close(logits[mask.bool()], torch.stack((expected.start_logits, expected.end_logits), -1)[mask.bool()])
    if name in ("Bert", "Llama"):
        row = mask.sum(-1) == 12  # their padding is read too, but its states mean nothing
        one = oracle(ids[row], attention_mask=mask[row], start_positions=starts[row], end_positions=ends[row])
        assert_close(span_loss(logits[row], starts[row], ends[row]), one.loss)


@torch.inference_mode()
def test_an_answer_that_was_cut_off_carries_no_loss() -> None:
    oracle = theirs("Bert", "ForQuestionAnswering")
    ids, _ = batch()
    starts, ends = torch.tensor([3, 1, 0]), torch.tensor([5, 12, 40])
    expected = oracle(ids, start_positions=starts, end_positions=ends)
    logits = torch.stack((expected.start_logits, expected.end_logits), -1)
    assert_close(span_loss(logits, starts, ends), expected.loss)


@pytest.mark.parametrize("name", ["Llama", "Qwen3"])
@torch.inference_mode()
def test_decoders_read_the_last_real_token_on_either_side(tmp_path: Path, name: str) -> None:
    oracle = theirs(name, "ForSequenceClassification", num_labels=1)
    oracle.save_pretrained(tmp_path)
    model = load_model(tmp_path, device="cpu")
    ids, mask = batch()
    left = torch.stack([row.roll(12 - size) for row, size in zip(ids, contract.LENGTHS, strict=True)])
    left_mask = contract.padding_mask(left=True)
    assert_close(model(left, left_mask), oracle(left, attention_mask=left_mask).logits)
    assert_close(model(left, left_mask), model(ids, mask))
    assert_close(model(ids[:1]), model(ids, mask)[:1])


def test_preference_loss_is_that_of_bradley_and_terry() -> None:
    chosen, rejected = torch.tensor([1.0, -2.0, 40.0]), torch.tensor([0.5, 1.0, -40.0])
    expected = -torch.log(torch.exp(chosen) / (torch.exp(chosen) + torch.exp(rejected))).nan_to_num(0.0).mean()
    assert_close(preference_loss(chosen, rejected), expected)


def bert_for_masked_lm(*, pooler: bool = False) -> BertForMaskedLM:
    model = BertForMaskedLM(BertConfig(**ENCODER, add_pooling_layer=pooler))
    model.init_weights(torch.Generator().manual_seed(0))
    return model.eval()


@pytest.mark.parametrize("kind", ["sequence", "token", "span"])
@pytest.mark.parametrize("base", ["llama", "bert", "bert with a pooler"])
def test_a_new_head_on_a_model_without_one(tmp_path: Path, base: str, kind: Any) -> None:
    model = tiny_model() if base == "llama" else bert_for_masked_lm(pooler=base == "bert with a pooler")
    head = HeadConfig(kind=kind, labels=() if kind == "span" else LABELS)
    headed = with_head(model, head, torch.Generator().manual_seed(1))
    again = with_head(model, head, torch.Generator().manual_seed(1))
    assert torch.equal(headed.output_layer.weight, again.output_layer.weight)
    assert 0.01 < headed.output_layer.weight.std() < 0.03
    ids, mask = batch()
    before = dict(model.named_parameters())
    kept = {name: value for name, value in headed.backbone.named_parameters() if "pooler" not in name}
    prefix = "model." if base == "llama" else "bert."
    assert all(torch.equal(value, before[prefix + name]) for name, value in kept.items())
    assert any("pooler" in name for name, _ in headed.named_parameters()) == (kind == "sequence" and base != "llama")
    if base == "bert with a pooler" and kind == "sequence":
        assert torch.equal(headed.get_parameter("bert.pooler.dense.weight"), model.bert.pooler["dense"].weight)
    save_checkpoint(tmp_path, headed, tiny_tokenizer())
    auto = {
        "sequence": transformers.AutoModelForSequenceClassification,
        "token": transformers.AutoModelForTokenClassification,
        "span": transformers.AutoModelForQuestionAnswering,
    }[kind]
    oracle, report = auto.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    with torch.inference_mode():
        logits = headed(ids, mask)
        assert torch.equal(load_model(tmp_path, device="cpu")(ids, mask), logits)
        output = oracle(ids, attention_mask=mask)
        expected = torch.stack(output[:2], -1) if kind == "span" else output.logits
        real = slice(None) if kind == "sequence" else mask.bool()
        assert_close(logits[real], expected[real])


def test_a_bare_backbone_is_enough(tmp_path: Path) -> None:
    """Its files have no `model.` before the names."""
    transformers.LlamaModel(transformers.LlamaConfig(**DECODER, tie_word_embeddings=True)).save_pretrained(tmp_path)
    model = load_model(tmp_path, device="cpu")
    headed = with_head(model, HeadConfig(kind="sequence", labels=LABELS))
    assert headed.backbone is model.get_submodule("model")
    oracle = transformers.LlamaModel.from_pretrained(tmp_path)
    ids, mask = batch()
    with torch.inference_mode():
        last = oracle(ids, mask).last_hidden_state[torch.arange(3), mask.sum(-1) - 1]
        assert_close(headed(ids, mask), last @ headed.output_layer.weight.T)


def test_a_pooler_that_nobody_reads_is_kept(tmp_path: Path) -> None:
    """Some taggers of the hub (dslim/bert-base-NER) were saved with one."""
    config = BertConfig(**ENCODER, add_pooling_layer=True)
    layout = with_head(BertModel(config), HeadConfig(kind="token", labels=LABELS)).layout
    model = layout.build(HeadConfig(kind="token", labels=LABELS), config)
    model.init_weights(torch.Generator().manual_seed(0))
    save_checkpoint(tmp_path, model, tiny_tokenizer())
    loaded = load_model(tmp_path, device="cpu")
    assert torch.equal(
        loaded.get_parameter("bert.pooler.dense.weight"), model.get_parameter("bert.pooler.dense.weight")
    )


def test_one_head_in_place_of_another() -> None:
    first = with_head(tiny_model(), HeadConfig(kind="token", labels=LABELS))
    second = with_head(first, HeadConfig(kind="sequence", labels=("reward",)))
    assert second.backbone is first.backbone
    assert second(batch()[0]).shape == (3, 1)


def test_a_family_without_that_head_is_refused(tmp_path: Path) -> None:
    config = transformers.Olmo2Config(**DECODER)
    transformers.Olmo2ForCausalLM(config).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="olmo2 model cannot have a span head"):
        with_head(load_model(tmp_path, device="cpu"), HeadConfig(kind="span"))


@pytest.mark.parametrize("base", ["llama", "bert"])
@pytest.mark.parametrize("check", [contract.saved_and_loaded_is_identical, contract.gradient_reaches_every_parameter])
def test_contract(check: Any, base: str) -> None:
    model = tiny_model() if base == "llama" else bert_for_masked_lm(pooler=True)
    check(with_head(model, HeadConfig(kind="sequence", labels=LABELS, classifier_dropout=0.3)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id2label": {"0": "a", "2": "b"}}, "numbered from 0"),
        ({"id2label": ["a", "b"]}, "numbered from 0"),
        ({"id2label": {"0": "a", "1": "a"}}, "two are the same"),
        ({"problem_type": "clustering"}, "problem_type"),
        ({"num_labels": -1, "id2label": None}, "num_labels"),
        ({"architectures": ["BertForNextSentencePrediction"]}, "BertForNextSentencePrediction"),
    ],
)
def test_unusable_heads_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    theirs("Bert", "ForSequenceClassification").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(CheckpointError, match=message):
        load_model(tmp_path, device="cpu")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"kind": "sequence"}, "at least one"),
        ({"kind": "span", "labels": ("a",)}, "has no labels"),
        ({"kind": "token", "labels": ("a", "a")}, "two are the same"),
        ({"kind": "token", "labels": ("a", "b"), "problem_type": "regression"}, "this is a token head"),
        ({"kind": "sequence", "labels": ("a",), "classifier_dropout": 1.0}, "classifier_dropout"),
    ],
)
def test_senseless_heads_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HeadConfig(**keys)


def test_dropout_is_on_what_the_head_reads() -> None:
    model = with_head(BertModel(BertConfig(**ENCODER)), HeadConfig(kind="token", labels=LABELS)).train()
    assert model.dropout.p == 0.1
    assert with_head(tiny_model(), HeadConfig(kind="token", labels=LABELS)).dropout.p == 0.0
    given = HeadConfig(kind="token", labels=LABELS, classifier_dropout=0.4)
    assert with_head(tiny_model(), given).dropout.p == 0.4
