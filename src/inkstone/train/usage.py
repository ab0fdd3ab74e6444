"""How much of the machine a run uses."""

from typing import NamedTuple, Self

import torch
from torch import nn

from inkstone.core.device import peak_rss_bytes
from inkstone.nn.layers.experts import SparseMLP
from inkstone.nn.layers.quantized import QuantizedLinear
from inkstone.nn.models.base import EncoderDecoder, Model


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory that was in use so far: by tensors on a GPU, by the whole process elsewhere."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_rss_bytes()


def memory_bytes(device: torch.device) -> int:
    """The memory that is in use now: by tensors on a GPU, by the whole process elsewhere."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    import psutil

    return int(psutil.Process().memory_info().rss)


class TrainingFlops(NamedTuple):
    """Floating-point operations of training on one token: forward, backward, and the gradients that are wanted.

    6 for every weight of a matrix (Kaplan et al. 2020, arXiv:2001.08361, section 2.1), of which 2 are for the weight's
    own gradient and fall away where it is frozen, and 12 · width · length for every layer of attention (Chowdhery et
    al. 2022, arXiv:2204.02311, appendix B). Looking tokens up costs nothing, and of a mixture's experts those count
    that compute. In an encoder–decoder a token passes through one of two stacks, which counts as half of both.

    What is computed twice (gradient checkpointing) is counted once.
    """

    blocks: float
    """Of a token in the stacks."""
    attention: float
    """For each token of its sequence."""
    output: float
    """Of a token that carries loss, in the output layer."""

    @classmethod
    def of(cls, model: Model) -> Self:
        """Those of a model as it is trained, adapters included."""
        shares = _shares_of_experts(model)
        stacks = 2 if isinstance(model, EncoderDecoder) else 1
        seen: set[int] = set()
        blocks = output = 0.0
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                continue
            if isinstance(module, QuantizedLinear):
                blocks += 4 * module.num_weights * shares.get(id(module), 1.0)
            is_output = getattr(module, "out_features", None) == getattr(model.config, "vocab_size", 0)
            for weight in module.parameters(recurse=False):
                if weight.squeeze().dim() >= 2 and id(weight) not in seen:
                    seen.add(id(weight))
                    flops = (6 if weight.requires_grad else 4) * weight.numel()
                    if is_output:
                        output += flops
                    else:
                        blocks += flops * shares.get(id(module), 1.0)
        widths = (getattr(each, "num_attention_heads", 0) * getattr(each, "head_dim", 0) for each in model.modules())
        return cls(blocks / stacks, 12 * sum(widths) / stacks, output)

    def per_token(self, length: float, output_share: float = 1.0) -> float:
        """Of a token, on average.

        Args:
            length: tokens of a sequence.
            output_share: tokens that carry loss, as a share of all.
        """
        return self.blocks + self.attention * length + self.output * output_share


def _shares_of_experts(model: Model) -> dict[int, float]:
    """Identity of a module → share of the tokens that it computes, for all modules in experts."""
    return {
        id(inner): mixture.num_experts_per_tok / len(mixture.experts)
        for mixture in model.modules()
        if isinstance(mixture, SparseMLP)
        for inner in mixture.experts.modules()
    }
