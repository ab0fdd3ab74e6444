"""What the tests of adapter folders share: a base model's folder, and an adapter on it as after some training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from inkstone.checkpoint import load_model, save_checkpoint
from inkstone.nn.adapter_config import LoRAConfig
from inkstone.nn.adapters import Adapter, add_adapter
from inkstone.nn.models.base import EncoderDecoder, Model
from tests.tiny_models import tiny_model, tiny_tokenizer

IDS = torch.randint(5, 320, (2, 16), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bases") / "tiny-llama"
    save_checkpoint(folder, tiny_model(tie_word_embeddings=False, num_key_value_heads=2), tiny_tokenizer())
    return folder


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        two_sided = isinstance(model, EncoderDecoder) or getattr(model.config, "is_encoder_decoder", False)
        output = model(input_ids=IDS, **({"decoder_input_ids": IDS[:, :9]} if two_sided else {}))
        return output if isinstance(output, Tensor) else output.logits


def perturb(parameters: Mapping[str, nn.Parameter]) -> None:
    generator = torch.Generator().manual_seed(7)
    for parameter in parameters.values():
        parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def ours(base: Path, **settings: Any) -> tuple[Model, Adapter]:
    model = load_model(base, device="cpu")
    adapter = add_adapter(model, LoRAConfig(**settings), torch.Generator().manual_seed(3))
    perturb(adapter.parameters())
    return model, adapter
