"""Mixtral (Jiang et al. 2024, arXiv:2401.04088): the Llama wiring with a sparse mixture of experts in every block.

Parameter and config names are those of Hugging Face's `MixtralForCausalLM`.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from inkstone.nn.layers.activation import activation
from inkstone.nn.layers.experts import SparseMLP
from inkstone.nn.models.llama import LlamaBlock, LlamaConfig, LlamaForCausalLM


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


class MixtralBlock(LlamaBlock):
    """One transformer layer, normalized before each part."""

    feed_forward_name = "block_sparse_moe"

    def make_feed_forward(self, config: LlamaConfig, layer_index: int) -> nn.Module:
        """A mixture of experts."""
        assert isinstance(config, MixtralConfig)
        experts = (MixtralExpert(config) for _ in range(config.num_local_experts))
        return SparseMLP(config.hidden_size, experts, config.num_experts_per_tok, norm_topk_prob=True)


class MixtralForCausalLM(LlamaForCausalLM):
    """A Mixtral decoder with its output layer."""

    config: MixtralConfig
    block_class = MixtralBlock
    residual_writers = ("o_proj.weight", ".w2.weight")
