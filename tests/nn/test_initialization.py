"""Initial weights with a meaning."""

import torch

from inkstone.nn.layers.initialization import attend_to_neighbors
from inkstone.nn.models.bert import BertConfig
from inkstone.nn.models.masked_lm import BertForMaskedLM

HEADS, OFFSETS = 4, (-1, 1, -2, 2)


def test_each_head_of_a_new_encoder_looks_mostly_at_one_near_position() -> None:
    config = BertConfig(
        vocab_size=500, hidden_size=128, num_hidden_layers=2, num_attention_heads=HEADS, intermediate_size=64,
        max_position_embeddings=40, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    model = BertForMaskedLM(config).eval()
    model.init_weights(torch.Generator().manual_seed(0))
    attentions: list[torch.Tensor] = []
    input_ids = torch.randint(500, (64, 40), generator=torch.Generator().manual_seed(1))
    model.hidden_states(input_ids, output_attentions=attentions)
    first = attentions[0].mean(0)  # (H, T, T)
    for head, offset in enumerate(OFFSETS):
        rows = range(2, 38)
        looked_at = [int(first[head, row].argmax()) - row for row in rows]
        assert looked_at == [offset] * len(rows)


def test_scores_of_positions_are_those_of_the_formula() -> None:
    positions, query, key = torch.zeros(30, 64), torch.zeros(64, 64), torch.zeros(64, 64)
    attend_to_neighbors(positions, query, key, num_heads=1, std=1.0)
    scores = (positions @ query.T) @ (positions @ key.T).T
    frequencies = (torch.arange(32) + 0.5) * torch.pi / 32
    distances = torch.arange(30).unsqueeze(1) - 1 - torch.arange(30).unsqueeze(0)
    expected = 2.0 * 2 * torch.cos(distances.unsqueeze(-1) * frequencies).sum(-1)
    torch.testing.assert_close(scores, expected, atol=1e-3, rtol=1e-4)
    assert torch.allclose(scores[distances != 0], torch.zeros(1), atol=1e-3)
