"""Models of llama2.c (github.com/karpathy/llama2.c), version 0: a `.bin` of weights beside its `tok*.bin`.

The weights file has seven 32-bit integers (dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len;
vocab_size is negative where the output layer is a matrix of its own), then float32 values without names.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from inkstone.checkpoint.importers.base import Importer
from inkstone.checkpoint.importers.llama2c_tokenizer import read_tokenizer
from inkstone.checkpoint.skeleton import build_skeleton
from inkstone.core.errors import InputError
from inkstone.core.files import StrPath, atomic_file
from inkstone.nn.models.base import Model
from inkstone.nn.models.llama import LlamaConfig, LlamaForCausalLM
from inkstone.tokenizer import Tokenizer

_HEADER = struct.Struct("<7i")
_MAX_SIZE = 1 << 24
_EMBEDDING, _NORM, _OUTPUT = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"


def read_model(path: StrPath) -> LlamaForCausalLM:
    """The model of a weights file.

    Raises:
        InputError: its size is not the one that its own header asks for.
    """
    path = Path(path)
    config = _read_config(path)
    if config is None:
        raise InputError("not a model of llama2.c, version 0", where=path, remedy="export it again, or copy it again")
    values = torch.from_numpy(np.fromfile(path, np.float32, offset=_HEADER.size))
    model = build_skeleton(lambda: LlamaForCausalLM(config), path, values.numel(), values.nbytes)
    weights: dict[str, Tensor] = {}
    used = 0
    for names, shape in _layout(config):
        count = len(names) * shape.numel()
        for name, weight in zip(names, values[used : used + count].view(len(names), *shape), strict=True):
            weights[name] = _halves_from_pairs(weight, config.head_dim) if _is_rotated(name) else weight
        used += count
    weights = {name: weights[name] for name in model.state_dict() if name in weights}
    if config.tie_word_embeddings:
        weights[_OUTPUT] = weights[_EMBEDDING]
    model.load_state_dict(weights, assign=True)
    model.tie_weights()
    return model.eval()


def write_model(path: StrPath, model: LlamaForCausalLM) -> None:
    """Write a weights file: what `read_model` reads, byte by byte.

    Raises:
        InputError: the model has what this layout does not hold, such as biases or more than one window of heads.
    """
    config = model.config
    plain = LlamaConfig(**{key: getattr(config, key) for key in _HELD}, rms_norm_eps=config.rms_norm_eps)
    if plain != config or config.head_dim * config.num_attention_heads != config.hidden_size:
        raise InputError("this model has settings that llama2.c does not", where=path, remedy="save it as a folder")
    state = model.state_dict()
    sizes = (config.hidden_size, config.intermediate_size, config.num_hidden_layers)
    heads = (config.num_attention_heads, config.num_key_value_heads)
    vocab_size = config.vocab_size if config.tie_word_embeddings else -config.vocab_size
    with atomic_file(path, "wb") as file:
        file.write(_HEADER.pack(*sizes, *heads, vocab_size, config.max_position_embeddings))
        for names, _ in _layout(config):
            for name in names:
                weight = _rotary_table(config, name) if name.startswith("freq_cis") else state[name]
                weight = _pairs_from_halves(weight, config.head_dim) if _is_rotated(name) else weight
                file.write(weight.detach().float().contiguous().numpy().data)


def _read_config(path: Path) -> LlamaConfig | None:
    """The shape that a weights file's header tells; None where the file is not exactly as long as that needs."""
    try:
        with open(path, "rb") as file:
            header = _HEADER.unpack(file.read(_HEADER.size))
        file_size = path.stat().st_size
    except (OSError, struct.error):
        return None
    size, hidden, layers, heads, kv_heads, vocab_size, context = header
    sizes = (size, hidden, layers, heads, kv_heads, abs(vocab_size), context)
    if not all(0 < each <= _MAX_SIZE for each in sizes) or layers > file_size or heads % kv_heads or size % (2 * heads):
        return None
    config = LlamaConfig(
        vocab_size=abs(vocab_size),
        hidden_size=size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=hidden,
        head_dim=size // heads,
        max_position_embeddings=context,
        tie_word_embeddings=vocab_size > 0,
    )
    expected = sum(len(names) * shape.numel() for names, shape in _layout(config))
    return config if file_size == _HEADER.size + 4 * expected else None


