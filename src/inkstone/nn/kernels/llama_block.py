"""A Llama block trained by one native call each way; its reference is `LlamaBlock.forward` itself."""

import ctypes
import functools
import itertools
from collections.abc import Sequence
from ctypes import POINTER, Structure, byref, c_float, c_int64, c_void_p, cast
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from inkstone.nn.kernels.build import load_library, why_not
from inkstone.nn.layers.lora import LoRALinear
from inkstone.nn.layers.mlp import GatedMLP
from inkstone.nn.layers.norm import RMSNorm

if TYPE_CHECKING:
    from inkstone.nn.models.llama import LlamaBlock

_WEIGHTS = ("input_norm", "q", "k", "v", "o", "post_norm", "gate", "up", "down", "q_norm", "k_norm")
_LINEARS = ("q", "k", "v", "o", "gate", "up", "down")
_TRAINED = (*_WEIGHTS, *(f"{name}_{matrix}" for name in _LINEARS for matrix in "ab"))
"""What may have a gradient: the weights, then A and B of each linear layer's adapter."""
LONGEST_RUN = 4096
"""Tokens; a thread's memory grows with the longest run."""
_MOST_THREADS = 16
"""Beyond so many threads, a gradient of every weight for every thread costs more than it saves."""


class _Adapter(Structure):
    _fields_ = (("a", c_void_p), ("b", c_void_p), ("rank", c_int64), ("scaling", c_float))


class _Block(Structure):
    _fields_ = (
        ("sgemm", c_void_p),
        ("num_threads", c_int64),
        *((name, c_int64) for name in ("hidden_size", "num_heads", "num_kv_heads", "head_dim", "intermediate_size")),
        ("norm_eps", c_float),
        ("rope_rows", c_int64),
        ("cos", c_void_p),
        ("sin", c_void_p),
        ("num_runs", c_int64),
        ("runs", c_void_p),
        *((name, c_void_p) for name in _WEIGHTS),
        *((f"{name}_adapter", _Adapter) for name in _LINEARS),
    )


class _Gradients(Structure):
    _fields_ = tuple((name, c_void_p) for name in _TRAINED)


class _Counts(Structure):
    _fields_ = tuple((name, c_int64) for name in _TRAINED)


_SAVED = ("qkv", "context", "middle", "gate_up", *(f"{name}_low" for name in _LINEARS))


class _Saved(Structure):
    _fields_ = tuple((name, c_void_p) for name in _SAVED)


class _Description(NamedTuple):
    """What a block is, beside its weights."""

    sizes: tuple[int, int, int]
    """Attention heads, key/value heads, head dim."""
    eps: float
    scalings: tuple[float, ...]
    """Of the adapters of `_LINEARS`."""


def unavailable() -> str | None:
    """Why the kernel cannot be used on this machine, with the remedy; None if it can."""
    if _sgemm() is None:
        return "this build of PyTorch has no BLAS that the kernels can call"
    return why_not("llama_block")


def supports(block: "LlamaBlock", dtype: torch.dtype) -> bool:
    """Whether a block, trained with products in `dtype`, is one that the kernel computes."""
    return (
        isinstance(block.mlp, GatedMLP)
        and dtype == torch.float32
        and torch.get_num_threads() <= _MOST_THREADS
        and all(map(_is_plain, _linears_of(block)))
        and all(weight.device.type == "cpu" and weight.dtype == torch.float32 for weight in block.parameters())
    )


def _linears_of(block: "LlamaBlock") -> Sequence[nn.Module]:
    """The layers of `_LINEARS`."""
    attention, mlp = block.self_attn, block.mlp
    assert isinstance(mlp, GatedMLP)
    return (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj,
            mlp.gate_proj, mlp.up_proj, mlp.down_proj)  # fmt: skip


def _is_plain(layer: object) -> bool:
    """Whether a layer is a matrix without a bias, or that with a LoRA adapter without dropout."""
    if isinstance(layer, LoRALinear):
        simple = layer.lora_magnitude_vector is None and isinstance(layer.lora_dropout, nn.Identity)
        return simple and _is_plain(layer.base_layer)
    return type(layer) is nn.Linear and layer.bias is None


def runs_of(input_ids: Tensor, segment_ids: Tensor | None) -> Tensor:
    """Where each run of rows that attend to each other begins, over the flattened (B, T), and the end; int64."""
    batch, time = input_ids.shape
    if segment_ids is None:
        return torch.arange(0, batch * time + 1, time)
    begins = torch.ones(batch, time, dtype=torch.bool)
    begins[:, 1:] = segment_ids[:, 1:] != segment_ids[:, :-1]
    return torch.cat((begins.flatten().nonzero().flatten(), torch.tensor([batch * time])))


def forward(block: "LlamaBlock", hidden_states: Tensor, rope: tuple[Tensor, Tensor], runs: Tensor) -> Tensor:
    """What `block` makes of `hidden_states`.

    Args:
        block: one that `supports` accepts.
        hidden_states: (B, T, C).
        rope: cos and sin, (B or 1, 1, T, D).
        runs: of `runs_of`.

    Returns:
        (B, T, C).
    """
    attention = block.self_attn
    sizes = (attention.num_attention_heads, attention.num_key_value_heads, attention.head_dim)
    norms = [norm.weight if isinstance(norm, RMSNorm) else None for norm in (attention.q_norm, attention.k_norm)]
    (q, k, v, o, gate, up, down), adapters, scalings = zip(*map(_parts_of, _linears_of(block)), strict=True)
    weights = (
        block.input_layernorm.weight, q, k, v, o, block.post_attention_layernorm.weight, gate, up, down, *norms,
        *itertools.chain.from_iterable(adapters),
    )  # fmt: skip
    description = _Description(sizes, block.input_layernorm.eps, scalings)
    output: Tensor = _Function.apply(hidden_states, description, *rope, runs, *weights)  # type: ignore[no-untyped-call]
    return output


