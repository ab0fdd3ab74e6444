import math

import pytest
import torch
from torch import Tensor

from inkstone.data.examples.encoded import TokenSequence
from inkstone.data.layout import lay_out
from inkstone.nn.architectures import ARCHITECTURES
from inkstone.nn.models.base import EncoderDecoder, Model
from inkstone.tokenizer import Tokenizer
from inkstone.train.learning import build_model, equip
from inkstone.train.neftune import EmbeddingNoise, example_lengths, token_embedding
from tests.tiny_models import tiny_model
from tests.train.test_from_scratch import settings

ALPHA = 5.0


def embeddings(model: Model, input_ids: Tensor) -> Tensor:
    """What the token embedding gives when the model reads tokens."""
    caught: list[Tensor] = []
    hook = token_embedding(model).register_forward_hook(lambda module, inputs, output: caught.append(output.detach()))
    if isinstance(model, EncoderDecoder):
        model(input_ids, input_ids)
    else:
        model(input_ids)
    hook.remove()
    assert len(caught) == 1
    return caught[0]


def test_noise_is_within_its_bounds_and_fills_them() -> None:
    model = tiny_model().train()
    noise = EmbeddingNoise(model, ALPHA)
    input_ids = torch.randint(5, 320, (4, 40))
    clean = model.model.embed_tokens.weight[input_ids].detach()
    with noise.over({"input_ids": input_ids}):
        added = embeddings(model, input_ids) - clean
    bound = ALPHA / math.sqrt(40 * 32)
    assert float(added.abs().max()) <= bound * (1 + 1e-4)
    assert float(added.abs().max()) > 0.99 * bound
    assert float(added.mean()) == pytest.approx(0, abs=bound / 20)
    assert float(added.var()) == pytest.approx(bound**2 / 3, rel=0.1)  # of a uniform distribution


def test_there_is_none_in_evaluation_or_outside_of_a_step() -> None:
    model = tiny_model()
    noise = EmbeddingNoise(model, ALPHA)
    input_ids = torch.randint(5, 320, (2, 8))
    clean = model.model.embed_tokens.weight[input_ids]
    with noise.over({"input_ids": input_ids}):
        assert torch.equal(embeddings(model.eval(), input_ids), clean)
    assert torch.equal(embeddings(model.train(), input_ids), clean)


@pytest.mark.parametrize("packed", [True, False])
def test_padding_and_neighbors_do_not_count(packed: bool) -> None:
    lengths = (12, 7, 5, 3)
    sequences = [TokenSequence.of(list(range(10, 10 + length)), [True] * length) for length in lengths]
    batch = lay_out(sequences, packed=packed)
    found = example_lengths(batch)
    for number, length in enumerate(lengths):
        places = batch["sequence_ids"] == number
        assert int(places.sum()) == length
        assert set(found[places].tolist()) == {length}
    masked = {"input_ids": torch.zeros(2, 5), "attention_mask": torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])}
    assert example_lengths(masked)[:, 0].tolist() == [3, 5]


@pytest.mark.parametrize("arch", sorted(ARCHITECTURES))
def test_every_family_can_be_disturbed(arch: str, tokenizer: Tokenizer) -> None:
    config = settings(arch)
    model = build_model(config, equip(tokenizer, config)).train()
    noise = EmbeddingNoise(model, ALPHA)
    input_ids = torch.randint(5, 50, (2, 8))
    with noise.over({"input_ids": input_ids}):
        first, second = embeddings(model, input_ids), embeddings(model, input_ids)
    assert not torch.equal(first, second)
    assert torch.equal(embeddings(model, input_ids), embeddings(model, input_ids))