def _layout(config: LlamaConfig) -> Iterator[tuple[list[str], torch.Size]]:
    """Our names of the weights in the order of the file, those that lie together with the shape that they share."""
    size, hidden, head_dim = config.hidden_size, config.intermediate_size, config.head_dim
    kv_size = head_dim * config.num_key_value_heads
    yield [_EMBEDDING], torch.Size((config.vocab_size, size))
    for part, shape in (
        ("input_layernorm", (size,)),
        ("self_attn.q_proj", (size, size)),
        ("self_attn.k_proj", (kv_size, size)),
        ("self_attn.v_proj", (kv_size, size)),
        ("self_attn.o_proj", (size, size)),
        ("post_attention_layernorm", (size,)),
        ("mlp.gate_proj", (hidden, size)),
        ("mlp.down_proj", (size, hidden)),
        ("mlp.up_proj", (hidden, size)),
    ):
        yield [f"model.layers.{layer}.{part}.weight" for layer in range(config.num_hidden_layers)], torch.Size(shape)
    yield [_NORM], torch.Size((size,))
    for table in ("freq_cis_real", "freq_cis_imag"):
        yield [table], torch.Size((config.max_position_embeddings, head_dim // 2))
    if not config.tie_word_embeddings:
        yield [_OUTPUT], torch.Size((config.vocab_size, size))


def _rotary_table(config: LlamaConfig, name: str) -> Tensor:
    """The cosines or sines of every position, (seq_len, head_dim / 2), which the file repeats."""
    steps = torch.arange(0, config.head_dim, 2).float() / config.head_dim
    angles = torch.outer(torch.arange(config.max_position_embeddings).float(), 1.0 / (config.rope_theta**steps))
    return angles.cos() if name == "freq_cis_real" else angles.sin()


def _is_rotated(name: str) -> bool:
    return name.endswith(("q_proj.weight", "k_proj.weight"))


def _halves_from_pairs(weight: Tensor, head_dim: int) -> Tensor:
    """llama2.c turns neighboring components of a head together, Hugging Face's layout those of its two halves."""
    return weight.view(-1, head_dim // 2, 2, weight.shape[-1]).transpose(1, 2).reshape(weight.shape)


def _pairs_from_halves(weight: Tensor, head_dim: int) -> Tensor:
    return weight.view(-1, 2, head_dim // 2, weight.shape[-1]).transpose(1, 2).reshape(weight.shape)


def _files(path: Path) -> tuple[Path, Path] | None:
    """The weights and the tokenizer that belong together: a folder's only ones, or a given file's neighbors."""
    folder = path if path.is_dir() else path.parent
    tokenizers = sorted(folder.glob("tok*.bin"))
    models = [path] if path.is_file() else [file for file in sorted(folder.glob("*.bin")) if file not in tokenizers]
    return (models[0], tokenizers[0]) if len(models) == len(tokenizers) == 1 else None


def _recognizes(path: Path) -> bool:
    files = _files(path)
    return files is not None and _read_config(files[0]) is not None


def _read(path: Path) -> tuple[Model, Tokenizer]:
    files = _files(path)
    if files is None:
        raise InputError("expected one model .bin beside one tok*.bin", where=path, remedy="give the model's own file")
    model = read_model(files[0])
    return model, read_tokenizer(files[1], model.config.vocab_size)


_HELD = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "intermediate_size",
    "head_dim",
    "max_position_embeddings",
    "tie_word_embeddings",
    "rope_theta",
    "initializer_range",
)
LLAMA2C = Importer("llama2c", "llama2.c, version 0 (a .bin of weights beside its tok*.bin)", _recognizes, _read)
