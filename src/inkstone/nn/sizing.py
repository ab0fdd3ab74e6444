"""The shape of a model from one number."""

from inkstone.nn.models.llama import LlamaConfig

_HEAD_DIM = 64
_CHANNELS_PER_LAYER = 64


def llama_of_depth(depth: int, vocab_size: int, context_length: int) -> LlamaConfig:
    """A Llama of `depth` blocks, each 64 channels wide for every block there is.

    The width-to-depth ratio of 64 lies on the flat part of the loss surface of Kaplan et al. 2020
    (arXiv:2001.08361, figure 5) and makes attention heads of 64 come out even. The feed-forward width is 8/3 of
    the hidden size, as in Touvron et al. 2023 (arXiv:2302.13971), section 2.2.
    """
    hidden_size = depth * _CHANNELS_PER_LAYER
    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        num_hidden_layers=depth,
        num_attention_heads=hidden_size // _HEAD_DIM,
        num_key_value_heads=hidden_size // _HEAD_DIM,
        intermediate_size=feed_forward_size(hidden_size),
        head_dim=_HEAD_DIM,
        max_position_embeddings=context_length,
    )


def feed_forward_size(hidden_size: int) -> int:
    """8/3 of the hidden size, rounded up to a multiple of 32."""
    return -(-(hidden_size * 8 // 3) // 32) * 32
