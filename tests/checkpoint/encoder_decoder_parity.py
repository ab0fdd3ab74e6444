"""The same results as `transformers`, for encoder–decoders of every family: what their tests have in common."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import AutoModelForSeq2SeqLM

from inkstone.checkpoint import load_model, save_checkpoint
from inkstone.checkpoint.families import family_named
from inkstone.nn.models.base import EncoderDecoder
from tests.nn import contract
from tests.tiny_models import tiny_tokenizer

SPECIAL = {"vocab_size": 320, "pad_token_id": 2, "eos_token_id": 1, "decoder_start_token_id": 2}
SOURCE = torch.randint(5, 320, (3, 40), generator=torch.Generator().manual_seed(5))
TARGET = torch.randint(5, 320, (3, 30), generator=torch.Generator().manual_seed(6))
MASK = contract.padding_mask((40, 13, 4), 40, left=False)

M = TypeVar("M", bound=EncoderDecoder)


@torch.no_grad()
def add_noise(oracle: Any, spread: float) -> None:
    for parameter in oracle.parameters():
        if parameter.requires_grad:
            parameter.add_(spread * torch.randn_like(parameter))


def load_what_transformers_saved(folder: Path, oracle: Any, kind: type[M], dtype: str = "float32") -> M:
    oracle.save_pretrained(folder)
    model = load_model(folder, device="cpu", dtype=dtype)
    assert isinstance(model, kind)
    return model


def oracle_logits(oracle: Any) -> Tensor:
    return oracle(SOURCE, attention_mask=MASK, decoder_input_ids=TARGET).logits


def assert_same_logits_and_attentions(model: EncoderDecoder, oracle: Any, *, rtol: float = 0) -> None:
    oracle.set_attn_implementation("eager")
    expected = oracle(SOURCE, attention_mask=MASK, decoder_input_ids=TARGET, output_attentions=True)
    torch.testing.assert_close(model(SOURCE, TARGET, MASK), expected.logits, atol=1e-4, rtol=rtol)
    own: list[Tensor] = []
    cross: list[Tensor] = []
    encoder: list[Tensor] = []
    states = model.encode(SOURCE, attention_mask=MASK, output_attentions=encoder)
    model.decode(TARGET, states, encoder_mask=MASK, output_attentions=own, output_cross_attentions=cross)
    real = MASK[:, None, :, None].bool()  # queries that are padding attend as they like
    for ours, theirs in zip(encoder, expected.encoder_attentions, strict=True):
        torch.testing.assert_close(ours * real, theirs * real, atol=1e-5, rtol=0)
    for ours, theirs in zip((*own, *cross), (*expected.decoder_attentions, *expected.cross_attentions), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@torch.inference_mode()
def assert_logits_within_two_percent(model: EncoderDecoder, oracle: Any) -> None:
    expected = oracle_logits(oracle).float()
    assert (model(SOURCE, TARGET, MASK) - expected).norm() <= 2e-2 * expected.norm()


def assert_transformers_loads_what_is_saved(
    folder: Path, model: EncoderDecoder, oracle_class: type, *, rtol: float = 0
) -> None:
    save_checkpoint(folder, model, tiny_tokenizer())
    oracle, report = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype="auto", output_loading_info=True)
    assert not any(report.values()), report
    assert isinstance(oracle, oracle_class)
    assert oracle.config.decoder_start_token_id == oracle.generation_config.decoder_start_token_id == 2
    with torch.inference_mode():
        torch.testing.assert_close(model(SOURCE, TARGET, MASK), oracle_logits(oracle), atol=1e-4, rtol=rtol)


def assert_same_gradients(model: EncoderDecoder, oracle: Any, *, but: Collection[str] = ()) -> None:
    for logits in (model(SOURCE, TARGET, MASK), oracle_logits(oracle)):
        torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), TARGET[:, 1:].flatten()).backward()
    expected = dict(oracle.named_parameters())
    for name, parameter in model.named_parameters():
        if name not in but:
            torch.testing.assert_close(parameter.grad, expected[name].grad, atol=1e-4, rtol=1e-3, msg=name)


def assert_config_survives_the_way_and_back(model_type: str, settings: dict[str, Any]) -> None:
    family = family_named(model_type)
    config = family.from_hf(settings)
    assert family.from_hf(family.to_hf(config)) == config
