"""Sparse experts against a loop over tokens, and against the layers and the loss of `transformers`."""

import pytest
import torch
from torch import Tensor, nn
from transformers import Qwen3MoeConfig
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeSparseMoeBlock

from inkstone.nn.layers.experts import SparseMLP, collect_router_logits, load_balancing_loss, route

HIDDEN_SIZE, NUM_EXPERTS, INTERMEDIATE_SIZE = 16, 6, 12
STATES = torch.randn(2, 7, HIDDEN_SIZE, generator=torch.Generator().manual_seed(3))


class Expert(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(HIDDEN_SIZE, INTERMEDIATE_SIZE, bias=False)
        self.up_proj = nn.Linear(HIDDEN_SIZE, INTERMEDIATE_SIZE, bias=False)
        self.down_proj = nn.Linear(INTERMEDIATE_SIZE, HIDDEN_SIZE, bias=False)
        self.calls: list[int] = []

    def forward(self, tokens: Tensor) -> Tensor:
        self.calls.append(len(tokens))
        output: Tensor = self.down_proj(nn.functional.silu(self.gate_proj(tokens)) * self.up_proj(tokens))
        return output


def sparse_mlp(num_experts_per_tok: int = 2, *, norm_topk_prob: bool = True) -> SparseMLP:
    torch.manual_seed(0)
    experts = (Expert() for _ in range(NUM_EXPERTS))
    return SparseMLP(HIDDEN_SIZE, experts, num_experts_per_tok, norm_topk_prob=norm_topk_prob)


def token_by_token(mlp: SparseMLP, states: Tensor) -> Tensor:
    """The definition: each token's k most probable experts, weighted."""
    outputs = []
    for token in states.reshape(-1, HIDDEN_SIZE):
        probabilities = mlp.gate(token).softmax(-1)
        chosen = probabilities.argsort(descending=True)[: mlp.num_experts_per_tok].tolist()
        total = sum(probabilities[index] for index in chosen) if mlp.norm_topk_prob else 1.0
        outputs.append(sum(probabilities[index] / total * mlp.experts[index](token[None])[0] for index in chosen))
    return torch.stack(outputs).view_as(states)


@pytest.mark.parametrize("norm_topk_prob", [True, False])
@pytest.mark.parametrize("num_experts_per_tok", [1, 2, NUM_EXPERTS])
def test_equals_a_loop_over_tokens(num_experts_per_tok: int, norm_topk_prob: bool) -> None:
    mlp = sparse_mlp(num_experts_per_tok, norm_topk_prob=norm_topk_prob)
    torch.testing.assert_close(mlp(STATES), token_by_token(mlp, STATES), atol=1e-6, rtol=1e-5)


def test_gradients_equal_those_of_a_loop_over_tokens() -> None:
    mlp, oracle = sparse_mlp(), sparse_mlp()
    inputs = [STATES.clone().requires_grad_() for _ in range(2)]
    mlp(inputs[0]).square().sum().backward()
    token_by_token(oracle, inputs[1]).square().sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, atol=1e-6, rtol=1e-4)
    expected = dict(oracle.named_parameters())
    for name, parameter in mlp.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name].grad, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("norm_topk_prob", [True, False])
def test_equals_the_layer_of_transformers(norm_topk_prob: bool) -> None:
    config = Qwen3MoeConfig(
        hidden_size=HIDDEN_SIZE,
        moe_intermediate_size=INTERMEDIATE_SIZE,
        num_experts=NUM_EXPERTS,
        num_experts_per_tok=3,
        norm_topk_prob=norm_topk_prob,
    )
    mlp, theirs = sparse_mlp(3, norm_topk_prob=norm_topk_prob), Qwen3MoeSparseMoeBlock(config)
    with torch.no_grad():
        theirs.gate.weight.copy_(mlp.gate.weight)
        for index, expert in enumerate(mlp.experts):
            theirs.experts.gate_up_proj[index] = torch.cat((expert.gate_proj.weight, expert.up_proj.weight))
            theirs.experts.down_proj[index] = expert.down_proj.weight
        torch.testing.assert_close(mlp(STATES), theirs(STATES), atol=1e-6, rtol=1e-5)


def test_each_expert_runs_once_and_only_for_its_tokens() -> None:
    mlp = sparse_mlp(1)
    with torch.no_grad():
        mlp.gate.weight.zero_()
        mlp.gate.weight[1, 0], mlp.gate.weight[4, 0] = 5.0, -5.0
        states = STATES.clone()
        states[..., 0] = torch.tensor([1.0] * 5 + [-1.0] * 2)
    mlp(states).sum().backward()
    assert [expert.calls for expert in mlp.experts] == [[], [10], [], [], [4], []]
    reached = [all(parameter.grad is not None for parameter in expert.parameters()) for expert in mlp.experts]
    assert reached == [False, True, False, False, True, False]


def test_route_by_hand() -> None:
    logits = torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]]).log()
    weights, chosen = route(logits, 2, normalize=False)
    assert chosen.tolist() == [[2, 1], [0, 1]]
    torch.testing.assert_close(weights, torch.tensor([[0.7, 0.2], [0.5, 0.3]]))
    weights, _ = route(logits, 2, normalize=True)
    torch.testing.assert_close(weights, torch.tensor([[7 / 9, 2 / 9], [5 / 8, 3 / 8]]))
    assert route(logits.bfloat16(), 2, normalize=True)[0].dtype == torch.float32


def test_bfloat16_output_has_the_input_dtype() -> None:
    mlp = sparse_mlp()
    expected = mlp(STATES)
    actual = mlp.bfloat16()(STATES.bfloat16())
    assert actual.dtype == torch.bfloat16
    assert (actual.float() - expected).norm() <= 5e-2 * expected.norm()


@pytest.mark.parametrize("lengths", [None, (4, 9)], ids=["no padding", "padding"])
@pytest.mark.parametrize("num_experts_per_tok", [1, 2])
def test_load_balancing_loss_equals_that_of_transformers(
    num_experts_per_tok: int, lengths: tuple[int, ...] | None
) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = [torch.randn(18, NUM_EXPERTS, generator=generator, requires_grad=True) for _ in range(3)]
    mask = None if lengths is None else (torch.arange(9) < torch.tensor(lengths).unsqueeze(1)).long()
    ours = load_balancing_loss(logits, num_experts_per_tok, mask)
    theirs = load_balancing_loss_func(tuple(logits), NUM_EXPERTS, num_experts_per_tok, mask)
    torch.testing.assert_close(ours, theirs)
    for actual, expected in zip(torch.autograd.grad(ours, logits), torch.autograd.grad(theirs, logits), strict=True):
        torch.testing.assert_close(actual, expected)


def test_load_balancing_loss_is_least_when_experts_share_equally() -> None:
    even = 9.0 * torch.eye(4).repeat(5, 1)
    assert load_balancing_loss([even], 1).item() == pytest.approx(1.0)
    crowded = even.roll(1, dims=1).clone()
    crowded[:, 2] += 20
    assert load_balancing_loss([crowded], 1).item() == pytest.approx(4.0, rel=1e-3)


def test_router_logits_are_collected_only_within_the_context() -> None:
    model = nn.Sequential(sparse_mlp(), sparse_mlp())
    with collect_router_logits(model) as collected:
        model(STATES)
    model(STATES)
    assert [logits.shape for logits in collected] == [(14, NUM_EXPERTS)] * 2
    torch.testing.assert_close(collected[0], model[0].gate(STATES).flatten(0, 1))
    load_balancing_loss(collected, 2).backward()
    assert model[0].gate.weight.grad is not None
