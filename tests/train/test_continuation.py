"""What a model writes at an evaluation."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inkstone.data.examples.encoded import JudgedSequence, LabeledSequence, SequencePair, SourceTarget, TokenSequence
from inkstone.data.packing import PackedSequence
from inkstone.nn.generate import generate_naive
from inkstone.nn.sampling_params import SamplingParams
from inkstone.tokenizer import Tokenizer
from inkstone.train.config import PretrainConfig
from inkstone.train.continuation import _prompt_of, continuation
from inkstone.train.loop import pretrain_settings
from inkstone.train.samples import read_samples
from tests.train.helpers import TINY, tiny_loop, tiny_model


def sequence(count: int, learned_from: int) -> TokenSequence:
    return TokenSequence.of(list(range(10, 10 + count)), [number >= learned_from for number in range(count)])


def packed(segment_ids: list[int]) -> PackedSequence:
    ids = np.arange(len(segment_ids))
    return PackedSequence(ids, ids + 1, ids, np.asarray(segment_ids))


@pytest.mark.parametrize(
    ("encoded", "prompt"),
    [
        (sequence(8, 5), [10, 11, 12, 13, 14]),
        (SequencePair(sequence(8, 3), sequence(9, 3)), [10, 11, 12]),
        (JudgedSequence(sequence(8, 3), True), [10, 11, 12]),
        (sequence(8, 0), [10, 11, 12, 13]),
        (sequence(80, 0), list(range(10, 26))),
        (SourceTarget(np.array([4, 5]), np.array([6])), [4, 5]),
        (packed([0] * 64), list(range(16))),
        (packed([3] * 6 + [4] * 58), [0, 1, 2]),
        (LabeledSequence(np.array([1]), np.array([0]), np.array([0]), 0), []),
    ],
)
def test_the_prompt_is_what_comes_before_the_answer(encoded: Any, prompt: list[int]) -> None:
    assert _prompt_of(encoded) == prompt


def test_it_is_the_likeliest_continuation_and_changes_nothing(tokenizer: Tokenizer) -> None:
    config = PretrainConfig(**TINY | {"sample_tokens": 6, "fused": False})
    model = tiny_model(config, tokenizer).train()
    ids = tokenizer.encode("学而不思则罔，思而不学则殆。")
    write = continuation(model, tokenizer, pretrain_settings(config), [TokenSequence.of(ids, [True] * len(ids))])
    assert write is not None
    stream = torch.get_rng_state()
    sample = write(model)
    assert torch.equal(stream, torch.get_rng_state())
    assert model.training
    prompt = ids[: (len(ids) + 1) // 2]
    (expected,) = generate_naive(model.eval(), prompt, SamplingParams(max_new_tokens=6, temperature=0.0))
    assert sample == {"prompt": "<|bos|>学而不思则罔，", "completion": tokenizer.decode(expected)}


def test_there_may_be_nothing_to_write(tokenizer: Tokenizer) -> None:
    config = PretrainConfig(**TINY)
    model, settings = tiny_model(config, tokenizer), pretrain_settings(config)
    assert continuation(model, tokenizer, settings, []) is None
    assert continuation(torch.nn.Linear(1, 1), tokenizer, settings, [sequence(8, 3)]) is None  # type: ignore[arg-type]
    silent = pretrain_settings(PretrainConfig(**TINY | {"sample_tokens": 0}))
    assert continuation(model, tokenizer, silent, [sequence(8, 3)]) is None


def test_a_sample_at_each_evaluation(
    corpus_folder: Path, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inkstone.train.metrics.plot_losses", lambda *_: None)
    loop = tiny_loop(corpus_folder, tokenizer, tmp_path, steps=5, eval_every=2)
    loop.evaluate = lambda model, step: {"valid_loss": 1.0}
    loop.sample = lambda model: {"prompt": "a", "completion": f"after {loop.state.step}"}
    loop.run()
    assert [(row["step"], row["completion"]) for row in read_samples(tmp_path)] == [
        (2, "after 2"),
        (4, "after 4"),
        (5, "after 5"),
    ]
