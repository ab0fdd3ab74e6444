"""The same results as `transformers`, for decoders of every family: what their tests have in common."""

from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from inkstone.checkpoint import load_model, save_checkpoint
from inkstone.nn.models.base import Decoder
from inkstone.nn.sampling_params import SamplingParams
from tests.engine.generating import generate
from tests.tiny_models import tiny_tokenizer

GREEDY = SamplingParams(temperature=0, max_new_tokens=64)

M = TypeVar("M", bound=Decoder)


def load_what_transformers_saved(folder: Path, oracle: Any, kind: type[M], dtype: str = "float32") -> M:
    oracle.save_pretrained(folder)
    model = load_model(folder, device="cpu", dtype=dtype)
    assert isinstance(model, kind)
    assert str(model.dtype) == f"torch.{dtype}"
    return model


@torch.inference_mode()
def assert_same_logits(model: Decoder, oracle: Any, ids: Tensor) -> None:
    torch.testing.assert_close(model(ids), oracle(ids).logits, atol=1e-4, rtol=0)


@torch.inference_mode()
def assert_same_logits_with_padding(model: Decoder, oracle: Any, ids: Tensor, mask: Tensor) -> None:
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    expected = oracle(ids, attention_mask=mask, position_ids=positions).logits[mask.bool()]
    torch.testing.assert_close(model(ids, attention_mask=mask)[mask.bool()], expected, atol=1e-4, rtol=0)


@torch.inference_mode()
def assert_logits_within_two_percent(model: Decoder, oracle: Any, ids: Tensor) -> None:
    expected = oracle(ids).logits.float()
    assert (model(ids).float() - expected).norm() < 2e-2 * expected.norm()


def load_there_what_is_saved_here(folder: Path, model: Decoder, oracle_class: type) -> Any:
    save_checkpoint(folder, model, tiny_tokenizer())
    oracle, report = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", output_loading_info=True)
    assert not any(report.values()), report
    assert type(oracle) is oracle_class
    assert sum(parameter.numel() for parameter in oracle.parameters()) == model.config.num_parameters()
    return oracle


def assert_same_greedy_tokens(model: Decoder, oracle: Any, prompt: Tensor) -> None:
    expected = oracle.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        do_sample=False,
        max_new_tokens=64,
        eos_token_id=None,
        pad_token_id=2,
    )
    (completion,) = generate(model, prompt[0].tolist(), GREEDY)
    assert completion.token_ids == expected[0, prompt.shape[1] :].tolist()
