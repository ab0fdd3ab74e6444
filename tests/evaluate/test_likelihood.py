import itertools
import math

import numpy as np
import pytest
import torch

from inkstone.core.errors import ConfigError
from inkstone.evaluate import likelihood
from inkstone.evaluate.likelihood import perplexity_of, score_documents, score_sequences
from inkstone.tokenizer import Tokenizer
from tests.evaluate.conftest import Bigram, Mean

VOCAB = 11


def sequences(*lengths: int) -> list[list[int]]:
    random = np.random.default_rng(0)
    return [random.integers(0, VOCAB, length).tolist() for length in lengths]


@pytest.mark.parametrize("stride", [1, 3, 8])
def test_each_token_is_scored_once_whatever_the_windows(stride: int) -> None:
    model = Bigram(VOCAB)
    texts = sequences(0, 1, 2, 8, 9, 10, 16, 17, 40, 1001)
    scored = 0

    def count(n: int) -> None:
        nonlocal scored
        scored += n

    results = score_sequences(model, texts, context_length=8, stride=stride, on_scored=count)
    table = model.table.detach().double().log_softmax(-1)
    for ids, nll in zip(texts, results, strict=True):
        expected = [-table[a, b].item() for a, b in itertools.pairwise(ids)]
        np.testing.assert_allclose(nll, expected, rtol=1e-5)
    assert scored == sum(max(0, len(ids) - 1) for ids in texts)
    assert model.widest == 8


@pytest.mark.parametrize(("context_length", "stride"), [(8, 8), (8, 4), (8, 1), (5, 2)])
def test_every_token_has_the_context_that_is_promised(context_length: int, stride: int) -> None:
    """Against one forward pass per token, on a model that looks at everything it is given."""
    model = Mean(VOCAB)
    [ids] = sequences(30)
    [nll] = score_sequences(model, [ids], context_length=context_length, stride=stride)
    scored = 0
    for target in range(1, len(ids)):
        if target > scored:
            scored = min(len(ids) - 1, scored + (context_length if scored == 0 else stride))
        begin = max(0, scored - context_length)
        context = ids[begin:target]
        assert target <= context_length or len(context) > context_length - stride
        logits = model(torch.tensor([context]))[0, -1]
        assert nll[target - 1] == pytest.approx(-logits.log_softmax(-1)[ids[target]].item(), rel=1e-4)


def test_batches_and_padding_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Mean(VOCAB)
    texts = sequences(3, 30, 7, 8, 2, 12)
    together = score_sequences(model, texts, context_length=8, stride=4)
    assert model.calls == 1
    monkeypatch.setattr(likelihood, "_MAX_LOGITS", VOCAB)
    for one, other in zip(together, score_sequences(model, texts, context_length=8, stride=4), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    assert model.calls > 10


def test_documents_begin_with_bos_and_eos_is_apart(tokenizer: Tokenizer) -> None:
    model = Bigram(tokenizer.vocab_size)
    table = model.table.detach().log_softmax(-1)
    ids = [tokenizer.encode_plain(text) for text in ("ink 砚", "")]
    first, empty = score_documents(model, tokenizer, ids, context_length=16, stride=8)
    assert len(first.nll) == len(ids[0])
    assert first.nll[0] == pytest.approx(-table[tokenizer.bos_id, ids[0][0]].item(), rel=1e-4)
    assert first.eos_nll == pytest.approx(-table[ids[0][-1], tokenizer.eos_id].item(), rel=1e-4)
    assert len(empty.nll) == 0
    assert empty.eos_nll == pytest.approx(-table[tokenizer.bos_id, tokenizer.eos_id].item(), rel=1e-4)


def test_without_bos_eos_begins_and_without_both_the_first_token_costs_the_most(tokenizer: Tokenizer) -> None:
    model = Bigram(tokenizer.vocab_size)
    table = model.table.detach().log_softmax(-1)
    ids = [tokenizer.encode_plain("ink")]
    only_eos = Tokenizer.from_tokenizers(tokenizer.backend, eos="<|eos|>")
    [score] = score_documents(model, only_eos, ids, context_length=16, stride=8)
    assert score.nll[0] == pytest.approx(-table[tokenizer.eos_id, ids[0][0]].item(), rel=1e-4)
    neither = Tokenizer.from_tokenizers(tokenizer.backend)
    [score] = score_documents(model, neither, ids, context_length=16, stride=8)
    assert score.nll[0] == math.log(tokenizer.vocab_size)
    assert len(score.nll) == len(ids[0])
    assert score.eos_nll is None


@pytest.mark.parametrize("stride", [0, 9])
def test_impossible_stride_is_refused(stride: int) -> None:
    with pytest.raises(ConfigError, match=f"stride {stride} is not between 1 and the context length 8"):
        score_sequences(Bigram(VOCAB), sequences(20), context_length=8, stride=stride)


def test_the_perplexity_of_any_loss_is_a_number() -> None:
    assert perplexity_of(math.log(7.0)) == pytest.approx(7.0)
    assert np.isfinite(perplexity_of([0.0, 1e9])).all()
