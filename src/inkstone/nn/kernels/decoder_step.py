"""A decoder whose step is one native call; its reference is the model's own `forward`."""

import weakref
from collections.abc import Sequence
from ctypes import Structure, byref, c_bool, c_float, c_int64, c_void_p
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from inkstone.core.device import cpu_features
from inkstone.core.memory import give_back_freed, give_back_unchanged
from inkstone.nn.adapters import is_adapted
from inkstone.nn.kernels.build import load_library, why_not
from inkstone.nn.layers.lora import LinearLike, dense_weight
from inkstone.nn.layers.quantized import QuantizedLinear
from inkstone.nn.models.base import Decoder
from inkstone.nn.models.gpt2 import GPT2LMHeadModel
from inkstone.nn.models.llama import LlamaBlock, LlamaForCausalLM
from inkstone.nn.models.olmo2 import Olmo2Block
from inkstone.nn.models.phi3 import Phi3Block

WeightFormat = Literal["float32", "bfloat16", "int8", "int4"]
KeptFormat = Literal["float32", "float16", "int8"]
BLOCK_SIZE = 16
"""Tokens of a KV block."""
BITS: dict[WeightFormat, float] = {"float32": 32, "bfloat16": 16, "int8": 8, "int4": 4.25}
"""Of a weight, its share of the scales included."""
_FORMATS: tuple[WeightFormat, ...] = ("float32", "bfloat16", "int8", "int4")
_KEPT_FORMATS: tuple[KeptFormat, ...] = ("float32", "float16", "int8")
_ACTIVATIONS = {"silu": 0, "swish": 0, "gelu_new": 1, "gelu_fast": 1, "gelu_pytorch_tanh": 1, "gelu": 2, "relu": 3}
_NEEDED = frozenset({"avx512f", "avx512bw", "avx512vl", "avx512_vnni"})
_HALF_PANEL = 32
_MOST_HEAD_DIM = 256
_COMPARED_ROWS = 512


class _Shape(Structure):
    _fields_ = (
        *(
            (name, c_int64)
            for name in (
                *("num_threads", "num_layers", "hidden_size", "num_heads", "num_kv_heads", "head_dim"),
                *("intermediate_size", "vocab_size", "context", "num_blocks", "rotary_dim", "is_layer_norm"),
                *("normalizes_after", "qk_norm", "is_gated", "activation", "kept"),
            )
        ),
        ("norm_eps", c_float),
        *((name, c_void_p) for name in ("cos", "sin", "embedding", "positions")),
        ("embedding_is_bfloat16", c_int64),
    )


class _Matrix(Structure):
    _fields_ = (
        *((name, c_int64) for name in ("format", "outputs", "inputs")),
        *((name, c_void_p) for name in ("values", "scales", "bias")),
    )


_NORMS = ("norm", "norm_bias", "q_norm", "k_norm", "second_norm", "second_norm_bias")


class _Layer(Structure):
    _fields_ = (
        *((name, c_void_p) for name in _NORMS),
        *((name, _Matrix) for name in ("qkv", "output", "up", "down")),
        ("turns", c_int64),
        ("window", c_int64),
        ("scale", c_float),
    )


class _StepInput(Structure):
    _fields_ = (
        *((name, c_int64) for name in ("num_threads", "num_rows", "num_sequences", "num_logits")),
        *(
            (name, c_void_p)
            for name in (
                *("token_ids", "first_row", "past", "first_block", "tables", "logit_rows"),
                *("logits", "likeliest"),
            )
        ),
    )


class LayerParts(NamedTuple):
    """One transformer layer, whatever its family calls its parts."""

    norms: dict[str, Tensor | None]
    """By the names of `_NORMS`."""
    qkv: Sequence[LinearLike]
    output: LinearLike
    up: Sequence[LinearLike]
    """Where there is a gate, two, the gate first; or one layer that is both."""
    down: LinearLike
    turns: bool
    window: int
    scale: float


def unavailable() -> str | None:
    """Why the native step cannot be used on this machine; None if it can."""
    if missing := sorted(_NEEDED - cpu_features()):
        return f"the processor lacks {', '.join(missing)}"
    return why_not("decoder_step")


