"""What can be trained from scratch, by name, and what its sizes are called in its family's config."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from inkstone.core.config import parse_config
from inkstone.nn import sizing
from inkstone.nn.models.base import Model, ModelConfig
from inkstone.nn.models.bert import BertConfig
from inkstone.nn.models.gpt2 import GPT2Config, GPT2LMHeadModel
from inkstone.nn.models.llama import LlamaConfig, LlamaForCausalLM
from inkstone.nn.models.lstm import LstmConfig, LstmForCausalLM
from inkstone.nn.models.masked_lm import BertForMaskedLM
from inkstone.nn.models.mixtral import MixtralConfig, MixtralForCausalLM
from inkstone.nn.models.modernbert import ModernBertConfig, ModernBertForMaskedLM
from inkstone.nn.models.t5 import T5, T5Config
from inkstone.nn.models.transformer import Transformer, TransformerConfig
from inkstone.nn.sizing import Sizes

Arch = Literal["llama", "gpt2", "mixtral", "lstm", "bert", "modernbert", "t5", "marian"]
Learning = Literal["next_token", "masked_tokens", "corrupted_spans"]
"""How a model learns from plain text."""


@dataclass(frozen=True)
class Architecture:
    """A network, its sizes, and how it learns from text."""

    config: type[ModelConfig]
    build: Callable[[Any], Model]
    learning: Learning
    of_depth: Callable[[int], Sizes]
    """Sizes for so many blocks."""
    keys: Mapping[str, tuple[str, ...]]
    """Each size that may be set → the keys of `config` that it sets."""
    constants: Mapping[str, Any]
    """Keys of `config` with values of their own, where those of a size do not replace them."""
    context_key: str = "max_position_embeddings"
    layers_per_depth: float = 1.0
    compiles: bool = True
    """Whether a compiler makes one graph of a block: not where what happens depends on the tokens."""

    def sizes(self, arch: str, depth: int, chosen: Mapping[str, Any]) -> Sizes:
        """Every size of a model of that depth, or of as many layers as were chosen.

        Raises:
            ConfigError: a size that this architecture does not have, or sizes that do not divide each other.
        """
        sizing.check_names(arch, chosen, self.keys)
        if "num_hidden_layers" in chosen:
            depth = round(chosen["num_hidden_layers"] / self.layers_per_depth)
        return sizing.complete_sizes(self.of_depth, depth, chosen)

    def config_of(
        self, sizes: Sizes, vocab_size: int, context_length: int, token_ids: Mapping[str, int | None]
    ) -> ModelConfig:
        """The family's config for the sizes of `sizes`.

        Args:
            sizes: under their shared names.
            vocab_size: of the tokenizer.
            context_length: tokens the model sees at once.
            token_ids: special tokens by the names of config.json, such as `pad_token_id`; those that the family's
                config has are set.

        Raises:
            ConfigError: the sizes do not fit together.
        """
        values: dict[str, Any] = {**self.constants, "vocab_size": vocab_size, self.context_key: context_length}
        known = self.config.model_fields
        values |= {name: token for name, token in token_ids.items() if name in known and token is not None}
        for name, value in sizes.items():
            values |= dict.fromkeys(self.keys[name], value)
        if values.pop("qk_norm", False):
            values["model_type"] = "qwen3"  # the llama wiring with normalized queries and keys
        return parse_config(self.config, values, where="model")


def _same(*names: str) -> dict[str, tuple[str, ...]]:
    return {name: (name,) for name in names}


_TRANSFORMER = _same("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
_LLAMA = _TRANSFORMER | _same("num_key_value_heads", "head_dim", "rope_theta", "attention_bias", "tie_word_embeddings")

ARCHITECTURES: dict[str, Architecture] = {
    "llama": Architecture(
        LlamaConfig, LlamaForCausalLM, "next_token", sizing.llama_of_depth, _LLAMA | _same("qk_norm"), {}
    ),
    "gpt2": Architecture(
        GPT2Config,
        GPT2LMHeadModel,
        "next_token",
        sizing.transformer_of_depth,
        _TRANSFORMER | _same("tie_word_embeddings"),
        {},
    ),
    "mixtral": Architecture(
        MixtralConfig,
        MixtralForCausalLM,
        "next_token",
        sizing.experts_of_depth,
        _LLAMA | _same("num_experts_per_tok", "router_aux_loss_coef") | {"num_experts": ("num_local_experts",)},
        {},
        compiles=False,
    ),
    "lstm": Architecture(
        LstmConfig,
        LstmForCausalLM,
        "next_token",
        sizing.lstm_of_depth,
        _same("hidden_size", "embedding_size", "num_hidden_layers", "dropout", "tie_word_embeddings"),
        {},
        layers_per_depth=0.5,
        compiles=False,
    ),
    "bert": Architecture(
        BertConfig,
        BertForMaskedLM,
        "masked_tokens",
        sizing.transformer_of_depth,
        _TRANSFORMER | {"dropout": ("hidden_dropout_prob", "attention_probs_dropout_prob")},
        {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    ),
    "modernbert": Architecture(
        ModernBertConfig,
        ModernBertForMaskedLM,
        "masked_tokens",
        sizing.gated_of_depth,
        _TRANSFORMER | {"dropout": ("embedding_dropout", "attention_dropout", "mlp_dropout")},
        # Texts are short enough for every layer to see all of them, and small models read best by the mean.
        {"global_rope_theta": 10_000.0, "classifier_pooling": "mean"},
    ),
    "t5": Architecture(
        T5Config,
        T5,
        "corrupted_spans",
        lambda depth: sizing.transformer_of_depth(depth) | {"head_dim": 64},
        {
            "hidden_size": ("d_model",),
            "num_hidden_layers": ("num_layers", "num_decoder_layers"),
            "num_attention_heads": ("num_heads",),
            "head_dim": ("d_kv",),
            "intermediate_size": ("d_ff",),
            "dropout": ("dropout_rate",),
            "tie_word_embeddings": ("tie_word_embeddings",),
        },
        {"dropout_rate": 0.0},
        context_key="n_positions",
    ),
    "marian": Architecture(
        TransformerConfig,
        Transformer,
        "corrupted_spans",
        sizing.transformer_of_depth,
        {
            "hidden_size": ("d_model",),
            "num_hidden_layers": ("encoder_layers", "decoder_layers"),
            "num_attention_heads": ("encoder_attention_heads", "decoder_attention_heads"),
            "intermediate_size": ("encoder_ffn_dim", "decoder_ffn_dim"),
            "dropout": ("dropout",),
        },
        {"dropout": 0.0},
    ),
}
"""By the name that a recipe's `model.arch` gives. Dropout is off unless it is set."""
