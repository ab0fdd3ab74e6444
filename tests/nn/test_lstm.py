import pytest
import torch
from torch import Tensor, nn

from inkstone.nn.generate import generate_naive
from inkstone.nn.layers.recurrent import find_runs
from inkstone.nn.models.lstm import LstmConfig, LstmForCausalLM
from inkstone.nn.sampling_params import SamplingParams
from tests.engine.generating import generate
from tests.nn import contract

SHAPES = {
    "tied": {},
    "untied": {"tie_word_embeddings": False},
    "projected": {"embedding_size": 20},
    "projected, untied": {"embedding_size": 48, "tie_word_embeddings": False},
    "one layer": {"num_hidden_layers": 1},
    "dropout": {"dropout": 0.5},
}


def tiny_lstm(**changes: object) -> LstmForCausalLM:
    """Two layers, width 32, every parameter random."""
    shape = {"vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 2, "max_position_embeddings": 64}
    model = LstmForCausalLM(LstmConfig.model_validate(shape | changes))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.4, generator=generator)
    return model.eval()


def by_the_equations(model: LstmForCausalLM, ids: list[int]) -> Tensor:
    """Logits (T, V) of one sequence, gate by gate, in float64 (Hochreiter & Schmidhuber 1997; Gers et al. 2000)."""
    weights = {name: value.double() for name, value in model.state_dict().items()}
    size = model.config.hidden_size
    inputs = list(weights["model.embed_tokens.weight"][ids])
    for layer in range(model.config.num_hidden_layers):
        prefix = f"model.layers.{layer}."
        input_gate, forget_gate, candidate, output_gate = (
            [
                weights[f"{prefix}{name}"][part * size : (part + 1) * size]
                for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
            ]
            for part in range(4)
        )
        hidden = cell = torch.zeros(size, dtype=torch.float64)
        outputs = []
        for x in inputs:
            i, f, g, o = (
                w @ x + u @ hidden + b + d for w, u, b, d in (input_gate, forget_gate, candidate, output_gate)
            )
            cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
            hidden = torch.sigmoid(o) * torch.tanh(cell)
            outputs.append(hidden)
        inputs = outputs
    states = torch.stack(inputs)
    if "model.projection.weight" in weights:
        states = states @ weights["model.projection.weight"].T
    return states @ weights["lm_head.weight"].T


@pytest.mark.parametrize("check", contract.DECODER, ids=lambda check: check.__name__)
@pytest.mark.parametrize("shape", SHAPES)
def test_contract(check: contract.Check[LstmForCausalLM], shape: str) -> None:
    check(tiny_lstm(**SHAPES[shape]))


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_are_those_of_the_equations(shape: str) -> None:
    model = tiny_lstm(**SHAPES[shape])
    ids = contract.random_ids(model, 2, 20)
    with torch.inference_mode():
        logits = model(ids)
    for row, sequence in enumerate(ids.tolist()):
        torch.testing.assert_close(logits[row].double(), by_the_equations(model, sequence), atol=1e-4, rtol=1e-4)


def test_hidden_states_are_those_of_a_stacked_torch_lstm() -> None:
    model = tiny_lstm(num_hidden_layers=3)
    stacked = nn.LSTM(32, 32, num_layers=3, batch_first=True)
    own = {
        f"{name.removesuffix('_l0')}_l{index}": value
        for index, layer in enumerate(model.model.layers)
        for name, value in layer.state_dict().items()
    }
    stacked.load_state_dict(own)
    ids = contract.random_ids(model)
    with torch.inference_mode():
        expected, _ = stacked(model.model.embed_tokens(ids))
        torch.testing.assert_close(model.hidden_states(ids), expected, atol=1e-6, rtol=1e-5)


def test_gradients_of_packed_segments_are_those_of_the_documents_alone() -> None:
    model = tiny_lstm()
    ids = contract.random_ids(model, 2, 10)
    segments = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 2, 2, 2], [0, 0, 0, 0, 0, 0, 0, 0, 0, 1]])
    weights = torch.randn(2, 10, 32, generator=torch.Generator().manual_seed(3))
    (model.hidden_states(ids, segment_ids=segments) * weights).sum().backward()
    packed = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    model.zero_grad()
    for row, pieces in ((0, (3, 4, 3)), (1, (9, 1))):
        for piece, part in zip(ids[row].split(pieces), weights[row].split(pieces), strict=True):
            (model.hidden_states(piece.unsqueeze(0))[0] * part).sum().backward()
    alone = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    assert packed.keys() == alone.keys()
    for name, gradient in packed.items():
        torch.testing.assert_close(gradient, alone[name], atol=1e-5, rtol=1e-4, msg=name)


def test_runs_stand_as_torch_packs_them() -> None:
    mask = torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]])
    segments = torch.tensor([[0, 0, 0, 1], [0, 1, 1, 1]])
    runs = find_runs(mask, segments)
    # Runs, longest first: 5 6 7 (row 1), 1 2 (row 0), 3 (row 0), 4 (row 1); tokens 0 to 3 are row 0, 4 to 7 row 1.
    assert runs.rows.tolist() == [1, 0, 0, 1]
    assert runs.tokens.tolist() == [5, 1, 3, 4, 6, 2, 7]
    assert runs.batch_sizes.tolist() == [4, 2, 1]


def test_generate_equals_naive_generate() -> None:
    model = tiny_lstm()
    for params in (
        SamplingParams(max_new_tokens=40, temperature=0),
        SamplingParams(max_new_tokens=20, temperature=1.0, seed=5, num_return_sequences=3),
    ):
        completions = generate(model, [7, 8, 9], params)
        assert [each.token_ids for each in completions] == generate_naive(model, [7, 8, 9], params)


def test_dropout_acts_in_training_only() -> None:
    model = tiny_lstm(dropout=0.5)
    ids = contract.random_ids(model)
    with torch.no_grad():
        assert torch.equal(model(ids), model(ids))
        model.train()
        assert not torch.equal(model(ids), model(ids))


def test_a_new_model_remembers() -> None:
    model = tiny_lstm(hidden_size=8)
    model.init_weights(torch.Generator().manual_seed(0))
    first = model.get_parameter("model.layers.0.bias_ih_l0")
    assert first.tolist() == [0.0] * 8 + [1.0] * 8 + [0.0] * 16
    assert not model.get_parameter("model.layers.0.bias_hh_l0").any()
    assert 0.05 < model.model.embed_tokens.weight.std() < 0.15
