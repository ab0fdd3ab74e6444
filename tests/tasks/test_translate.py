"""Targets written by models that were taught pairs: from files to translations."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

import inkstone
from inkstone.api import LanguageModel
from inkstone.core.errors import ConfigError, InputError
from inkstone.core.stage import execute
from inkstone.nn.beam import beam_params, beam_search
from inkstone.nn.target_decoder import TargetDecoder
from inkstone.tasks.targets import write_targets
from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.taught import encode_source
from inkstone.train.config_finetune import FinetuneConfig
from inkstone.train.initialize import InitializeConfig, initialize
from inkstone.train.stages import finetune
from tests.tiny_models import tiny_model, tiny_tokenizer
from tests.train.objectives.heads import tiny_encoder
from tests.train.objectives.lessons import chat_tokenizer

PAIRS = {"ink": "墨", "The stone is wet": "石濕", "black": "黑色", "brush and ink": "筆墨"}


def taught(arch: str, folder: Path, tokenizer: Tokenizer) -> LanguageModel:
    """A model from scratch that knows `PAIRS` by heart."""
    tokenizer.save(folder / "tokenizer")
    shape = {"arch": arch, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    new = InitializeConfig(model=shape, context_length=64)  # type: ignore[arg-type]
    execute(initialize, new, {"tokenizer": folder / "tokenizer"}, folder / "model")
    rows = [json.dumps({"source": source, "target": target}) for source, target in PAIRS.items()]
    (folder / "data").mkdir()
    for split in ("train", "valid"):
        (folder / "data" / f"{split}.jsonl").write_text("\n".join(rows), "utf-8")
    settings = FinetuneConfig(
        device="cpu",
        dtype="float32",
        steps=80,
        batch_size=4,
        learning_rate=1e-2,
        compile=False,
        eval_every=80,
        checkpoint_every=80,
    )
    execute(finetune, settings, {"model": folder / "model", "data": folder / "data"}, folder / "taught")
    return inkstone.load(folder / "taught", device="cpu")


@pytest.fixture(scope="module", params=["marian", "llama", "gpt2 without a chat template"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    arch, _, without = request.param.partition(" ")
    return taught(arch, tmp_path_factory.mktemp(arch), tiny_tokenizer() if without else chat_tokenizer())


def test_what_was_taught_is_written(model: LanguageModel) -> None:
    sources = list(PAIRS)
    assert model.translate(sources) == list(PAIRS.values())
    assert model.translate(sources[::-1], num_beams=3, max_new_tokens=20) == list(PAIRS.values())[::-1]
    assert model.translate("black") == "黑色"
    assert model.summarize("black") == "黑色"
    assert model.translate([]) == []


def test_a_batch_is_what_each_alone_is(model: LanguageModel) -> None:
    sources = ["ink", "The stone", "stone black wet", "墨分五色,墨分五色", "?"]
    for num_beams in (1, 2):
        options: dict[str, Any] = {"num_beams": num_beams, "max_new_tokens": 12}
        together = model.translate(sources, **options)
        assert together == [model.translate(source, **options) for source in sources]


def test_targets_are_those_of_the_search_itself(model: LanguageModel) -> None:
    source, tokenizer, any_model = "The ink is wet", model.tokenizer, model.model
    params = beam_params(any_model, num_beams=3, max_new_tokens=15)
    stops = {tokenizer.special_tokens[name] for name in ("<|eos|>", "<|im_end|>")}
    if hasattr(any_model, "encode"):
        decoder: Any = TargetDecoder(any_model, [tokenizer.encode(source)])
        prompt = decoder.start
    else:
        decoder, prompt = any_model, encode_source(tokenizer, source)
    best = beam_search(decoder, [prompt], params, stop_ids=stops)[0][0]
    expected = tokenizer.decode([token for token in best.token_ids if token not in stops])
    assert model.translate(source, num_beams=3, max_new_tokens=15) == expected


def test_a_text_that_does_not_end_is_said(model: LanguageModel, capsys: pytest.CaptureFixture[str]) -> None:
    model.translate("brush and ink", max_new_tokens=1)
    assert "note: 1 of 1 texts did not end" in capsys.readouterr().err
    model.translate("brush and ink")
    assert "note" not in capsys.readouterr().err


def test_sources_that_are_too_long(model: LanguageModel) -> None:
    long = "The stone is wet; the ink is black. " * 20
    with pytest.raises(InputError, match=r"1 of 2 texts (.|\n)*texts\[1\](.|\n)*truncate=True"):
        model.translate(["ink", long])
    with pytest.warns(UserWarning, match=r"1 of 2 texts were cut") as caught:
        short, cut = model.translate(["ink", long], truncate=True, max_new_tokens=8)
    assert caught[0].filename == __file__
    assert short == "墨"
    assert isinstance(cut, str)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.translate(["ink"], truncate=True)


def test_what_cannot_be_done_is_one_clear_error(model: LanguageModel) -> None:
    with pytest.raises(ConfigError, match=r"search(.|\n)*did you mean 'num_beams'"):
        model.translate("ink", num_beam=2)
    if not hasattr(model.model, "encode"):
        with pytest.raises(InputError, match=r"texts\[1\] has no tokens"):
            model.translate(["ink", ""])
    tokenizer = tiny_tokenizer()
    with pytest.raises(InputError, match=r"a bert model \(BertForMaskedLM\) writes no text"):
        write_targets(tiny_encoder(tokenizer), tokenizer, ["ink"])


def test_a_cut_prompt_is_that_of_the_beginning() -> None:
    """A decoder's source loses its end, not the words that ask for the target."""
    from inkstone.tasks.targets import _prompts

    tokenizer, model = chat_tokenizer(), tiny_model()
    long = "墨分五色 ink " * 20
    with pytest.warns(UserWarning, match="cut to make prompts of 54 tokens"):
        (prompt,) = _prompts(tokenizer, [long], 64, beam_params(model, max_new_tokens=10), truncate=True)
    assert 44 < len(prompt) <= 54
    text = tokenizer.decode(prompt, skip_special_tokens=False)
    assert text.startswith("<|bos|><|im_start|>user\n墨分五色 ink ")
    assert text.endswith("<|im_end|>\n<|im_start|>assistant\n")
