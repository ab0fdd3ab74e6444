"""Adapters on whole models: training, merging and removing them; which layers are chosen; what is refused."""

from collections.abc import Iterator, Mapping

import pytest
import torch
from torch import Tensor, nn

from inkstone.core.config import parse_config
from inkstone.core.errors import ConfigError
from inkstone.nn.adapter_config import LoRAConfig, choose_targets
from inkstone.nn.adapters import Adapter, add_adapter, is_adapted
from inkstone.nn.models.base import Model
from inkstone.nn.models.gpt2 import GPT2Config, GPT2LMHeadModel
from inkstone.nn.models.mixtral import MixtralConfig, MixtralForCausalLM
from tests.tiny_models import randomized, tiny_model

IDS = torch.randint(0, 320, (2, 20), generator=torch.Generator().manual_seed(1))
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def perturb(adapter: Adapter, std: float = 0.2) -> Adapter:
    """Values as after some training."""
    generator = torch.Generator().manual_seed(7)
    for parameter in adapter.parameters().values():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data.add_(std * noise.to(parameter))
    return adapter


def values(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def assert_equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def adapted(model: Model | None = None, **settings: object) -> tuple[Model, Adapter]:
    model = tiny_model(tie_word_embeddings=False, num_key_value_heads=2) if model is None else model
    config = parse_config(LoRAConfig, settings, where="test")
    return model, add_adapter(model, config, torch.Generator().manual_seed(3))


SETTINGS: Mapping[str, dict[str, object]] = {
    "lora": {},
    "dora": {"use_dora": True},
    "rank-stabilized, dropout": {"use_rslora": True, "lora_dropout": 0.3, "r": 3},
    "biases and a whole module": {"bias": "all", "modules_to_save": ["model.norm"], "use_dora": True},
    "output layer": {"target_modules": ["q_proj", "lm_head"]},
}


@pytest.fixture(params=SETTINGS.values(), ids=SETTINGS)
def settings(request: pytest.FixtureRequest) -> dict[str, object]:
    return dict(request.param)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_new_adapter_changes_nothing(settings: dict[str, object], dtype: torch.dtype) -> None:
    model = tiny_model(tie_word_embeddings=False, attention_bias=True).to(dtype)
    before = model(IDS)
    adapted(model, **settings)
    assert torch.equal(model(IDS), before)
    assert model(IDS).dtype == dtype


def test_gradients_reach_the_adapter_and_nothing_else(settings: dict[str, object]) -> None:
    model = tiny_model(tie_word_embeddings=False, attention_bias=True)
    _, adapter = adapted(model, **settings)
    perturb(adapter)
    model(IDS).float().square().mean().backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert trained == set(adapter.parameters())
    assert all(
        parameter.grad.abs().sum() > 0 for name, parameter in adapter.parameters().items() if "k_proj.base" not in name
    )
    own = ("lora_A.weight", "lora_B.weight", "lora_magnitude_vector", "bias", "model.norm.weight")
    assert all(name.endswith(own) for name in trained)
    assert adapter.num_parameters() == sum(each.numel() for each in model.parameters() if each.requires_grad)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_merge_unmerge_disable_and_remove(settings: dict[str, object], dtype: torch.dtype) -> None:
    model = tiny_model(tie_word_embeddings=False, attention_bias=True).to(dtype)
    plain, base = values(model), model(IDS)
    _, adapter = adapted(model, **settings)
    perturb(adapter)
    unmerged, state = model(IDS), values(model)
    effect = (unmerged - base).float().norm()
    assert effect > 0.1 * base.float().norm()
    with adapter.disabled():
        assert torch.equal(model(IDS), base)
    assert torch.equal(model(IDS), unmerged)
    adapter.merge()
    merged = model(IDS)
    assert (merged - unmerged).float().norm() < (1e-5 if dtype == torch.float32 else 0.1) * effect
    for _ in range(2):
        with adapter.disabled():
            assert torch.equal(model(IDS), base)
        assert adapter.merged
        assert torch.equal(model(IDS), merged)
    adapter.unmerge()
    assert not adapter.merged
    assert_equal(values(model), state)
    assert torch.equal(model(IDS), unmerged)
    adapter.merge()
    adapter.remove()
    assert_equal(values(model), plain)
    assert torch.equal(model(IDS), base)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not is_adapted(model)


def test_merge_and_unload_leaves_a_plain_model(settings: dict[str, object]) -> None:
    model = tiny_model(tie_word_embeddings=False, attention_bias=True)
    names = list(values(model))
    _, adapter = adapted(model, **settings)
    unmerged = perturb(adapter) and model(IDS)
    assert adapter.merge_and_unload() is model
    assert list(values(model)) == names
    torch.testing.assert_close(model(IDS), unmerged, atol=1e-4, rtol=0)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not is_adapted(model)
    add_adapter(model, LoRAConfig())


def test_only_the_update_is_trained_and_the_base_can_be_bf16() -> None:
    model, adapter = adapted(tiny_model(tie_word_embeddings=False).to(torch.bfloat16))
    assert {parameter.dtype for parameter in adapter.parameters().values()} == {torch.float32}
    optimizer = torch.optim.AdamW(adapter.parameters().values(), lr=1e-2)
    losses = []
    for _ in range(12):
        loss = nn.functional.cross_entropy(model(IDS[:, :-1]).float().flatten(0, 1), IDS[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.5
    base = {name: value for name, value in values(model).items() if "lora" not in name}
    original = values(tiny_model(tie_word_embeddings=False).to(torch.bfloat16))
    assert_equal({name.replace(".base_layer.", "."): value for name, value in base.items()}, original)


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("use_dora", [False, True])
def test_blocks_compile_before_and_after(use_dora: bool) -> None:
    model, adapter = adapted(use_dora=use_dora)
    perturb(adapter)
    expected = model(IDS)
    adapter.merge()
    merged = model(IDS)
    adapter.unmerge()
    for block in model.blocks:
        block.compile(backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(model(IDS), expected, atol=1e-5, rtol=1e-5)
    adapter.merge()
    torch.testing.assert_close(model(IDS), merged, atol=1e-5, rtol=1e-5)


# ---- which layers


def chosen(**settings: object) -> list[str]:
    model = tiny_model(tie_word_embeddings=False)
    return choose_targets(model, parse_config(LoRAConfig, settings, where="test"))


def test_all_linear_means_the_linear_layers_of_the_blocks() -> None:
    names = chosen()
    assert len(names) == 2 * len(PROJECTIONS)
    assert {name.rpartition(".")[2] for name in names} == set(PROJECTIONS)


def test_all_linear_leaves_routers_and_experts_alone() -> None:
    config = MixtralConfig(
        vocab_size=320, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=48, head_dim=8, max_position_embeddings=32, num_local_experts=2, num_experts_per_tok=1,
    )  # fmt: skip
    names = choose_targets(MixtralForCausalLM(config), LoRAConfig())
    assert {name.rpartition(".")[2] for name in names} == set(PROJECTIONS[:4])


Q0, Q1 = "model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"
UP0, DOWN0 = "model.layers.0.mlp.up_proj", "model.layers.0.mlp.down_proj"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"target_modules": ["q_proj"]}, [Q0, Q1]),
        ({"target_modules": ["layers.1.self_attn.q_proj"]}, [Q1]),
        ({"target_modules": ["proj"]}, None),
        ({"target_modules": r".*\.0\..*(up|down)_proj"}, [UP0, DOWN0]),
        ({"target_modules": "q_proj"}, None),
        ({"target_modules": ["q_proj"], "exclude_modules": ["layers.0.self_attn.q_proj"]}, [Q1]),
        ({"target_modules": ["q_proj"], "exclude_modules": r".*\.0\..*"}, [Q1]),
        ({"target_modules": ["q_proj"], "layers_to_transform": 1}, [Q1]),
        ({"target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": "layers"}, [Q0]),
        ({"target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": ["h"]}, None),
        ({"target_modules": ["q_proj", "up_proj"], "modules_to_save": ["mlp"]}, [Q0, Q1]),
    ],
)
def test_layers_are_chosen_by_name(settings: dict[str, object], expected: list[str] | None) -> None:
    if expected is None:
        with pytest.raises(ConfigError, match=r"target_modules: no (linear )?layer"):
            chosen(**settings)
    else:
        assert chosen(**settings) == expected


