import pytest
import torch

from inkstone.train.muon import BatchedMuon, orthogonalize
from inkstone.train.optim import OptimizerConfig, build_optimizers
from inkstone.train.schedule import ScheduleConfig, learning_rate_factor
from tests.tiny_models import tiny_model

SHAPES = [(16, 16), (16, 16), (40, 16), (16, 40), (8, 24)]


def test_batched_muon_follows_torch_muon() -> None:
    torch.manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    theirs = [torch.nn.Parameter(parameter.detach().clone()) for parameter in ours]
    options = {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.1}
    batched = BatchedMuon(ours, product_dtype=torch.bfloat16, **options)
    reference = torch.optim.Muon(theirs, adjust_lr_fn="match_rms_adamw", **options)
    for _ in range(4):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn(mine.shape)
            other.grad = mine.grad.clone()
        batched.step()
        reference.step()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=5e-4)


def test_orthogonalize_brings_singular_values_near_one_and_keeps_the_directions() -> None:
    matrices = torch.randn(3, 12, 30)
    result = orthogonalize(matrices, (3.4445, -4.775, 2.0315), 5, 1e-7, torch.float32)
    values = torch.linalg.svdvals(result)
    assert values.min() > 0.6
    assert values.max() < 1.3
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    cosines = torch.nn.functional.cosine_similarity(result.flatten(1), (left @ right).flatten(1))
    assert cosines.min() > 0.97


@pytest.mark.parametrize("name", ["muon", "adamw", "sgd"])
def test_every_parameter_has_one_optimizer_and_vectors_do_not_decay(name: str) -> None:
    model = tiny_model()
    optimizers = build_optimizers(model, OptimizerConfig(name=name))  # type: ignore[arg-type]
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    held = [parameter for group in groups for parameter in group["params"]]
    assert sorted(map(id, held)) == sorted(map(id, model.parameters()))
    assert all((group["weight_decay"] == 0) == (group["params"][0].dim() == 1) for group in groups)


def test_schedules_at_points_computed_by_hand() -> None:
    wsd = ScheduleConfig(name="wsd", warmup=0.1, decay=0.2, final=0.0)
    assert [learning_rate_factor(wsd, step, 100) for step in (0, 4, 9, 10, 79)] == [0.1, 0.5, 1.0, 1.0, 1.0]
    assert learning_rate_factor(wsd, 80, 100) == pytest.approx(20 / 21)
    assert learning_rate_factor(wsd, 99, 100) == pytest.approx(1 / 21)
    cosine = ScheduleConfig(name="cosine", warmup=0.0, final=0.1)
    assert learning_rate_factor(cosine, 0, 100) == pytest.approx(1.0)
    assert learning_rate_factor(cosine, 50, 100) == pytest.approx(0.55)
    assert learning_rate_factor(cosine, 100, 100) == pytest.approx(0.1)
    constant = ScheduleConfig(name="constant", warmup=0.5)
    assert [learning_rate_factor(constant, step, 4) for step in range(4)] == [0.5, 1.0, 1.0, 1.0]
