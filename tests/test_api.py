"""`inkstone.load` and what it returns, against `transformers`."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import inkstone
from inkstone.checkpoint import save_checkpoint
from inkstone.core.errors import ConfigError, InputError
from tests.tiny_models import TEXTS, tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    save_checkpoint(path, tiny_model(num_key_value_heads=2, max_position_embeddings=256), tiny_tokenizer())
    return path


def reference_logprobs(folder: Path, text: str) -> list[float]:
    """Natural-log probability of each token after the first, by `transformers` alone."""
    oracle = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    input_ids = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt").input_ids
    with torch.inference_mode():
        logprobs = oracle(input_ids).logits[0, :-1].double().log_softmax(-1)
    return logprobs.gather(-1, input_ids[0, 1:].unsqueeze(1)).squeeze(1).tolist()


@pytest.mark.parametrize("text", [*TEXTS, "a", "\n".join(TEXTS)])
def test_score_equals_transformers(folder: Path, text: str) -> None:
    score = inkstone.load(folder, device="cpu").score(text)
    expected = reference_logprobs(folder, text)
    assert score.logprob == pytest.approx(math.fsum(expected), rel=1e-5, abs=1e-4)
    assert score.token_logprobs == pytest.approx(expected, abs=1e-4)
    assert list(score.token_ids) == AutoTokenizer.from_pretrained(folder)(text).input_ids
    assert score.num_tokens == len(expected)
    assert score.perplexity == pytest.approx(math.exp(-math.fsum(expected) / len(expected)), rel=1e-4)


def test_score_of_nothing_but_bos(folder: Path) -> None:
    score = inkstone.load(folder).score("")
    assert (score.logprob, score.num_tokens, score.token_ids) == (0.0, 0, (0,))
    assert math.isnan(score.perplexity)


def test_long_texts_are_refused_or_scored_in_windows(folder: Path) -> None:
    lm = inkstone.load(folder, device="cpu")
    text = "".join(TEXTS) * 20
    with pytest.raises(InputError, match="context is 256"):
        lm.score(text)
    for window in (2, 7, 100, 256):
        score = lm.score(text, window=window)
        assert score.num_tokens == len(score.token_ids) - 1
        for at in (1, window - 1, window, 300, score.num_tokens):
            half = max(1, window // 2)
            start = max(0, math.ceil((at - window + 1) / half)) * half
            with torch.inference_mode():
                logits = lm.model(torch.tensor([score.token_ids[start:at]]))[0, -1]
            expected = logits.log_softmax(-1)[score.token_ids[at]].item()
            assert score.token_logprobs[at - 1] == pytest.approx(expected, abs=1e-3)
    with pytest.raises(ConfigError, match="from 2 to"):
        lm.score(text, window=257)


def test_windows_change_nothing_for_texts_that_fit(folder: Path) -> None:
    lm = inkstone.load(folder, device="cpu")
    assert lm.score(TEXTS[1], window=200) == lm.score(TEXTS[1])


def test_generate_and_stream_say_the_same(folder: Path) -> None:
    lm = inkstone.load(folder)
    sampling = {"seed": 3, "max_new_tokens": 60, "temperature": 1.2}
    text = lm.generate("The stone", **sampling)
    pieces = list(lm.stream("The stone", **sampling))
    assert "".join(pieces) == text != ""
    assert len(pieces) > 5
    several = lm.generate("The stone", num_return_sequences=3, **sampling)
    assert isinstance(several, list)
    assert several[0] == text
    assert len(set(several)) == 3


def test_a_stop_string_may_be_given_alone(folder: Path) -> None:
    lm = inkstone.load(folder)
    sampling = {"seed": 3, "max_new_tokens": 60, "temperature": 1.2}
    text = lm.generate("The stone", **sampling)
    letter = next(letter for letter in text[10:] if letter.isalpha())
    assert lm.generate("The stone", stop=letter, **sampling) == text[: text.index(letter)]


def test_wrong_arguments_are_refused_before_any_work(folder: Path) -> None:
    lm = inkstone.load(folder)
    with pytest.raises(ConfigError, match="top_p"):
        lm.generate("a", topp=0.5)
    with pytest.raises(ConfigError, match="num_return_sequences"):
        lm.stream("a", num_return_sequences=2)
    with pytest.raises(InputError, match="context"):
        lm.stream("a b c d " * 200)


def test_load_is_there_without_importing_torch() -> None:
    code = "import sys, inkstone; assert 'torch' not in sys.modules; inkstone.load; inkstone.LanguageModel"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="nothing_here"):
        _ = inkstone.nothing_here


def test_repr_says_what_it_is(folder: Path) -> None:
    num_parameters = sum(parameter.numel() for parameter in inkstone.load(folder).model.parameters())
    assert repr(inkstone.load(folder)) == f"LanguageModel({num_parameters:,} parameters, context 256)"
