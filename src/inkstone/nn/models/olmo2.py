"""OLMo-2 (OLMo team 2025, arXiv:2501.00656): Llama's parts, normalized after each part instead of before."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor, nn

from inkstone.nn.layers.cache import KVCache
from inkstone.nn.layers.mask import AttentionMask
from inkstone.nn.layers.mlp import GatedMLP
from inkstone.nn.layers.norm import RMSNorm
from inkstone.nn.layers.self_attention import Attention
from inkstone.nn.models.llama import LlamaConfig, LlamaForCausalLM


class Olmo2Config(LlamaConfig):
    """Shape of an OLMo-2 model; keys and meanings are Hugging Face's."""

    model_type: Literal["olmo2"] = "olmo2"  # type: ignore[assignment]

    own_keys: ClassVar[Mapping[str, frozenset[str]]] = {"olmo2": frozenset({"attention_bias"})}

    def build(self) -> "Olmo2ForCausalLM":
        """The model of this shape, its weights not yet drawn."""
        return Olmo2ForCausalLM(self)


class Olmo2Attention(Attention):
    """Attention whose queries and keys are normalized over all attention heads at once."""

    def __init__(self, config: Olmo2Config, layer_index: int) -> None:
        super().__init__(
            config.hidden_size,
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
            layer_index=layer_index,
            bias=config.attention_bias,
        )
        self.q_norm = RMSNorm(config.num_attention_heads * config.head_dim, config.rms_norm_eps)
        self.k_norm = RMSNorm(config.num_key_value_heads * config.head_dim, config.rms_norm_eps)

    def project(self, hidden_states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, C) → queries (B, H, T, D), keys and values (B, K, T, D), before rotation."""
        query, key = self.q_norm(self.q_proj(hidden_states)), self.k_norm(self.k_proj(hidden_states))
        value = self.v_proj(hidden_states)
        return self.split_heads(query), self.split_heads(key), self.split_heads(value)


class Olmo2Block(nn.Module):
    """One transformer layer; what each part adds to the residual stream is normalized (section 3.2)."""

    def __init__(self, config: Olmo2Config, layer_index: int) -> None:
        super().__init__()
        self.self_attn = Olmo2Attention(config, layer_index)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = GatedMLP(config.hidden_size, config.intermediate_size, hidden_act=config.hidden_act)
        self.post_feedforward_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self,
        hidden_states: Tensor,
        rope: tuple[Tensor, Tensor] | None,
        mask: AttentionMask,
        cache: KVCache | None,
        output_attentions: list[Tensor] | None,
    ) -> Tensor:
        """(B, T, C) → (B, T, C)."""
        hidden_states = hidden_states + self.post_attention_layernorm(
            self.self_attn(hidden_states, rope, mask, cache, output_attentions)
        )
        output: Tensor = hidden_states + self.post_feedforward_layernorm(self.mlp(hidden_states))
        return output


class Olmo2ForCausalLM(LlamaForCausalLM):
    """An OLMo-2 decoder with its output layer."""

    block_class = Olmo2Block
