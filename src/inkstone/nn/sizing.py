"""The sizes of a model from one number, under the names that Hugging Face's families share."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from inkstone.core.config import suggestion
from inkstone.core.errors import ConfigError

Sizes = dict[str, Any]
"""`hidden_size`, `num_hidden_layers` …"""

_HEAD_DIM = 64
_CHANNELS_PER_LAYER = 64
_NUM_EXPERTS = 8


def complete_sizes(of_depth: Callable[[int], Sizes], depth: int, chosen: Mapping[str, Any]) -> Sizes:
    """Every size of a model, those that were chosen by hand in place of those of its depth.

    What follows from the width (attention heads, feed-forward width, embedding) follows from a chosen width.

    Raises:
        ConfigError: the width cannot be divided among the attention heads.
    """
    derived = of_depth(depth)
    if "hidden_size" in chosen:
        derived |= _of_width(derived, chosen["hidden_size"])
    sizes = derived | dict(chosen)
    if "num_attention_heads" in sizes:
        hidden_size, heads = sizes["hidden_size"], sizes["num_attention_heads"]
        if hidden_size % heads and "head_dim" not in chosen:
            raise ConfigError(
                f"hidden_size {hidden_size} is not a multiple of num_attention_heads {heads}",
                where="model",
                remedy="choose sizes that divide each other",
            )
        follows = {"num_key_value_heads": heads, "head_dim": hidden_size // heads}
        sizes |= {name: size for name, size in follows.items() if name in derived and name not in chosen}
    return sizes


def check_names(arch: str, names: Collection[str], known: Collection[str]) -> None:
    """Refuse sizes that an architecture does not have.

    Raises:
        ConfigError: names the first, and the nearest one that it has.
    """
    for name in names:
        if name not in known:
            raise ConfigError(f"{arch} has no {name}", where=f"model.{name}", remedy=suggestion(name, known))


def transformer_of_depth(depth: int) -> Sizes:
    """Blocks that are each 64 channels wide for every block there is.

    The width-to-depth ratio of 64 lies on the flat part of the loss surface of Kaplan et al. 2020
    (arXiv:2001.08361, figure 5) and makes attention heads of 64 come out even. The feed-forward width is four times
    the hidden size (Vaswani et al. 2017, arXiv:1706.03762, section 3.3). Of encoder–decoders, each stack is so.
    """
    hidden_size = depth * _CHANNELS_PER_LAYER
    return {
        "hidden_size": hidden_size,
        "num_hidden_layers": depth,
        "num_attention_heads": hidden_size // _HEAD_DIM,
        "intermediate_size": 4 * hidden_size,
    }


def gated_of_depth(depth: int) -> Sizes:
    """As other transformers, but with a feed-forward width of 8/3 of the hidden size, for its layer has three matrices.

    So Touvron et al. 2023 (arXiv:2302.13971), section 2.2.
    """
    sizes = transformer_of_depth(depth)
    return sizes | {"intermediate_size": feed_forward_size(sizes["hidden_size"])}


def llama_of_depth(depth: int) -> Sizes:
    """A gated transformer with as many key/value heads as attention heads."""
    sizes = gated_of_depth(depth)
    return sizes | {"num_key_value_heads": sizes["num_attention_heads"], "head_dim": _HEAD_DIM}


def experts_of_depth(depth: int) -> Sizes:
    """A llama with 8 experts of its feed-forward width in every block, 2 for a token (Jiang et al. 2024, section 2)."""
    return llama_of_depth(depth) | {"num_experts": _NUM_EXPERTS, "num_experts_per_tok": 2}


def lstm_of_depth(depth: int) -> Sizes:
    """Half as many layers as a transformer of that depth has blocks, twice as wide, and its embedding.

    Recurrent language models are wide, not deep: two layers of 650 or 1,500 (Zaremba et al. 2014, arXiv:1409.2329),
    three of 1,150 (Merity et al. 2017, arXiv:1708.02182). The layers of this shape have about 4/3 of the parameters
    of that transformer's blocks.
    """
    return {
        "hidden_size": 2 * depth * _CHANNELS_PER_LAYER,
        "embedding_size": depth * _CHANNELS_PER_LAYER,
        "num_hidden_layers": -(-depth // 2),
    }


def feed_forward_size(hidden_size: int) -> int:
    """8/3 of the hidden size, rounded up to a multiple of 32."""
    return -(-(hidden_size * 8 // 3) // 32) * 32


def _of_width(derived: Sizes, hidden_size: int) -> Sizes:
    """The sizes that follow from another width, of those in `derived`."""
    is_gated = derived.get("intermediate_size") == feed_forward_size(derived["hidden_size"])
    follows = {
        "embedding_size": hidden_size,
        "num_attention_heads": max(1, hidden_size // _HEAD_DIM),
        "intermediate_size": feed_forward_size(hidden_size) if is_gated else 4 * hidden_size,
    }
    return {name: size for name, size in follows.items() if name in derived}
