"""Initial weights with a meaning."""

import torch

from inkstone.nn.layers.initialization import attend_to_neighbors
from inkstone.nn.models.bert import BertConfig
from inkstone.nn.models.masked_lm import BertForMaskedLM


def test_heads_of_a_new_encoder_look_around_their_own_position() -> None:
    sizes = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = BertConfig(vocab_size=500, max_position_embeddings=64, **sizes)
    model = BertForMaskedLM(config).eval()
    model.init_weights(torch.Generator().manual_seed(0))
    attentions: list[torch.Tensor] = []
    input_ids = torch.randint(500, (16, 64), generator=torch.Generator().manual_seed(1))
    model.hidden_states(input_ids, output_attentions=attentions)
    distance = (torch.arange(64).unsqueeze(1) - torch.arange(64)).abs()
    near = [(attention.mean(0) * (distance <= 4)).sum(-1).mean(-1) for attention in attentions]  # (H,) each
    assert (near[0] > 0.5).all()
    assert (near[1] < 0.2).all()  # a layer without it sees all 64 alike


def test_scores_of_positions_are_those_of_the_formula() -> None:
    positions, query, key = torch.zeros(30, 64), torch.zeros(64, 64), torch.zeros(64, 64)
    attend_to_neighbors(positions, query, key, num_heads=2, std=1.0)
    scores = (positions @ query.T)[:, 32:] @ (positions @ key.T)[:, 32:].T
    frequencies = 10_000.0 ** (-torch.arange(16) / 32)
    distances = torch.arange(30).unsqueeze(1) + 1 - torch.arange(30).unsqueeze(0)
    expected = 2.0 * 2 * torch.cos(distances.unsqueeze(-1) * frequencies).sum(-1)
    torch.testing.assert_close(scores, expected, atol=1e-3, rtol=1e-4)
    assert (scores[:-1].argmax(-1) == torch.arange(1, 30)).all()
