"""The Llama family: RMSNorm, rotary positions, grouped-query attention, gated feed-forward.

Parameter and config names are Hugging Face's. `model_type` says which of the models with this wiring it is: Llama,
Mistral, Qwen2, Qwen3 and SmolLM3 differ in biases, normalized queries and keys, windows, and layers without positions.
"""

from collections.abc import Iterable, Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from inkstone.nn.kernels import llama_block
from inkstone.nn.layers.activation import Activation
from inkstone.nn.layers.cache import KVCache
from inkstone.nn.layers.initialization import init_normal
from inkstone.nn.layers.mask import AttentionMask, make_mask
from inkstone.nn.layers.mlp import GatedMLP
from inkstone.nn.layers.norm import RMSNorm
from inkstone.nn.layers.recompute import run_block
from inkstone.nn.layers.rope import RotaryEmbedding, positions
from inkstone.nn.layers.rope_scaling import LongRopeScaling, RopeScaling
from inkstone.nn.layers.self_attention import Attention
from inkstone.nn.models.base import Decoder, ModelConfig

LayerType = Literal["full_attention", "sliding_attention"]
_OPTIONAL_KEYS = frozenset({"attention_bias", "mlp_bias", "sliding_window", "layer_types", "no_rope_layers"})


class LlamaConfig(ModelConfig):
    """Shape of a Llama model; keys and meanings are Hugging Face's."""

    model_type: Literal["llama", "mistral", "qwen2", "qwen3", "smollm3"] = "llama"
    hidden_size: int = Field(gt=0)
    num_hidden_layers: int = Field(gt=0)
    num_attention_heads: int = Field(gt=0)
    num_key_value_heads: int = Field(gt=0)
    intermediate_size: int = Field(gt=0)
    head_dim: int = Field(gt=0, multiple_of=2)
    hidden_act: Activation = "silu"
    max_position_embeddings: int = Field(gt=0)
    """Longest context the model was made for, in tokens."""
    rope_theta: float = Field(default=10_000.0, gt=0)
    rope_scaling: RopeScaling | None = None
    """How the rotary frequencies were changed for a longer context."""
    rms_norm_eps: float = Field(default=1e-5, gt=0)
    attention_bias: bool = False
    """Of the query, key and value projections and, but for Qwen2, of the output projection."""
    mlp_bias: bool = False
    sliding_window: int | None = Field(default=None, gt=0)
    """Keys that a query sees, itself included, in the layers with a window."""
    layer_types: tuple[LayerType, ...] | None = None
    """Which layers have the window; by default all, where there is one."""
    no_rope_layers: tuple[Literal[0, 1], ...] | None = None
    """1 for each layer with rotary positions, 0 without (Hugging Face's own sense of the key); by default all 1."""

    own_keys: ClassVar[Mapping[str, frozenset[str]]] = {
        "llama": frozenset({"attention_bias", "mlp_bias"}),
        "mistral": frozenset({"sliding_window"}),
        "qwen2": frozenset({"attention_bias", "sliding_window", "layer_types"}),
        "qwen3": frozenset({"attention_bias", "sliding_window", "layer_types"}),
        "smollm3": frozenset({"attention_bias", "mlp_bias", "sliding_window", "layer_types", "no_rope_layers"}),
    }
    """The keys that only some model types have: without one of them, `transformers` could not read what we save."""

    @model_validator(mode="after")
    def _check_model_type(self) -> "LlamaConfig":
        for key in sorted(_OPTIONAL_KEYS - self.own_keys.get(self.model_type, _OPTIONAL_KEYS)):
            if getattr(self, key):
                having = ", ".join(name for name, keys in LlamaConfig.own_keys.items() if key in keys)
                raise ValueError(f"model_type {self.model_type!r} has no {key}; these have it: {having}")
        if self.model_type == "qwen2" and not self.attention_bias:
            raise ValueError("model_type 'qwen2' always has attention_bias")
        return self

    @model_validator(mode="after")
    def _check_heads(self) -> "LlamaConfig":
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads {self.num_attention_heads} is not a multiple of "
                f"num_key_value_heads {self.num_key_value_heads}"
            )
        return self

    @model_validator(mode="after")
    def _check_layers(self) -> "LlamaConfig":
        for key, values in (("layer_types", self.layer_types), ("no_rope_layers", self.no_rope_layers)):
            if values is not None and len(values) != self.num_hidden_layers:
                raise ValueError(f"{key} has {len(values)} entries for {self.num_hidden_layers} layers")
        if self.sliding_window is None and "sliding_attention" in (self.layer_types or ()):
            raise ValueError("layer_types names sliding_attention, but sliding_window is not given")
        return self

    @property
    def qk_norm(self) -> bool:
        """Whether queries and keys are normalized per attention head."""
        return self.model_type == "qwen3"

    @property
    def rotary_dim(self) -> int:
        """Components of each attention head that are rotated."""
        return self.head_dim

    @property
    def windows(self) -> tuple[int | None, ...]:
        """The window of each layer, None where it sees everything before."""
        types = self.layer_types or ("sliding_attention",) * self.num_hidden_layers
        return tuple(self.sliding_window if each == "sliding_attention" else None for each in types)

    def num_parameters(self) -> int:
        """Number of trained values, tied embeddings counted once."""
        with torch.device("meta"):
            return self.build().num_parameters()

    def build(self) -> "LlamaForCausalLM":
        """The model of this shape, its weights not yet drawn."""
        return LlamaForCausalLM(self)