def unsupported(model: Decoder) -> str | None:
    """Why a model has no native step; None if it has one."""
    if is_adapted(model):
        return "adapters that are not merged"
    if isinstance(model, GPT2LMHeadModel):
        config = model.config
        if config.activation_function not in _ACTIVATIONS:
            return f"the activation {config.activation_function}"
        head_dim = config.hidden_size // config.num_attention_heads
    elif type(model).__module__.startswith("inkstone.nn.models.") and isinstance(model, LlamaForCausalLM):
        if any(type(block) not in (LlamaBlock, Olmo2Block, Phi3Block) for block in model.blocks):
            return f"{model.config.model_type} blocks"
        if model.config.hidden_act not in _ACTIVATIONS:
            return f"the activation {model.config.hidden_act}"
        head_dim = model.config.head_dim
    else:
        return f"{model.config.model_type} models"
    return f"attention heads of {head_dim}" if head_dim > _MOST_HEAD_DIM else None


def is_bfloat16(model: Decoder) -> bool:
    """Whether every matrix of a float32 model came from bfloat16, and loses nothing if it is kept so."""
    if any(isinstance(module, QuantizedLinear) for module in model.modules()):
        return False
    matrices = [parameter.detach() for parameter in model.parameters() if parameter.dim() > 1]
    rows = (part for matrix in matrices for part in torch.split(matrix, _COMPARED_ROWS))
    return all(torch.equal(part, part.bfloat16().float()) for part in rows)


