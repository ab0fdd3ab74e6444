"""Sparse mixture of experts: a router sends every token to a few of many feed-forward layers."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn


class SparseMLP(nn.Module):
    """Top-k mixture of experts (Shazeer et al. 2017, arXiv:1701.06538, eq. 1; routed as in Mixtral and Qwen3-MoE).

    `y = Σ_i weight_i(x) · expert_i(x)` over the k experts that the router `gate` finds most probable. Tokens are
    grouped by expert, so that each expert that got any is called once. One that got none has no gradient.
    """

    def __init__(
        self, hidden_size: int, experts: Iterable[nn.Module], num_experts_per_tok: int, *, norm_topk_prob: bool
    ) -> None:
        super().__init__()
        self.experts = nn.ModuleList(experts)
        self.gate = nn.Linear(hidden_size, len(self.experts), bias=False)
        self.num_experts_per_tok = num_experts_per_tok
        self.norm_topk_prob = norm_topk_prob

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(B, T, C) → (B, T, C)."""
        tokens = hidden_states.flatten(0, -2)  # (N, C)
        weights, chosen = route(self.gate(tokens), self.num_experts_per_tok, normalize=self.norm_topk_prob)
        results: Tensor = self._run_experts(tokens, chosen)  # (N, k, C)
        return (results * weights.unsqueeze(-1)).sum(1).to(hidden_states.dtype).view_as(hidden_states)

    # How many tokens an expert gets is known only when it runs: nothing that a compiled graph could hold.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _run_experts(self, tokens: Tensor, chosen: Tensor) -> Tensor:
        """Tokens (N, C) and their experts (N, k) → what those experts make of them, (N, k, C)."""
        order = chosen.flatten().argsort(stable=True)  # (N·k,) choices, those of the first expert first
        counts: list[int] = chosen.flatten().bincount(minlength=len(self.experts)).tolist()
        groups = tokens[order // self.num_experts_per_tok].split_with_sizes(counts)
        results = [expert(group) for expert, group in zip(self.experts, groups, strict=True) if len(group)]
        return torch.cat(results)[order.argsort()].view(*chosen.shape, -1)

    def extra_repr(self) -> str:
        """What routing depends on, for `print(model)`."""
        return f"num_experts_per_tok={self.num_experts_per_tok}, norm_topk_prob={self.norm_topk_prob}"


def route(router_logits: Tensor, num_experts_per_tok: int, *, normalize: bool) -> tuple[Tensor, Tensor]:
    """Router logits (N, E) → weights (N, k), float32, and indices (N, k) of the most probable experts.

    The weights are probabilities over all experts; `normalize` makes those of a token's experts sum to 1.
    """
    probabilities = torch.softmax(router_logits, dim=-1, dtype=torch.float32)
    weights, chosen = probabilities.topk(num_experts_per_tok, dim=-1)
    if normalize:
        weights = weights / weights.sum(-1, keepdim=True)
    return weights, chosen


@contextlib.contextmanager
def collect_router_logits(model: nn.Module) -> Iterator[list[Tensor]]:
    """Within the context, every pass through `model` appends the router logits (N, E) of each mixture, in order."""
    collected: list[Tensor] = []

    def keep(gate: nn.Module, inputs: tuple[Tensor, ...], router_logits: Tensor) -> None:
        collected.append(router_logits)

    mixtures = [module for module in model.modules() if isinstance(module, SparseMLP)]
    hooks = [mixture.gate.register_forward_hook(keep) for mixture in mixtures]
    try:
        yield collected
    finally:
        for hook in hooks:
            hook.remove()


def load_balancing_loss(
    router_logits: Sequence[Tensor], num_experts_per_tok: int, attention_mask: Tensor | None = None
) -> Tensor:
    """Auxiliary loss that is least when all experts get equally many tokens.

    `E · Σ_i f_i · P_i` with f_i the share of tokens sent to expert i and P_i its mean probability (Switch Transformer,
    Fedus et al. 2021, arXiv:2101.03961, eq. 4-6, without the factor α). The blocks' tokens are taken together, and
    with k experts a token the f_i sum to k, so that equal shares give k.

    Args:
        router_logits: (N, E) of each mixture, N = B·T.
        num_experts_per_tok: k.
        attention_mask: (B, T), 0 at padding, which is not counted.

    Returns:
        Float32 scalar; its gradient flows through the probabilities.
    """
    logits = torch.cat(list(router_logits)).float()  # (L·N, E)
    probabilities = torch.softmax(logits, dim=-1)
    chosen = probabilities.detach().topk(num_experts_per_tok, dim=-1).indices
    sent = torch.zeros_like(probabilities).scatter_(1, chosen, 1.0)
    if attention_mask is None:
        shares, means = sent.mean(0), probabilities.mean(0)
    else:
        real = attention_mask.flatten().bool().repeat(len(router_logits))
        shares, means = sent[real].mean(0), probabilities[real].mean(0)
    return logits.shape[-1] * (shares * means).sum()