def test_patterns_for_rank_and_alpha() -> None:
    config = LoRAConfig(
        r=4,
        lora_alpha=8,
        rank_pattern={"q_proj": 2, r".*\.1\..*": 6, "down_proj": 5},
        alpha_pattern={"layers.1.mlp.up_proj": 30},
    )
    model, adapter = adapted(**config.model_dump())
    ranks = {name: layer.lora_A.out_features for name, layer in zip(adapter.targets, adapter.layers, strict=True)}
    assert ranks["model.layers.0.self_attn.q_proj"] == ranks["model.layers.1.self_attn.q_proj"] == 2
    assert (ranks["model.layers.0.self_attn.k_proj"], ranks["model.layers.1.self_attn.k_proj"]) == (4, 6)
    assert ranks["model.layers.0.mlp.down_proj"] == 5
    assert ranks["model.layers.1.mlp.down_proj"] == 6
    assert model.get_submodule("model.layers.0.mlp.down_proj").scaling == 8 / 5
    assert model.get_submodule("model.layers.1.mlp.up_proj").scaling == 30 / 6
    assert LoRAConfig(r=16, lora_alpha=8, use_rslora=True).scaling_of("q_proj") == 2.0


@pytest.mark.parametrize(("bias", "expected"), [("none", 0), ("lora_only", 1), ("all", 8)])
def test_biases(bias: str, expected: int) -> None:
    model = tiny_model(attention_bias=True)
    _, adapter = adapted(model, target_modules=["q_proj"], layers_to_transform=[0], bias=bias)
    biases = [name for name in adapter.parameters() if name.endswith("bias")]
    assert len(biases) == expected
    assert (f"{Q0}.base_layer.bias" in biases) == (bias != "none")


