"""Shapes of a depth, against sizes and parameter counts worked out by hand."""

from typing import Any

import pytest
import torch

from inkstone.core.errors import ConfigError
from inkstone.nn.architectures import ARCHITECTURES
from inkstone.nn.sizing import feed_forward_size

VOCAB, CONTEXT = 1000, 128


def sizes(arch: str, depth: int, **chosen: Any) -> dict[str, Any]:
    return ARCHITECTURES[arch].sizes(arch, depth, chosen)


def num_parameters(arch: str, depth: int, **chosen: Any) -> int:
    architecture = ARCHITECTURES[arch]
    token_ids = {"pad_token_id": 2, "decoder_start_token_id": 2}
    with torch.device("meta"):
        model = architecture.build(architecture.config_of(sizes(arch, depth, **chosen), VOCAB, CONTEXT, token_ids))
    return model.num_parameters()


def test_feed_forward_widths() -> None:
    assert [feed_forward_size(width) for width in (64, 128, 192, 256, 768)] == [192, 352, 512, 704, 2048]


def test_the_shape_of_a_depth() -> None:
    transformer = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4}
    for arch in ("gpt2", "bert", "marian"):
        assert sizes(arch, 4) == transformer | {"intermediate_size": 1024}
    assert sizes("t5", 4) == transformer | {"intermediate_size": 1024, "head_dim": 64}
    assert sizes("modernbert", 4) == transformer | {"intermediate_size": 704}
    llama = transformer | {"intermediate_size": 704, "num_key_value_heads": 4, "head_dim": 64}
    assert sizes("llama", 4) == llama
    assert sizes("mixtral", 4) == llama | {"num_experts": 8, "num_experts_per_tok": 2}
    assert sizes("lstm", 4) == {"hidden_size": 512, "embedding_size": 256, "num_hidden_layers": 2}


def test_chosen_sizes_take_the_others_along() -> None:
    assert sizes("llama", 4, hidden_size=192) == {
        "hidden_size": 192,
        "num_hidden_layers": 4,
        "num_attention_heads": 3,
        "num_key_value_heads": 3,
        "head_dim": 64,
        "intermediate_size": 512,
    }
    assert sizes("llama", 4, num_attention_heads=8)["head_dim"] == 32
    assert sizes("llama", 4, num_attention_heads=8, num_key_value_heads=2)["num_key_value_heads"] == 2
    assert sizes("llama", 4, num_attention_heads=3, head_dim=64)["hidden_size"] == 256
    assert sizes("gpt2", 4, hidden_size=96)["intermediate_size"] == 384
    assert sizes("gpt2", 4, num_hidden_layers=2)["hidden_size"] == 128
    assert sizes("lstm", 4, num_hidden_layers=3) == {"hidden_size": 768, "embedding_size": 384, "num_hidden_layers": 3}
    assert sizes("lstm", 4, hidden_size=100) == {"hidden_size": 100, "embedding_size": 100, "num_hidden_layers": 2}


def test_parameters_are_those_counted_by_hand() -> None:
    embedding = VOCAB * 128
    assert num_parameters("llama", 2) == embedding + 2 * (4 * 128**2 + 3 * 128 * 352 + 2 * 128) + 128
    mixture = 8 * 3 * 128 * 352 + 8 * 128
    assert num_parameters("mixtral", 2) == embedding + 2 * (4 * 128**2 + mixture + 2 * 128) + 128
    block = 4 * 128**2 + 4 * 128 + 2 * 128 * 512 + 512 + 128 + 4 * 128
    assert num_parameters("gpt2", 2) == embedding + CONTEXT * 128 + 2 * block + 2 * 128
    head = 128**2 + 128 + 2 * 128 + VOCAB
    assert num_parameters("bert", 2) == embedding + (CONTEXT + 2) * 128 + 2 * 128 + 2 * block + head
    block = 4 * 128**2 + 3 * 128 * 352 + 2 * 128  # but for the first, which reads what is normalized
    assert num_parameters("modernbert", 2) == embedding + 2 * block + 128 + (128**2 + 128) + VOCAB
    layer = 4 * 256 * (128 + 256) + 2 * 4 * 256
    assert num_parameters("lstm", 2) == embedding + layer + 256 * 128


@pytest.mark.parametrize("arch", sorted(ARCHITECTURES))
def test_a_size_that_is_not_there_names_the_nearest(arch: str) -> None:
    with pytest.raises(ConfigError, match=f"{arch} has no hiden_size\n.*did you mean 'hidden_size'"):
        sizes(arch, 4, hiden_size=32)
