"""A tiny random model of every family that writes, float32, contexts of 48 to 64 tokens."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch

from inkstone.engine.native_runner import NativeRunner
from inkstone.engine.runner import Runner
from inkstone.engine.torch_runner import RecurrentRunner, TorchRunner
from inkstone.nn.kernels.decoder_step import unavailable, unsupported
from inkstone.nn.models.base import Decoder, EncoderDecoder
from inkstone.nn.models.gpt2 import GPT2Config, GPT2LMHeadModel
from inkstone.nn.models.lstm import LstmConfig, LstmForCausalLM
from inkstone.nn.models.mixtral import MixtralConfig
from inkstone.nn.models.olmo2 import Olmo2Config
from inkstone.nn.models.phi3 import Phi3Config
from inkstone.nn.models.qwen3_moe import Qwen3MoeConfig
from inkstone.nn.models.t5 import T5, T5Config
from inkstone.nn.models.transformer import Transformer, TransformerConfig
from tests.tiny_models import randomized, tiny_config

VOCAB = 40

Writer = Decoder | EncoderDecoder


def _llama(**changes: Any) -> Decoder:
    return tiny_config(vocab_size=VOCAB, num_key_value_heads=2, **changes).build()


def _like_llama(config: type[Any], **changes: Any) -> Decoder:
    shape = tiny_config(vocab_size=VOCAB, num_key_value_heads=2).model_dump(exclude={"model_type"})
    model: Decoder = config(**shape | changes).build()
    return model


def _gpt2() -> Decoder:
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    return GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB, max_position_embeddings=64, **shape))


def _transformer(model_type: str) -> EncoderDecoder:
    stacks = {"layers": 2, "attention_heads": 4, "ffn_dim": 48}
    shape = {f"{stack}_{name}": value for stack in ("encoder", "decoder") for name, value in stacks.items()}
    config = {"model_type": model_type, "vocab_size": VOCAB, "decoder_start_token_id": 1, "d_model": 32}
    return Transformer(TransformerConfig.model_validate(config | shape | {"max_position_embeddings": 48}))


def _t5() -> EncoderDecoder:
    shape = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4}
    return T5(T5Config(vocab_size=VOCAB, n_positions=48, feed_forward_proj="gated-gelu", **shape))


FAMILIES: dict[str, Callable[[], Writer]] = {
    "llama": _llama,
    "mistral": lambda: _llama(model_type="mistral", sliding_window=9),
    "qwen2": lambda: _llama(model_type="qwen2", attention_bias=True),
    "qwen3": lambda: _llama(model_type="qwen3"),
    "smollm3": lambda: _llama(model_type="smollm3", no_rope_layers=(1, 0)),
    "one window": lambda: _llama(
        model_type="qwen3", sliding_window=7, layer_types=("full_attention", "sliding_attention")
    ),
    "olmo2": lambda: _like_llama(Olmo2Config),
    "phi3": lambda: _like_llama(Phi3Config, head_dim=8, partial_rotary_factor=0.5),
    "mixtral": lambda: _like_llama(MixtralConfig, num_local_experts=4, num_experts_per_tok=2),
    "qwen3_moe": lambda: _like_llama(Qwen3MoeConfig, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32),
    "gpt2": _gpt2,
    "lstm": lambda: LstmForCausalLM(
        LstmConfig(vocab_size=VOCAB, hidden_size=24, num_hidden_layers=2, max_position_embeddings=64)
    ),
    "t5": _t5,
    "marian": lambda: _transformer("marian"),
    "bart": lambda: _transformer("bart"),
    "mbart": lambda: _transformer("mbart"),
}


@cache
def tiny(family: str) -> Writer:
    """The model of a family, every parameter random."""
    return randomized(FAMILIES[family](), seed=7).eval()


def torch_runner(family: str, num_blocks: int, block_size: int = 4) -> Runner:
    """What computes a family by PyTorch alone; a recurrent state is a block for a sequence of any length."""
    model = tiny(family)
    if isinstance(model, LstmForCausalLM):
        return RecurrentRunner(model, max(1, num_blocks // 4))
    return TorchRunner(model, num_blocks, block_size)


def native_runner(family: str, num_blocks: int) -> Runner | None:
    """What computes a family by native steps, in float32 throughout; None where nothing does."""
    model = tiny(family)
    if isinstance(model, EncoderDecoder) or unavailable() or unsupported(model):
        return None
    return NativeRunner(model, "float32", num_blocks, 1, kept="float32")


@torch.inference_mode()
def next_logits(family: str, input_ids: Sequence[int], source_ids: Sequence[int]) -> torch.Tensor:
    """Logits (V,) after the tokens, from the model itself, nothing cached and nothing padded."""
    model, ids = tiny(family), torch.tensor([input_ids])
    if isinstance(model, EncoderDecoder):
        logits: torch.Tensor = model(torch.tensor([source_ids]), ids)
    else:
        logits = model(ids)
    return logits[0, -1]
