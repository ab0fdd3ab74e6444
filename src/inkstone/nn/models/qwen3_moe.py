"""Qwen3-MoE (Qwen team 2025, arXiv:2505.09388): the Qwen3 wiring with a sparse mixture of experts in some blocks.

Parameter and config names are those of Hugging Face's `Qwen3MoeForCausalLM`.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, model_validator
from torch import nn

from inkstone.nn.layers.experts import SparseMLP
from inkstone.nn.layers.mlp import GatedMLP
from inkstone.nn.models.llama import LlamaBlock, LlamaConfig, LlamaForCausalLM


class Qwen3MoeConfig(LlamaConfig):
    """Shape of a Qwen3-MoE model; `intermediate_size` is that of the blocks without experts."""

    model_type: Literal["qwen3_moe"] = "qwen3_moe"  # type: ignore[assignment]
    num_experts: int = Field(gt=0)
    num_experts_per_tok: int = Field(gt=0)
    moe_intermediate_size: int = Field(gt=0)
    """Inner width of each expert."""
    norm_topk_prob: bool = False
    """Whether the weights of a token's experts are made to sum to 1."""
    decoder_sparse_step: int = Field(default=1, gt=0)
    """Every so many blocks there is one with experts."""
    mlp_only_layers: tuple[int, ...] = ()
    """Blocks (from 0) without experts whatever `decoder_sparse_step` says."""
    router_aux_loss_coef: float = Field(default=0.001, ge=0)
    """Weight of the load-balancing loss in training."""

    own_keys: ClassVar[Mapping[str, frozenset[str]]] = {"qwen3_moe": frozenset({"attention_bias", "sliding_window"})}

    @model_validator(mode="after")
    def _check_experts(self) -> "Qwen3MoeConfig":
        if self.num_experts_per_tok > self.num_experts:
            raise ValueError(
                f"num_experts_per_tok {self.num_experts_per_tok} is more than num_experts {self.num_experts}"
            )
        return self

    @property
    def qk_norm(self) -> bool:
        """Queries and keys are normalized per attention head."""
        return True

    def has_experts(self, layer_index: int) -> bool:
        """Whether the feed-forward layer of that block is a mixture."""
        return layer_index not in self.mlp_only_layers and (layer_index + 1) % self.decoder_sparse_step == 0

    def build(self) -> "Qwen3MoeForCausalLM":
        """The model of this shape, its weights not yet drawn."""
        return Qwen3MoeForCausalLM(self)


class Qwen3MoeBlock(LlamaBlock):
    """One transformer layer, normalized before each part."""

    def make_feed_forward(self, config: LlamaConfig, layer_index: int) -> nn.Module:
        """A dense layer or, where the config says so, a mixture of experts."""
        assert isinstance(config, Qwen3MoeConfig)
        if not config.has_experts(layer_index):
            return super().make_feed_forward(config, layer_index)
        experts = (
            GatedMLP(config.hidden_size, config.moe_intermediate_size, hidden_act=config.hidden_act)
            for _ in range(config.num_experts)
        )
        return SparseMLP(config.hidden_size, experts, config.num_experts_per_tok, norm_topk_prob=config.norm_topk_prob)


class Qwen3MoeForCausalLM(LlamaForCausalLM):
    """A Qwen3-MoE decoder with its output layer."""

    config: Qwen3MoeConfig
    block_class = Qwen3MoeBlock
