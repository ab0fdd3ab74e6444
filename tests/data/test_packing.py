from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from inkstone.core.errors import InputError
from inkstone.data.packing import PackedSequences
from inkstone.data.tokens import TokenStore, tokenize
from inkstone.nn.layers.loss import IGNORED
from inkstone.nn.models.llama import LlamaForCausalLM
from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.train import train_characters
from inkstone.train.config import PretrainConfig
from inkstone.train.objectives.pretrain import Pretrain
from tests.train.helpers import TINY

TEXTS = ["a short one", "墨", "the second document is somewhat longer than the first", "def f():\n    return 1", "end"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_characters(TEXTS)


@pytest.fixture
def store(tokenizer: Tokenizer, tmp_path: Path) -> TokenStore:
    return tokenize(iter(TEXTS), tokenizer, tmp_path / "tokens")


def documents(store: TokenStore) -> list[list[int]]:
    starts = [0, *store.ends[:-1].tolist()]
    return [store.tokens[start:end].tolist() for start, end in zip(starts, store.ends.tolist(), strict=True)]


def segments(row: object) -> list[tuple[list[int], list[int]]]:
    ids, labels, positions, numbers = (np.asarray(column) for column in row)  # type: ignore[attr-defined]
    found = []
    for number in range(numbers.max() + 1):
        here = numbers == number
        assert positions[here].tolist() == list(range(here.sum()))
        found.append((ids[here].tolist(), labels[here].tolist()))
    return found


def test_store_frames_documents_and_survives_reuse(store: TokenStore, tokenizer: Tokenizer, tmp_path: Path) -> None:
    assert documents(store) == [[tokenizer.bos_id, *tokenizer.encode_plain(text), tokenizer.eos_id] for text in TEXTS]
    assert store.num_bytes == sum(len(text.encode()) for text in TEXTS)
    again = tokenize(iter(["never read"]), tokenizer, tmp_path / "tokens")
    assert again.tokens.tolist() == store.tokens.tolist()


def test_rows_are_runs_of_documents_with_labels_inside_them(store: TokenStore) -> None:
    sequences = PackedSequences(store, 16, seed=3)
    whole = documents(store)
    for index in range(3 * sequences.per_epoch):
        for ids, labels in segments(sequences[index]):
            owner = next(d for d in whole if any(d[i : i + len(ids)] == ids for i in range(len(d))))
            start = next(i for i in range(len(owner)) if owner[i : i + len(ids)] == ids)
            following = owner[start + 1 : start + 1 + len(ids)]
            assert labels == following + [IGNORED] * (len(ids) - len(following))


def test_an_epoch_reads_every_token_once_but_for_the_remainder(tmp_path: Path, tokenizer: Tokenizer) -> None:
    texts = ["".join(chr(0x4E00 + 40 * number + k) for k in range(5 + number)) for number in range(20)]
    own = train_characters(texts)
    store = tokenize(iter(texts), own, tmp_path / "unique")
    sequences = PackedSequences(store, 7, seed=0)
    for epoch in range(3):
        rows = [sequences[epoch * sequences.per_epoch + index] for index in range(sequences.per_epoch)]
        read = np.concatenate([row.input_ids for row in rows])
        characters = read[read > max(own.special_tokens.values())]
        assert len(set(characters.tolist())) == len(characters)
        assert store.num_tokens - read.size < 7


def test_the_order_is_a_function_of_seed_and_index(store: TokenStore) -> None:
    first, second = PackedSequences(store, 8, seed=1), PackedSequences(store, 8, seed=1)
    indices = [25, 0, 13, 25]
    for index in indices:
        assert all((a == b).all() for a, b in zip(first[index], second[index], strict=True))
    other = PackedSequences(store, 8, seed=2)
    assert any((first[i].input_ids != other[i].input_ids).any() for i in range(8))
    epochs = [
        sorted(map(tuple, (first[e * first.per_epoch + i].input_ids.tolist() for i in range(first.per_epoch))))
        for e in range(2)
    ]
    assert epochs[0] != epochs[1]


def test_packing_gives_the_loss_of_separate_documents(store: TokenStore, tokenizer: Tokenizer) -> None:
    config = PretrainConfig(**TINY)
    model = LlamaForCausalLM(config.shape(tokenizer.vocab_size))
    model.init_weights(torch.Generator().manual_seed(0))
    objective = Pretrain()
    rows = PackedSequences(store, 32, seed=0).batch(0, 3)
    packed, _ = objective.loss(model, objective.collate(rows))
    separate = torch.zeros(())
    for row in rows:
        for ids, labels in segments(row):
            logits = model(torch.tensor([ids]))[0]
            separate = separate + F.cross_entropy(logits, torch.tensor(labels), ignore_index=IGNORED, reduction="sum")
    torch.testing.assert_close(packed, separate, rtol=1e-5, atol=1e-5)
    for got, wanted in zip(
        torch.autograd.grad(packed, list(model.parameters())),
        torch.autograd.grad(separate, list(model.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_too_little_text_is_refused(store: TokenStore) -> None:
    with pytest.raises(InputError, match=r"too small: 99 tokens, and one sequence needs 512"):
        PackedSequences(store, 512, seed=0)


def test_a_corpus_without_documents_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match="no text"):
        tokenize(iter([]), tokenizer, tmp_path / "none")
