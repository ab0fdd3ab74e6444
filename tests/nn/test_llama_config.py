"""Configs of the Llama family: what cannot be, or could not be saved, is refused by name."""

import pytest
from pydantic import ValidationError

from inkstone.nn.models.olmo2 import Olmo2Config
from inkstone.nn.models.phi3 import Phi3Config
from tests.tiny_models import tiny_config

WINDOW_IN_ONE = ("full_attention", "sliding_attention")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_key_value_heads": 3}, "num_attention_heads 4 is not a multiple of num_key_value_heads 3"),
        ({"head_dim": 7}, "multiple of 2"),
        ({"hidden_act": "cosine"}, "hidden_act"),
        ({"model_type": "lama"}, "model_type"),
        ({"sliding_window": 8}, r"'llama' has no sliding_window; these have it: mistral, qwen2, qwen3, smollm3"),
        ({"model_type": "mistral", "attention_bias": True}, "'mistral' has no attention_bias"),
        ({"model_type": "mistral", "sliding_window": 8, "layer_types": WINDOW_IN_ONE}, "'mistral' has no layer_types"),
        ({"model_type": "qwen2"}, "'qwen2' always has attention_bias"),
        ({"model_type": "qwen3", "mlp_bias": True}, "'qwen3' has no mlp_bias"),
        ({"model_type": "qwen3", "layer_types": WINDOW_IN_ONE}, "sliding_window is not given"),
        ({"model_type": "qwen3", "sliding_window": 8, "layer_types": WINDOW_IN_ONE[:1]}, "layer_types has 1 entries"),
        ({"model_type": "smollm3", "no_rope_layers": (1, 0, 1)}, "no_rope_layers has 3 entries for 2 layers"),
        ({"rope_scaling": {"rope_type": "linear"}}, "factor"),
        ({"rope_scaling": {"rope_type": "magic", "factor": 2.0}}, "magic"),
        (
            {
                "rope_scaling": {
                    "rope_type": "llama3",
                    "factor": 8.0,
                    "low_freq_factor": 4.0,
                    "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 32,
                }
            },
            "high_freq_factor 4.0 must be greater than low_freq_factor 4.0",
        ),
    ],
    ids=str,
)
def test_impossible_shapes_are_refused_by_name(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        tiny_config(**changes)


def test_relatives_with_classes_of_their_own_refuse_what_they_lack() -> None:
    shape = tiny_config().model_dump(exclude={"model_type"})
    with pytest.raises(ValidationError, match="'olmo2' has no mlp_bias"):
        Olmo2Config(**{**shape, "mlp_bias": True})
    with pytest.raises(ValidationError, match=r"partial_rotary_factor 0\.4 rotates 3 of head_dim 8"):
        Phi3Config(**shape, partial_rotary_factor=0.4)


def test_windows_by_layer() -> None:
    assert tiny_config().windows == (None, None)
    assert tiny_config(model_type="mistral", sliding_window=8).windows == (8, 8)
    mixed = tiny_config(model_type="qwen3", sliding_window=8, layer_types=WINDOW_IN_ONE)
    assert mixed.windows == (None, 8)


def test_parameters_are_counted_without_making_them() -> None:
    for config in (tiny_config(), Phi3Config(**tiny_config().model_dump(exclude={"model_type"}))):
        assert config.num_parameters() == config.build().num_parameters()
