"""The Llama model against the one of `transformers`, built from the same weights."""

import pytest
import torch
from transformers import LlamaConfig as HFLlamaConfig
from transformers import LlamaForCausalLM as HFLlama
from transformers import Qwen3Config as HFQwen3Config
from transformers import Qwen3ForCausalLM as HFQwen3

from inkstone.nn.models.llama import LlamaForCausalLM
from tests.tiny_models import SHAPES, tiny_model


def oracle_of(model: LlamaForCausalLM) -> torch.nn.Module:
    keys = model.config.model_dump(exclude={"model_type", "qk_norm", "rope_theta"})
    keys["rope_parameters"] = {"rope_type": "default", "rope_theta": model.config.rope_theta}
    oracle = HFQwen3(HFQwen3Config(**keys)) if model.config.qk_norm else HFLlama(HFLlamaConfig(**keys))
    missing, unexpected = oracle.load_state_dict(model.state_dict(), strict=False)
    assert not unexpected
    assert not missing
    return oracle.eval()


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
def test_logits_equal_those_of_transformers(changes: dict[str, object]) -> None:
    model = tiny_model(**changes)
    input_ids = torch.randint(0, 320, (3, 64), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(model(input_ids), oracle_of(model)(input_ids).logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("changes", [SHAPES["grouped-query"], SHAPES["qk_norm and bias, untied"]], ids=str)
def test_gradients_equal_those_of_transformers(changes: dict[str, object]) -> None:
    model = tiny_model(**changes)
    oracle = oracle_of(model)
    input_ids = torch.randint(0, 320, (2, 32), generator=torch.Generator().manual_seed(2))
    for each in (model(input_ids), oracle(input_ids).logits):
        torch.nn.functional.cross_entropy(each[:, :-1].flatten(0, 1), input_ids[:, 1:].flatten()).backward()
    expected = dict(oracle.named_parameters())
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name].grad, atol=1e-4, rtol=1e-3, msg=name)


@pytest.mark.parametrize("splits", [(10,), (1, 2, 3, 4), (7, 1, 1, 1), (3, 7)], ids=str)
@pytest.mark.parametrize("changes", [{}, SHAPES["qk_norm"]], ids=str)
def test_the_cache_changes_nothing(changes: dict[str, object], splits: tuple[int, ...]) -> None:
    model = tiny_model(**changes)
    input_ids = torch.randint(0, 320, (2, 10), generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        cache = model.new_cache(12)
        pieces = [model(piece, cache=cache) for piece in input_ids.split(splits, dim=1)]
        torch.testing.assert_close(torch.cat(pieces, dim=1), model(input_ids), atol=1e-5, rtol=1e-5)


def test_segments_do_not_see_each_other() -> None:
    model = tiny_model()
    generator = torch.Generator().manual_seed(4)
    documents = [torch.randint(0, 320, (1, size), generator=generator) for size in (5, 9, 1)]
    packed = torch.cat(documents, dim=1)
    segments = torch.tensor([[0] * 5 + [1] * 9 + [2]])
    positions = torch.cat([torch.arange(size) for size in (5, 9, 1)]).unsqueeze(0)
    with torch.inference_mode():
        alone = torch.cat([model(document) for document in documents], dim=1)
        torch.testing.assert_close(
            model(packed, position_ids=positions, segment_ids=segments), alone, atol=1e-5, rtol=1e-5
        )