def test_gpt2_has_conv1d_layers() -> None:
    config = GPT2Config(
        vocab_size=320, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=32,
    )  # fmt: skip
    model = randomized(GPT2LMHeadModel(config)).eval()
    base = model(IDS)
    _, adapter = adapted(model, use_dora=True)
    assert {name.split(".", 3)[3] for name in adapter.targets} == {
        "attn.c_attn",
        "attn.c_proj",
        "mlp.c_fc",
        "mlp.c_proj",
    }
    unmerged = perturb(adapter) and model(IDS)
    assert not torch.allclose(unmerged, base, atol=0.1)
    adapter.merge()
    torch.testing.assert_close(model(IDS), unmerged, atol=1e-4, rtol=1e-5)
    adapter.remove()
    assert torch.equal(model(IDS), base)


# ---- refusals


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"r": 0}, "r: "),
        ({"lora_alpha": float("inf")}, "lora_alpha"),
        ({"lora_dropout": 1.0}, "lora_dropout"),
        ({"target_modules": []}, "target_modules"),
        ({"target_modules": "(q_proj"}, "no regular expression"),
        ({"rank_pattern": {"(": 2}}, "no regular expression"),
        ({"rank_pattern": {"q_proj": -1}}, "rank_pattern"),
        ({"layers_to_transform": [0]}, "list of names"),
        ({"layers_pattern": "layers"}, "needs layers_to_transform"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"targets": ["q_proj"]}, "did you mean 'target_modules'"),
        ({"target_modules": ["q_prj"]}, "no layer is called 'q_prj'\n.*did you mean 'q_proj'"),
        ({"target_modules": ["embed_tokens"]}, "(?s)no linear layer.*modules_to_save"),
        ({"target_modules": r".*self_attn"}, "is no linear layer"),
        ({"modules_to_save": ["classifier"]}, "no module is called 'classifier'"),
        ({"target_modules": ["lm_head"]}, "lm_head shares its matrix"),
        ({"modules_to_save": ["embed_tokens"]}, "embed_tokens shares its matrix"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_the_model_alone(settings: dict[str, object], message: str) -> None:
    model = tiny_model()
    before = values(model)
    with pytest.raises(ConfigError, match=message):
        adapted(model, **settings)
    assert_equal(values(model), before)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_one_adapter_at_a_time() -> None:
    model, adapter = adapted()
    before = values(model)
    with pytest.raises(ConfigError, match="has an adapter already"):
        adapted(model)
    assert_equal(values(model), before)
    assert {name for name, each in model.named_parameters() if each.requires_grad} == set(adapter.parameters())
