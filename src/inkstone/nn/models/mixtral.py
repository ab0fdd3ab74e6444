"""Mixtral (Jiang et al. 2024, arXiv:2401.04088): the Llama wiring with a sparse mixture of experts in every block.

Parameter and config names are those of Hugging Face's `MixtralForCausalLM`.
"""

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from inkstone.nn.layers.activation import activation
from inkstone.nn.layers.cache import KVCache
from inkstone.nn.layers.experts import SparseMLP
from inkstone.nn.layers.mask import AttentionMask
from inkstone.nn.layers.norm import RMSNorm
from inkstone.nn.layers.self_attention import Attention
from inkstone.nn.models.llama import LlamaConfig, LlamaForCausalLM


class MixtralConfig(LlamaConfig):
    """Shape of a Mixtral model; `intermediate_size` is that of each expert."""

    model_type: Literal["mixtral"] = "mixtral"  # type: ignore[assignment]
    num_local_experts: int = Field(gt=0)
    num_experts_per_tok: int = Field(gt=0)
    router_aux_loss_coef: float = Field(default=0.001, ge=0)
    """Weight of the load-balancing loss in training."""

    own_keys: ClassVar[Mapping[str, frozenset[str]]] = {"mixtral": frozenset({"sliding_window"})}

    @model_validator(mode="after")
    def _check_experts(self) -> "MixtralConfig":
        if self.num_experts_per_tok > self.num_local_experts:
            raise ValueError(
                f"num_experts_per_tok {self.num_experts_per_tok} is more than "
                f"num_local_experts {self.num_local_experts}"
            )
        return self

    def build(self) -> "MixtralForCausalLM":
        """The model of this shape, its weights not yet drawn."""
        return MixtralForCausalLM(self)


class MixtralExpert(nn.Module):
    """Gated feed-forward layer `w2(act(w1(x)) · w3(x))`: SwiGLU with `silu` (Shazeer 2020, arXiv:2002.05202, eq. 6)."""

    def __init__(self, config: MixtralConfig) -> None:
        super().__init__()
        self.w1 = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.w2 = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)
        self.w3 = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.activation = activation(config.hidden_act)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, C) → (N, C)."""
        output: Tensor = self.w2(self.activation(self.w1(tokens)) * self.w3(tokens))
        return output


class MixtralBlock(nn.Module):
    """One transformer layer, normalized before each part."""

    def __init__(self, config: MixtralConfig, layer_index: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(
            config.hidden_size,
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
            layer_index=layer_index,
        )
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.block_sparse_moe = SparseMLP(
            config.hidden_size,
            (MixtralExpert(config) for _ in range(config.num_local_experts)),
            config.num_experts_per_tok,
            norm_topk_prob=True,
        )

    def forward(
        self,
        hidden_states: Tensor,
        rope: tuple[Tensor, Tensor] | None,
        mask: AttentionMask,
        cache: KVCache | None,
        output_attentions: list[Tensor] | None,
    ) -> Tensor:
        """(B, T, C) → (B, T, C)."""
        hidden_states = hidden_states + self.self_attn(
            self.input_layernorm(hidden_states), rope, mask, cache, output_attentions
        )
        output: Tensor = hidden_states + self.block_sparse_moe(self.post_attention_layernorm(hidden_states))
        return output


class MixtralForCausalLM(LlamaForCausalLM):
    """A Mixtral decoder with its output layer."""

    config: MixtralConfig
    block_class = MixtralBlock

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """As in `LlamaForCausalLM.init_weights`; an expert's `w2` writes into the residual stream."""
        super().init_weights(generator)
        for name, parameter in self.named_parameters():
            if name.endswith(".w2.weight"):
                parameter.div_(math.sqrt(2 * self.config.num_hidden_layers))
