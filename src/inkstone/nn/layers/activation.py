"""Activation functions under the names that Hugging Face's configs give them (`hidden_act`)."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, get_args

from torch import Tensor
from torch.nn import functional as F

Activation = Literal["gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "relu", "silu", "swish", "tanh"]

ACTIVATIONS = get_args(Activation)
"""The names that `activation` knows."""

_GELU_TANH: Callable[[Tensor], Tensor] = partial(F.gelu, approximate="tanh")

_FUNCTIONS: Mapping[Activation, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": _GELU_TANH,
    "gelu_fast": _GELU_TANH,
    "gelu_pytorch_tanh": _GELU_TANH,
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
    "tanh": F.tanh,
}


def activation(name: Activation) -> Callable[[Tensor], Tensor]:
    """The elementwise function of that name.

    `gelu` is exact, `x · Φ(x)`; `gelu_new`, `gelu_fast` and `gelu_pytorch_tanh` are its tanh approximation
    (Hendrycks & Gimpel 2016, arXiv:1606.08415, section 2). `swish` is another name of `silu`, `x · σ(x)`.
    """
    return _FUNCTIONS[name]
