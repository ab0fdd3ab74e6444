"""Beam search: the hypotheses and scores of `transformers`, and of a slow search without a cache."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MarianConfig,
    MarianMTModel,
    T5ForConditionalGeneration,
)
from transformers import T5Config as HFT5Config

from inkstone.checkpoint import load_model
from inkstone.core.errors import ConfigError, InputError
from inkstone.engine.offline import complete
from inkstone.engine.open import open_engine
from inkstone.engine.request import Output, Request
from inkstone.nn.beam import BeamParams, Hypothesis, beam_search, search
from inkstone.nn.models.base import Decoder, EncoderDecoder
from inkstone.nn.sampling_params import SamplingParams
from inkstone.nn.target_decoder import TargetDecoder
from tests.tiny_models import tiny_model

EOS, PAD, VOCAB = 1, 2, 40
SOURCES = [[7, 9, 30, 12, 8, 1], [5, 6, 1], [22, 33, 11, 39, 5, 17, 14, 1]]
Results = list[list[Hypothesis]]


def hf_marian() -> MarianMTModel:
    sizes = dict.fromkeys(("encoder_layers", "decoder_layers"), 2)
    sizes |= dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 48)
    sizes |= dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4)
    special = {"pad_token_id": PAD, "eos_token_id": EOS, "decoder_start_token_id": PAD, "forced_eos_token_id": None}
    config = MarianConfig(vocab_size=VOCAB, d_model=32, max_position_embeddings=96, **sizes, **special)
    return MarianMTModel(config)


def hf_t5() -> T5ForConditionalGeneration:
    special = {"pad_token_id": PAD, "eos_token_id": EOS, "decoder_start_token_id": PAD}
    return T5ForConditionalGeneration(
        HFT5Config(vocab_size=VOCAB, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, **special)
    )


def hf_llama() -> LlamaForCausalLM:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    special = {"pad_token_id": PAD, "eos_token_id": EOS}
    return LlamaForCausalLM(LlamaConfig(vocab_size=VOCAB, **sizes, **special, max_position_embeddings=64))


ORACLES = {"marian": hf_marian, "t5": hf_t5, "llama": hf_llama}
PEAKED = {"marian": 12.0, "t5": 4.0, "llama": 6.0}
"""Factors of the initial weights that make distributions peaked."""


def likely_end(theirs: Any) -> int:
    """A token that greedy search writes after a while; as the end token it makes some sequences end early."""
    written = theirs.generate(torch.tensor([SOURCES[0]]), do_sample=False, max_new_tokens=10, eos_token_id=None)
    return written[0].tolist()[-4]


def end_of(model: Any) -> int:
    return model.generation_config["eos_token_id"]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], tuple[Any, Any]]:
    """Random models, theirs and ours with the same weights, by family and seed."""
    made = {}
    for family, build in ORACLES.items():
        for seed in range(3):
            torch.manual_seed(seed)
            theirs = build().eval()
            with torch.no_grad():
                for parameter in theirs.parameters():
                    if parameter.requires_grad and parameter.dim() > 1:
                        parameter.mul_(PEAKED[family])
            theirs.generation_config.eos_token_id = likely_end(theirs)
            folder = tmp_path_factory.mktemp(f"{family}{seed}")
            theirs.save_pretrained(folder)
            made[family, seed] = theirs, load_model(folder, device="cpu")
    return made


def padded(rows: Sequence[Sequence[int]], *, left: bool) -> tuple[Tensor, Tensor]:
    longest = max(map(len, rows))
    ids = [[PAD] * (longest - len(row)) + list(row) if left else [*row, *[PAD] * (longest - len(row))] for row in rows]
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids), torch.tensor(mask if left else [row[::-1] for row in mask])


def their_beams(theirs: Any, keys: dict[str, Any]) -> Results:
    is_decoder = not theirs.config.is_encoder_decoder
    ids, mask = padded(SOURCES, left=is_decoder)
    arguments = {"num_beams": 3, "max_new_tokens": 12, "num_return_sequences": 3, **keys}
    output = theirs.generate(
        ids, attention_mask=mask, do_sample=False, return_dict_in_generate=True, output_scores=True, **arguments
    )
    found = []
    for row, score in zip(output.sequences.tolist(), output.sequences_scores.tolist(), strict=True):
        new = row[ids.shape[1] if is_decoder else 1 :]
        end = theirs.generation_config.eos_token_id
        length = new.index(end) + 1 if end in new else len(new)
        found.append(Hypothesis(new[:length], score))
    count = arguments["num_return_sequences"]
    return [found[start : start + count] for start in range(0, len(found), count)]


def our_beams(model: Decoder | EncoderDecoder, keys: dict[str, Any]) -> Results:
    params = BeamParams(**{"num_beams": 3, "max_new_tokens": 12, "num_return_sequences": 3, **keys})
    if isinstance(model, Decoder):
        return beam_search(model, SOURCES, params, stop_ids=[end_of(model)])
    decoder = TargetDecoder(model, SOURCES)
    return beam_search(decoder, [decoder.start] * len(SOURCES), params, stop_ids=[end_of(model)])


def assert_same(actual: Results, expected: Results) -> None:
    for ours, theirs in zip(actual, expected, strict=True):
        assert [each.token_ids for each in ours] == [each.token_ids for each in theirs]
        assert [each.score for each in ours] == pytest.approx([each.score for each in theirs], abs=2e-5, rel=1e-5)


@pytest.mark.parametrize("early_stopping", [True, False, "never"], ids=str)
@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0, 2.0, -1.0])
@pytest.mark.parametrize("family", ORACLES)
def test_hypotheses_and_scores_are_those_of_transformers(
    pairs: dict[tuple[str, int], tuple[Any, Any]], family: str, length_penalty: float, early_stopping: bool | str
) -> None:
    keys = {"length_penalty": length_penalty, "early_stopping": early_stopping}
    for seed in range(3):
        theirs, model = pairs[family, seed]
        assert_same(our_beams(model, keys), their_beams(theirs, keys))


def test_the_random_models_end_some_sequences(pairs: dict[tuple[str, int], tuple[Any, Any]]) -> None:
    for family in ORACLES:
        models = [pairs[family, seed][1] for seed in range(3)]
        rows = [row for model in models for power in (0.0, 1.0) for row in our_beams(model, {"length_penalty": power})]
        found = [each for row in rows for each in row]
        assert 5 < sum(len(each.token_ids) < 12 for each in found) < 50, family
        assert len({len(each.token_ids) for each in found}) >= 2, family


OPTIONS: dict[str, dict[str, Any]] = {
    "more beams": {"num_beams": 6, "num_return_sequences": 2},
    "two beams": {"num_beams": 2, "num_return_sequences": 1},
    "no short ones": {"min_new_tokens": 7},
    "one token": {"max_new_tokens": 1},
    "no repeated pairs": {"no_repeat_ngram_size": 2},
    "no repeated tokens": {"no_repeat_ngram_size": 1},
    "repetition penalty": {"repetition_penalty": 1.7},
    "bad words": {"bad_words_ids": [[PAD], [20], [15, 16], [30, 31, 32]]},
    "forced end": {"forced_eos_token_id": 11},
    "all at once": {
        "no_repeat_ngram_size": 3,
        "repetition_penalty": 1.2,
        "bad_words_ids": [[PAD]],
        "forced_eos_token_id": 11,
        "min_new_tokens": 3,
        "length_penalty": 2.0,
        "early_stopping": True,
    },
}


@pytest.mark.parametrize("keys", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("family", ["marian", "t5"])
def test_options_are_those_of_transformers(
    pairs: dict[tuple[str, int], tuple[Any, Any]], family: str, keys: dict[str, Any]
) -> None:
    for seed in range(2):
        theirs, model = pairs[family, seed]
        assert_same(our_beams(model, keys), their_beams(theirs, keys))


def test_the_first_token_can_be_forced(pairs: dict[tuple[str, int], tuple[Any, Any]]) -> None:
    theirs, model = pairs["marian", 0]
    keys = {"forced_bos_token_id": 17, "num_return_sequences": 1}
    assert_same(our_beams(model, keys), their_beams(theirs, keys))
    assert all(found[0].token_ids[0] == 17 for found in our_beams(model, keys))


class NaiveSteps:
    """No cache, no batch: every sequence is read again from its beginning."""

    def __init__(self, model: EncoderDecoder | Decoder, sources: list[list[int]]) -> None:
        self.model = model
        is_decoder = isinstance(model, Decoder)
        self.sequences = [(source, source if is_decoder else [model.decoder_start_token_id]) for source in sources]

    def start(self) -> Tensor:
        return torch.cat([self._logits(source, target) for source, target in self.sequences])

    def extend(self, rows: Tensor, tokens: Tensor) -> Tensor:
        kept = [self.sequences[row] for row in rows.tolist()]
        self.sequences = [
            (source, [*target, token]) for (source, target), token in zip(kept, tokens.tolist(), strict=True)
        ]
        return self.start()

    def _logits(self, source: list[int], target: list[int]) -> Tensor:
        if isinstance(self.model, Decoder):
            return self.model(torch.tensor([target]))[:, -1]
        return self.model(torch.tensor([source]), torch.tensor([target]))[:, -1]


@pytest.mark.parametrize("family", ORACLES)
def test_the_cache_and_the_batch_change_nothing(pairs: dict[tuple[str, int], tuple[Any, Any]], family: str) -> None:
    model = pairs[family, 0][1]
    params = BeamParams(num_beams=3, max_new_tokens=10, num_return_sequences=3)
    prompts = SOURCES if isinstance(model, Decoder) else [[PAD]] * len(SOURCES)
    naive = search(NaiveSteps(model, SOURCES), prompts, params, stop_ids=[end_of(model)])
    assert_same(our_beams(model, {"max_new_tokens": 10}), naive)


def test_enough_beams_find_the_likeliest_of_all_sequences() -> None:
    """With more beams than sequences, the search is exhaustive: compared with all sequences of a tiny language."""
    table = torch.log_softmax(torch.randn(4, 4, generator=torch.Generator().manual_seed(3)), dim=-1)

    class Bigrams:
        def start(self) -> Tensor:
            return table[[1]]

        def extend(self, rows: Tensor, tokens: Tensor) -> Tensor:
            return table[tokens]

    everything: list[Hypothesis] = []

    def grow(ids: list[int], log_prob: float, last: int) -> None:
        for token in range(4):
            total = log_prob + table[last, token].item()
            if token == 0 or len(ids) == 3:
                everything.append(Hypothesis([*ids, token], total / (len(ids) + 1) ** 0.6))
            else:
                grow([*ids, token], total, token)

    grow([], 0.0, 1)
    best = sorted(everything, key=lambda each: -each.score)[:5]
    params = BeamParams(num_beams=200, max_new_tokens=4, length_penalty=0.6, num_return_sequences=5)
    assert_same(search(Bigrams(), [[1]], params, stop_ids=[0]), [best])


@pytest.mark.parametrize("family", ORACLES)
def test_one_beam_is_greedy(pairs: dict[tuple[str, int], tuple[Any, Any]], family: str) -> None:
    theirs, model = pairs[family, 1]
    ids, mask = padded(SOURCES, left=family == "llama")
    rows = theirs.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=12).tolist()
    end = end_of(model)
    for row, (found,) in zip(rows, our_beams(model, {"num_beams": 1, "num_return_sequences": 1}), strict=True):
        new = row[ids.shape[1] if family == "llama" else 1 :]
        assert found.token_ids == new[: new.index(end) + 1 if end in new else len(new)]


@pytest.mark.parametrize("family", ["marian", "t5"])
def test_encoder_decoders_complete_like_decoders(pairs: dict[tuple[str, int], tuple[Any, Any]], family: str) -> None:
    theirs, model = pairs[family, 2]
    end = end_of(model)
    ids, mask = padded(SOURCES, left=False)
    expected = theirs.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=64).tolist()
    greedy = SamplingParams(temperature=0, max_new_tokens=64)
    for (found,), row in zip(written(model, greedy, [end]), expected, strict=True):
        assert found.token_ids == (row[1 : row.index(end)] if end in row else row[1:])
    expected = theirs.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=64, eos_token_id=None).tolist()
    for (found,), row in zip(written(model, greedy, []), expected, strict=True):
        assert len(found.token_ids) == 64
        assert found.token_ids == row[1:]


def written(model: Any, params: SamplingParams, stop_ids: list[int]) -> list[list[Output]]:
    """The targets of `SOURCES`."""
    requests = [Request([model.decoder_start_token_id], params, source) for source in SOURCES]
    return complete(open_engine(model, stop_ids=tuple(stop_ids)), requests)


def test_several_tokens_may_end_a_completion(pairs: dict[tuple[str, int], tuple[Any, Any]]) -> None:
    theirs, model = pairs["llama", 0]
    ends = [EOS, 20, 30]
    ids, mask = padded(SOURCES, left=True)
    output = theirs.generate(
        ids, attention_mask=mask, do_sample=False, num_beams=3, max_new_tokens=12, eos_token_id=ends
    )
    found = beam_search(model, SOURCES, BeamParams(num_beams=3, max_new_tokens=12), stop_ids=ends)
    for (best,), row in zip(found, output[:, ids.shape[1] :].tolist(), strict=True):
        assert row[: len(best.token_ids)] == best.token_ids
        assert set(row[len(best.token_ids) :]) <= {PAD}


def test_a_completion_ends_where_the_context_does() -> None:
    model = tiny_model(max_position_embeddings=16)
    prompt = list(range(5, 15))
    ((best,),) = beam_search(model, [prompt], BeamParams(max_new_tokens=100), stop_ids=[])
    assert len(best.token_ids) == 6


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"num_return_sequences": 5}, "num_return_sequences 5 exceeds num_beams 4"),
        ({"min_new_tokens": 9, "max_new_tokens": 8}, "min_new_tokens 9 exceeds max_new_tokens 8"),
        ({"bad_words_ids": [[]]}, "at least 1 item"),
        ({"num_beams": 0}, "greater than 0"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BeamParams(**keys)


def test_prompts_and_tokens_that_do_not_fit_are_refused(pairs: dict[tuple[str, int], tuple[Any, Any]]) -> None:
    model, marian = pairs["llama", 0][1], pairs["marian", 0][1]
    assert beam_search(model, [], BeamParams(), stop_ids=[EOS]) == []
    for prompts in ([[5], []], [[5] * 64]):
        with pytest.raises(InputError, match="prompt"):
            beam_search(model, prompts, BeamParams(), stop_ids=[EOS])
    for sources in ([], [[5], []], [[5] * 97]):
        with pytest.raises(InputError, match="source"):
            TargetDecoder(marian, sources)
    for keys in ({"bad_words_ids": [[3, 40]]}, {"forced_bos_token_id": 40}, {"forced_eos_token_id": 99}):
        with pytest.raises(ConfigError, match="not in the model's vocabulary of 40"):
            beam_search(model, [[5]], BeamParams(**keys), stop_ids=[EOS])