class LlamaBlock(nn.Module):
    """One transformer layer, normalized before each part."""

    feed_forward_name: ClassVar[str] = "mlp"
    """Of the second part, in parameter names."""
    mlp: nn.Module

    def __init__(self, config: LlamaConfig, layer_index: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = self.make_attention(config, layer_index)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.add_module(self.feed_forward_name, self.make_feed_forward(config, layer_index))

    def make_attention(self, config: LlamaConfig, layer_index: int) -> Attention:
        """The first part."""
        return Attention(
            config.hidden_size,
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
            layer_index=layer_index,
            bias=config.attention_bias,
            output_bias=config.attention_bias and config.model_type != "qwen2",
            qk_norm_eps=config.rms_norm_eps if config.qk_norm else None,
        )

    def make_feed_forward(self, config: LlamaConfig, layer_index: int) -> nn.Module:
        """The second part."""
        return GatedMLP(
            config.hidden_size, config.intermediate_size, bias=config.mlp_bias, hidden_act=config.hidden_act
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
        feed_forward: nn.Module = getattr(self, self.feed_forward_name)
        output: Tensor = hidden_states + feed_forward(self.post_attention_layernorm(hidden_states))
        return output


class LlamaModel(nn.Module):
    """Embedding, blocks and final norm: everything below the output layer."""

    def __init__(self, config: LlamaConfig, block: type[nn.Module] = LlamaBlock) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(block(config, index) for index in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.rotary = RotaryEmbedding(
            config.rotary_dim, config.rope_theta, config.rope_scaling, config.max_position_embeddings
        )
        self.windows = config.windows
        self.turns = config.no_rope_layers or (1,) * config.num_hidden_layers
        self.fused = False
        """Whether `nn.kernels.llama_block` computes the blocks where it can."""

    def forward(
        self,
        input_ids: Tensor,
        cache: KVCache | None = None,
        position_ids: Tensor | None = None,
        segment_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        output_attentions: list[Tensor] | None = None,
    ) -> Tensor:
        """Token ids (B, T) → hidden states (B, T, C); arguments as in `Decoder.hidden_states`."""
        time = input_ids.shape[1]
        past = 0 if cache is None else cache.length
        assert segment_ids is None or past == 0, "packed sequences are read whole"
        if position_ids is None:
            position_ids = positions(past, time, attention_mask, input_ids.device)
        rope = self.rotary(position_ids)
        hidden_states = self.embed_tokens(input_ids)
        if self.fused and cache is None and attention_mask is None and output_attentions is None:
            runs = llama_block.runs_of(input_ids, segment_ids)
            for block in self.layers:
                assert isinstance(block, LlamaBlock)
                hidden_states = run_block(block, block, hidden_states, rope, runs, compute=llama_block.forward)
        else:
            masks = {
                window: make_mask(
                    time,
                    past + time,
                    causal=True,
                    device=input_ids.device,
                    padding=attention_mask,
                    window=window,
                    segment_ids=segment_ids,
                )
                for window in set(self.windows)
            }
            for block, window, turns in zip(self.layers, self.windows, self.turns, strict=True):
                hidden_states = run_block(
                    block, hidden_states, rope if turns else None, masks[window], cache, output_attentions
                )
        if cache is not None:
            cache.advance(time)
        output: Tensor = self.norm(hidden_states)
        return output


class LlamaForCausalLM(Decoder):
    """A Llama decoder with its output layer."""

    config: LlamaConfig
    block_class: ClassVar[type[nn.Module]] = LlamaBlock
    """What the model is a stack of; takes the config and the layer's index."""
    residual_writers: ClassVar[tuple[str, ...]] = ("o_proj.weight", "down_proj.weight")
    """Endings of the names of the matrices that write into the residual stream."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.model = LlamaModel(config, self.block_class)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.tie_weights()

    @property
    def tied_weights(self) -> Mapping[str, str]:
        """The output layer is the embedding where the config says so."""
        return {"lm_head.weight": "model.embed_tokens.weight"} if self.config.tie_word_embeddings else {}

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Draw initial weights: see `init_normal`."""
        init_normal(
            self,
            self.config.initializer_range,
            generator,
            residual=self.residual_writers,
            num_hidden_layers=self.config.num_hidden_layers,
        )

    @property
    def context(self) -> int:
        """Longest sequence, in tokens."""
        scaling, longest = self.config.rope_scaling, self.config.max_position_embeddings
        if isinstance(scaling, LongRopeScaling):
            return min(longest, scaling.original_max_position_embeddings)
        return longest

    def new_cache(self, capacity: int) -> KVCache:
        """An empty cache for `capacity` positions."""
        return KVCache(self.config.num_hidden_layers, capacity)

    @property
    def backbone(self) -> nn.Module:
        """Everything below the output layer."""
        return self.model

    @property
    def blocks(self) -> Iterable[nn.Module]:
        """The transformer layers."""
        return self.model.layers

    def fuse(self, dtype: torch.dtype) -> bool:
        """As in `Model.fuse`: by `nn.kernels.llama_block`."""
        self.model.fused = (
            all(type(block) is LlamaBlock and llama_block.supports(block, dtype) for block in self.blocks)
            and self.config.hidden_act == "silu"
            and all(self.model.turns)
            and not any(self.model.windows)
            and self.context <= llama_block.LONGEST_RUN
            and llama_block.unavailable() is None
        )
        return self.model.fused