class NativeDecoder:
    """The weights of a decoder packed for native steps, and its KV blocks.

    Args:
        model: for which `unsupported` gives None; its embedding is used in place, everything else is copied.
        weights: how matrices are kept. int8 has a scale for every output, int4 for every 64 inputs of an output, both
            as `QuantizedLinear`; what they are multiplied with is rounded to 8 bits for every 64 inputs of a token.
        num_blocks: KV blocks, besides the null block.
        num_threads: that compute, at most.
        kept: how keys and values are kept; int8 has a scale for every token of a head.

    Raises:
        MemoryError: there is not enough memory for the weights and the blocks.
    """

    def __init__(
        self, model: Decoder, weights: WeightFormat, num_blocks: int, num_threads: int, *, kept: KeptFormat
    ) -> None:
        library = load_library("decoder_step")
        assert library is not None
        library.decoder_new.restype, library.decoder_set_layer.restype = c_void_p, c_bool
        self._library = library
        self.vocab_size, self.context = model.output_weight.shape[0], model.context
        self.num_blocks, self.num_threads = num_blocks, num_threads
        parts = _describe_gpt2(model) if isinstance(model, GPT2LMHeadModel) else _describe_llama(model)
        shape = parts.shape
        shape.vocab_size, shape.context = self.vocab_size, model.context
        shape.num_threads, shape.num_blocks, shape.kept = num_threads, num_blocks, _KEPT_FORMATS.index(kept)
        # These are read at every step, the rest is copied.
        self._embedding = _table(parts.embedding)
        self._positions = None if parts.positions is None else _table(parts.positions).to(self._embedding.dtype)
        shape.embedding = self._embedding.data_ptr()
        shape.positions = None if self._positions is None else self._positions.data_ptr()
        shape.embedding_is_bfloat16 = self._embedding.dtype == torch.bfloat16
        numbers = {field[0]: getattr(shape, field[0]) for field in shape._fields_ if field[1] is c_int64}
        self.kind = f"{library._name} {weights} {numbers}"
        """All that the time of a step depends on: machine code, processor, formats and sizes."""
        alive = _Alive(weights)
        shape.cos, shape.sin = (alive.floats(each) for each in parts.rope)
        norm, norm_bias = (alive.floats(each) for each in parts.norm)
        handle = library.decoder_new(
            byref(shape), c_void_p(norm), c_void_p(norm_bias), byref(alive.matrix([model.lm_head]))
        )
        if not handle:
            raise MemoryError(f"no memory for the output layer and {num_blocks:,} KV blocks")
        self._handle = c_void_p(handle)
        weakref.finalize(self, library.decoder_free, self._handle)
        given_back = give_back_unchanged([model.output_weight])
        for index, (layer, block) in enumerate(zip(parts.layers, model.blocks, strict=True)):
            alive = _Alive(weights)
            source = alive.layer(layer, gated=bool(shape.is_gated))
            if not library.decoder_set_layer(self._handle, c_int64(index), byref(source)):
                raise MemoryError(f"no memory for the weights of layer {index}")
            given_back += give_back_unchanged(block.parameters())
        if given_back:  # weights in training are no maps of a file, and what training freed it takes again
            del alive, source
            give_back_freed()

    def copy_block(self, source: int, target: int) -> None:
        """Copy the keys and values of one block to another."""
        self._library.decoder_copy_block(self._handle, c_int64(source), c_int64(target))

    def step(
        self,
        token_ids: Tensor,
        first_row: Tensor,
        past: Tensor,
        first_block: Tensor,
        tables: Tensor,
        logit_rows: Tensor,
        *,
        num_threads: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Read tokens of several sequences; all tensors are int64.

        Args:
            token_ids: (N,), those of each sequence together.
            first_row: (S + 1,), where the tokens of each begin.
            past: (S,), tokens of each that were read before.
            first_block: (S + 1,), where the blocks of each begin in `tables`.
            tables: block numbers.
            logit_rows: (M,), tokens after which logits are wanted.
            num_threads: that compute, by default all of the decoder's; changes nothing but the time.

        Returns:
            float32 logits (M, V), and the likeliest token of each, -1 where a logit is NaN.
        """
        logits = torch.empty(len(logit_rows), self.vocab_size)
        likeliest = torch.empty(len(logit_rows), dtype=torch.int64)
        pointers = (token_ids, first_row, past, first_block, tables, logit_rows, logits, likeliest)
        threads = self.num_threads if num_threads is None else num_threads
        values = (threads, len(token_ids), len(past), len(logit_rows), *(each.data_ptr() for each in pointers))
        self._library.decoder_step(self._handle, byref(_StepInput(*values)))
        return logits, likeliest


class _Alive:
    """Weights in the form in which they are packed, alive until they are."""

    def __init__(self, weights: WeightFormat) -> None:
        self._weights: WeightFormat = weights
        self._alive: list[Tensor] = []

    def layer(self, parts: LayerParts, *, gated: bool) -> _Layer:
        return _Layer(
            **{name: self.floats(parts.norms.get(name)) for name in _NORMS},
            qkv=self.matrix(parts.qkv),
            output=self.matrix([parts.output]),
            up=self.matrix(parts.up, in_turns=gated),
            down=self.matrix([parts.down]),
            turns=parts.turns,
            window=parts.window,
            scale=parts.scale,
        )

    def matrix(self, layers: Sequence[LinearLike], *, in_turns: bool = False) -> _Matrix:
        """Layers with the same inputs as one matrix, one below the other or in turns of some outputs."""
        count = 2 if in_turns and len(layers) == 1 else 1
        pieces = [piece for layer in layers for piece in _pieces(layer, self._weights, count)]
        join = _in_turns if in_turns else torch.cat
        values = join([piece.values for piece in pieces])
        scales = [piece.scales for piece in pieces if piece.scales is not None]
        bias = None
        if any(piece.bias is not None for piece in pieces):
            bias = join([torch.zeros(len(each.values)) if each.bias is None else each.bias.float() for each in pieces])
        pointers = (
            None if each is None else self._keep(each) for each in (values, join(scales) if scales else None, bias)
        )
        return _Matrix(_FORMATS.index(self._weights), *values.shape, *pointers)

    def floats(self, values: Tensor | None) -> int | None:
        return None if values is None else self._keep(values.detach().float())

    def _keep(self, values: Tensor) -> int:
        self._alive.append(values.contiguous())
        return self._alive[-1].data_ptr()


class _Piece(NamedTuple):
    values: Tensor
    """Weights or levels, (outputs, inputs)."""
    scales: Tensor | None
    """float32 (outputs,) for int8, bfloat16 (outputs, groups) for int4."""
    bias: Tensor | None

    def chunks(self, count: int) -> "list[_Piece]":
        parts = [[None] * count if each is None else each.chunk(count) for each in self]
        return [_Piece(*each) for each in zip(*parts, strict=True)]


def _pieces(layer: LinearLike, weights: WeightFormat, count: int) -> list[_Piece]:
    """A linear layer, its outputs cut into `count` equal parts."""
    bias: Tensor | None = getattr(layer, "bias", None)
    bias = None if bias is None else bias.detach()
    if weights == "float32" or weights == "bfloat16":
        return _Piece(dense_weight(layer).detach().to(getattr(torch, weights)), None, bias).chunks(count)
    if not isinstance(layer, QuantizedLinear) or layer.precision != weights:
        layer = QuantizedLinear(dense_weight(layer).detach(), None, weights)
    scales = layer.scales.flatten().float() if weights == "int8" else layer.scales
    return _Piece(layer.levels(), scales, bias).chunks(count)


def _in_turns(parts: Sequence[Tensor]) -> Tensor:
    """(n, …) each → first 32 of the one, first 32 of the other, and so on; padded with zeros."""
    padded = [F.pad(each, (*([0, 0] * (each.dim() - 1)), 0, -len(each) % _HALF_PANEL)) for each in parts]
    return torch.stack([each.view(-1, _HALF_PANEL, *each.shape[1:]) for each in padded], dim=1).flatten(0, 2)


class _Parts(NamedTuple):
    """A decoder, whatever its family calls its parts."""

    shape: _Shape
    layers: list[LayerParts]
    norm: tuple[Tensor, Tensor | None]
    embedding: Tensor
    positions: Tensor | None
    rope: tuple[Tensor | None, Tensor | None]
    """Cosines and sines, (context, rotary_dim / 2)."""


def _describe_gpt2(model: GPT2LMHeadModel) -> _Parts:
    config, body = model.config, model.transformer
    shape = _Shape(
        num_layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        num_heads=config.num_attention_heads,
        num_kv_heads=config.num_attention_heads,
        head_dim=config.hidden_size // config.num_attention_heads,
        intermediate_size=config.intermediate_size,
        is_layer_norm=True,
        activation=_ACTIVATIONS[config.activation_function],
        norm_eps=config.layer_norm_epsilon,
    )
    layers = []
    for block in body.h:
        parts: Any = block
        norms = {
            "norm": parts.ln_1.weight,
            "norm_bias": parts.ln_1.bias,
            "second_norm": parts.ln_2.weight,
            "second_norm_bias": parts.ln_2.bias,
        }
        attention, mlp = parts.attn, parts.mlp
        layers.append(
            LayerParts(norms, [attention.c_attn], attention.c_proj, [mlp.c_fc], mlp.c_proj, False, 0, attention.scale)
        )
    return _Parts(shape, layers, (body.ln_f.weight, body.ln_f.bias), body.wte.weight, body.wpe.weight, (None, None))


def _describe_llama(model: Decoder) -> _Parts:
    assert isinstance(model, LlamaForCausalLM)
    config, body = model.config, model.model
    is_olmo2 = any(isinstance(block, Olmo2Block) for block in model.blocks)
    shape = _Shape(
        num_layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        num_heads=config.num_attention_heads,
        num_kv_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        intermediate_size=config.intermediate_size,
        rotary_dim=config.rotary_dim,
        normalizes_after=is_olmo2,
        qk_norm=2 if is_olmo2 else int(config.qk_norm),
        is_gated=True,
        activation=_ACTIVATIONS[config.hidden_act],
        norm_eps=config.rms_norm_eps,
    )
    layers = []
    for block, window, turns in zip(body.layers, body.windows, body.turns, strict=True):
        parts: Any = block
        attention, mlp = parts.self_attn, parts.mlp
        norms = {
            "norm": parts.post_attention_layernorm.weight if is_olmo2 else parts.input_layernorm.weight,
            "second_norm": (parts.post_feedforward_layernorm if is_olmo2 else parts.post_attention_layernorm).weight,
            "q_norm": getattr(attention.q_norm, "weight", None),
            "k_norm": getattr(attention.k_norm, "weight", None),
        }
        joint = isinstance(block, Phi3Block)
        qkv = [attention.qkv_proj] if joint else [attention.q_proj, attention.k_proj, attention.v_proj]
        up = [mlp.gate_up_proj] if joint else [mlp.gate_proj, mlp.up_proj]
        scale = config.head_dim**-0.5
        layers.append(LayerParts(norms, qkv, attention.o_proj, up, mlp.down_proj, bool(turns), window or 0, scale))
    half = config.rotary_dim // 2
    cos, sin = (each[0, 0, :, :half] for each in body.rotary(torch.arange(model.context).unsqueeze(0)))
    return _Parts(shape, layers, (body.norm.weight, None), body.embed_tokens.weight, None, (cos, sin))


def _table(weight: Tensor) -> Tensor:
    """An embedding as the native code reads it."""
    weight = weight.detach()
    return (weight if weight.dtype in (torch.float32, torch.bfloat16) else weight.float()).contiguous()