def _parts_of(layer: nn.Module) -> tuple[Tensor, tuple[Tensor | None, Tensor | None], float]:
    """Weight of a layer, A and B of its adapter and what scales it; none where the adapter has no part now."""
    if isinstance(layer, LoRALinear):
        assert isinstance(layer.base_layer, nn.Linear)
        if layer.enabled and not layer.merged:
            return layer.base_layer.weight, (layer.lora_A.weight, layer.lora_B.weight), layer.scaling
        layer = layer.base_layer
    assert isinstance(layer, nn.Linear)
    return layer.weight, (None, None), 0.0


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_states: Tensor,
        description: _Description,
        cos: Tensor,
        sin: Tensor,
        runs: Tensor,
        *weights: Tensor | None,
    ) -> Tensor:
        hidden_states, cos, sin = hidden_states.contiguous(), cos.contiguous(), sin.contiguous()
        saved = _new_saved(hidden_states, description, weights)
        output = torch.empty_like(hidden_states)
        block = _describe(hidden_states, description, cos, sin, runs, weights)
        _library().llama_block_forward(
            byref(block), _address(hidden_states), _address(output), byref(_Saved(*map(_address, saved)))
        )
        ctx.save_for_backward(hidden_states, cos, sin, runs, *saved, *weights)
        ctx.description = description
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden_states, cos, sin, runs, *rest = ctx.saved_tensors
        saved, weights = rest[: len(_SAVED)], rest[len(_SAVED) :]
        block = _describe(hidden_states, ctx.description, cos, sin, runs, weights)
        wanted = [
            torch.empty_like(weight) if weight is not None and needed else None
            for weight, needed in zip(weights, ctx.needs_input_grad[5:], strict=True)
        ]
        counts = [0 if weight is None else weight.numel() for weight in wanted]
        others = hidden_states.new_empty(block.num_threads - 1, sum(counts))
        partial = (_Gradients * block.num_threads)(
            _Gradients(*map(_address, wanted)), *(_Gradients(*_addresses(row, counts)) for row in others)
        )
        output_gradient, input_gradient = gradients[0].contiguous(), torch.empty_like(hidden_states)
        _library().llama_block_backward(
            byref(block),
            _address(hidden_states),
            _address(output_gradient),
            _address(input_gradient),
            byref(_Saved(*map(_address, saved))),
            partial,
            byref(_Counts(*counts)),
        )
        return (input_gradient, None, None, None, None, *wanted)


def _new_saved(
    hidden_states: Tensor, description: _Description, weights: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """Room for what `_SAVED` names, (N, …) each; None where there is no adapter."""
    num_heads, num_kv_heads, head_dim = description.sizes
    ranks = [None if matrix is None else matrix.shape[0] for matrix in weights[len(_WEIGHTS) :: 2]]
    widths = [
        (num_heads + 2 * num_kv_heads) * head_dim,
        num_heads * head_dim,
        hidden_states.shape[-1],
        2 * _intermediate_size(weights),
        *ranks,
    ]
    rows = hidden_states.shape[0] * hidden_states.shape[1]
    return [None if width is None else hidden_states.new_empty(rows, width) for width in widths]


def _describe(
    hidden_states: Tensor,
    description: _Description,
    cos: Tensor,
    sin: Tensor,
    runs: Tensor,
    weights: Sequence[Tensor | None],
) -> _Block:
    matrices = weights[len(_WEIGHTS) :]
    return _Block(
        _sgemm(),
        torch.get_num_threads(),
        hidden_states.shape[-1],
        *description.sizes,
        _intermediate_size(weights),
        description.eps,
        cos.numel() // description.sizes[2],
        _address(cos),
        _address(sin),
        runs.numel() - 1,
        _address(runs),
        *map(_address, weights[: len(_WEIGHTS)]),
        *(
            _Adapter(_address(a), _address(b), 0 if a is None else a.shape[0], scaling)
            for a, b, scaling in zip(matrices[::2], matrices[1::2], description.scalings, strict=True)
        ),
    )


def _intermediate_size(weights: Sequence[Tensor | None]) -> int:
    gate = weights[_WEIGHTS.index("gate")]
    assert gate is not None
    return gate.shape[0]


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _addresses(row: Tensor, counts: Sequence[int]) -> list[int | None]:
    """Where each weight's part of a row begins; None for those of no values."""
    ends = itertools.accumulate(counts, initial=0)
    return [row.data_ptr() + 4 * begin if count else None for begin, count in zip(ends, counts, strict=False)]


@functools.cache
def _sgemm() -> int | None:
    """Address of the single-precision product of the BLAS that PyTorch carries."""
    library = ctypes.CDLL(torch._C.__file__)
    found = next((getattr(library, name) for name in ("sgemm_", "SGEMM") if hasattr(library, name)), None)
    return None if found is None else cast(found, c_void_p).value


@functools.cache
def _library() -> ctypes.CDLL:
    library = load_library("llama_block")
    assert library is not None, "ask unavailable() first"
    library.llama_block_forward.argtypes = [POINTER(_Block), c_void_p, c_void_p, POINTER(_Saved)]
    library.llama_block_backward.argtypes = [
        POINTER(_Block), c_void_p, c_void_p, c_void_p, POINTER(_Saved), POINTER(_Gradients), POINTER(_Counts),
    ]  # fmt: skip
    return library
