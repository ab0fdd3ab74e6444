"""The stage, end to end on a tiny Llama, against `transformers` and sums done by hand."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inkstone.checkpoint import load_checkpoint, save_checkpoint
from inkstone.core.errors import CheckpointError, ConfigError, InputError
from inkstone.core.files import write_json
from inkstone.core.records import Document
from inkstone.core.stage import execute
from inkstone.data.corpus import CorpusWriter
from inkstone.evaluate.ngram import ByteNgram
from inkstone.evaluate.stages import EvaluateConfig, evaluate
from inkstone.nn.models.llama import LlamaConfig, LlamaForCausalLM
from inkstone.tokenizer import Tokenizer

CONTEXT = 64
ENGLISH = "An inkstone is where a stick of ink is ground until it can write. "
CHINESE = "砚台是磨墨的石器，墨条在砚上加水研磨，便成了墨汁。"


def make_documents(count: int) -> list[Document]:
    random = np.random.default_rng(0)
    documents = []
    for n in range(count):
        text = "".join(random.permutation(list(CHINESE if n % 3 == 0 else ENGLISH))) * int(random.integers(1, 4))
        documents.append(Document(text, f"doc{n}", f"source{n % 2}", "zh" if n % 3 == 0 else "en"))
    return documents


def write_corpus(folder: Path, train: list[Document], valid: list[Document]) -> Path:
    with CorpusWriter(folder) as writer:
        for split, documents in (("train", train), ("valid", valid)):
            for document in documents:
                writer.write(document, split)  # type: ignore[arg-type]
    splits = {
        name: {"documents": len(documents), "bytes": sum(len(d.text.encode()) for d in documents)}
        for name, documents in (("train", train), ("valid", valid))
    }
    write_json(folder / "card.json", {"splits": splits})
    return folder


TRAIN, VALID = make_documents(50)[:10], make_documents(50)[10:]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("evaluate") / "corpus", TRAIN, VALID)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=tokenizer.vocab_size, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=CONTEXT,
        initializer_range=0.3,
    )  # fmt: skip
    llama = LlamaForCausalLM(config)
    llama.init_weights()
    folder = tmp_path_factory.mktemp("evaluate") / "model"
    save_checkpoint(folder, llama, tokenizer)
    return folder


def run(config: EvaluateConfig, model: Path, corpus: Path, out: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    out.mkdir()
    summary = evaluate.run(config, {"model": model, "corpus": corpus}, out)
    return summary, json.loads((out / "report.json").read_text(encoding="utf-8"))


FLOAT32 = EvaluateConfig(dtype="float32", device="cpu", stride=16)


@pytest.fixture(scope="module")
def finished(model: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Path]:
    out = tmp_path_factory.mktemp("evaluate") / "out"
    summary, report = run(FLOAT32, model, corpus, out)
    return summary, report, out


def test_numbers_equal_those_of_transformers(
    finished: tuple[Any, Any, Path], model: Path, tokenizer: Tokenizer
) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(str(model), dtype=torch.float32)
    nats, tokens = 0.0, 0
    for document in VALID:
        ids = [tokenizer.bos_id, *tokenizer.encode_plain(document.text), tokenizer.eos_id]
        scored = 0
        while scored < len(ids) - 1:
            end = min(len(ids) - 1, scored + (CONTEXT if scored == 0 else 16))
            begin = max(0, end - CONTEXT)
            with torch.inference_mode():
                logits = theirs(torch.tensor([ids[begin : end + 1]])).logits[0].log_softmax(-1)
            of_text = range(scored + 1, min(end, len(ids) - 2) + 1)  # all but eos
            nats -= sum(logits[t - 1 - begin, ids[t]].item() for t in of_text)
            tokens += len(of_text)
            scored = end
    summary, report, _ = finished
    num_bytes = sum(len(document.text.encode()) for document in VALID)
    assert summary["loss"] == pytest.approx(nats / tokens, rel=1e-5)
    assert summary["bits_per_byte"] == pytest.approx(summary["loss"] * tokens / math.log(2) / num_bytes, rel=1e-9)
    assert summary["perplexity"] == pytest.approx(math.exp(summary["loss"]), rel=1e-9)
    assert (summary["documents"], summary["bytes"], report["tokens"]) == (len(VALID), num_bytes, tokens)


def test_ngram_is_measured_on_the_same_bytes(finished: tuple[Any, Any, Path]) -> None:
    summary, _, _ = finished
    bits = ByteNgram.train([d.text.encode() for d in TRAIN]).score([d.text.encode() for d in VALID])
    assert summary["ngram_bits_per_byte"] == pytest.approx(sum(b.sum() for b in bits) / summary["bytes"], rel=1e-9)


def test_rows_add_up(finished: tuple[Any, Any, Path]) -> None:
    summary, report, _ = finished
    for rows, names in ((report["by_language"], {"en", "zh"}), (report["by_source"], {"source0", "source1"})):
        assert {row["name"] for row in rows} == names
        assert sum(row["documents"] for row in rows) == summary["documents"]
        assert sum(row["bytes"] for row in rows) == summary["bytes"]
        bits = sum(row["bits_per_byte"]["value"] * row["bytes"] for row in rows)
        assert bits / summary["bytes"] == pytest.approx(summary["bits_per_byte"], rel=1e-9)
        ngram = sum(row["ngram_bits_per_byte"]["value"] * row["bytes"] for row in rows)
        assert ngram / summary["bytes"] == pytest.approx(summary["ngram_bits_per_byte"], rel=1e-9)


def test_intervals_hold_their_estimates_and_xz_is_the_stricter(finished: tuple[Any, Any, Path]) -> None:
    summary, report, _ = finished
    assert summary["bits_per_byte_low"] < summary["bits_per_byte"] < summary["bits_per_byte_high"]
    assert report["bootstrap"]["unit"] == "document"
    xz = report["baselines"]["xz"]
    assert summary["xz_bits_per_byte"] == min(xz["alone"], xz["primed"])
    saved = report["baselines"]["saved_over_ngram"]
    assert saved["value"] == pytest.approx(summary["ngram_bits_per_byte"] - summary["bits_per_byte"])
    assert saved["low"] < saved["value"] < saved["high"]


def test_page_shows_the_numbers(finished: tuple[Any, Any, Path]) -> None:
    summary, _, out = finished
    page = (out / "report.md").read_text(encoding="utf-8")
    for key in ("bits_per_byte", "bits_per_byte_low", "xz_bits_per_byte", "ngram_bits_per_byte", "loss"):
        assert f"{summary[key]:.4f}" in page
    assert f"{summary['documents']} of {len(VALID)} documents" in page
    assert {len(line.split("|")) for line in page.splitlines() if line.startswith("| source")} == {10}


def test_few_documents_are_resampled_as_blocks(model: Path, tmp_path: Path, tokenizer: Tokenizer) -> None:
    long = [Document((ENGLISH + CHINESE) * 200, "a", "s", "en"), Document(ENGLISH * 50, "b", "s", "en")]
    corpus = write_corpus(tmp_path / "corpus", TRAIN, long)
    summary, report = run(FLOAT32, model, corpus, tmp_path / "out")
    lengths = [len(tokenizer.encode_plain(document.text)) for document in long]
    block = max(64, sum(lengths) // 200)
    assert report["bootstrap"]["unit"] == f"block of {block} tokens"
    assert report["bootstrap"]["units"] == sum(math.ceil(length / block) for length in lengths)
    assert summary["bytes"] == sum(len(document.text.encode()) for document in long)
    assert summary["bits_per_byte_low"] < summary["bits_per_byte"] < summary["bits_per_byte_high"]


def test_budget_takes_whole_documents_and_cuts_long_ones(model: Path, tmp_path: Path) -> None:
    long = Document(CHINESE * 500, "long", "s", "zh")
    corpus = write_corpus(tmp_path / "corpus", TRAIN, [*VALID, long])
    config = FLOAT32.model_copy(update={"max_tokens": 500, "max_document_bytes": 100})
    summary, report = run(config, model, corpus, tmp_path / "out")
    assert report["tokens"] <= 500
    assert 1 <= summary["documents"] < len(VALID)
    assert report["facts"]["of_documents"] == len(VALID) + 1
    assert summary["bytes"] <= 100 * summary["documents"]
    assert report["facts"]["cut_documents"] > 0
    assert "count with their beginning" in (tmp_path / "out/report.md").read_text(encoding="utf-8")


def test_the_same_twice_and_bfloat16_is_close(
    finished: tuple[Any, Any, Path], model: Path, corpus: Path, tmp_path: Path
) -> None:
    summary, report, _ = finished
    assert run(FLOAT32, model, corpus, tmp_path / "again") == (summary, report)
    config = FLOAT32.model_copy(update={"dtype": "bfloat16"})
    rounded, _ = run(config, model, corpus, tmp_path / "bfloat16")
    assert rounded["loss"] == pytest.approx(summary["loss"], rel=0.02)


def test_empty_split_is_one_clear_error(model: Path, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", TRAIN, [])
    with pytest.raises(InputError, match=r"the valid split has no text to evaluate on(.|\n)*remedy"):
        run(FLOAT32, model, corpus, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_context_beyond_the_model_is_refused(model: Path, corpus: Path, tmp_path: Path) -> None:
    config = FLOAT32.model_copy(update={"context_length": CONTEXT + 1})
    with pytest.raises(ConfigError, match="reads 64 tokens at once, not 65"):
        run(config, model, corpus, tmp_path / "out")


def test_model_of_nans_is_one_clear_error(corpus: Path, tmp_path: Path, model: Path, tokenizer: Tokenizer) -> None:
    broken, _ = load_checkpoint(model)
    broken.model.norm.weight.data.fill_(float("nan"))
    save_checkpoint(tmp_path / "model", broken, tokenizer)
    with pytest.raises(CheckpointError, match="not finite numbers"):
        run(FLOAT32, tmp_path / "model", corpus, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_as_a_stage(model: Path, corpus: Path, tmp_path: Path) -> None:
    result = execute(evaluate, FLOAT32, {"model": model, "corpus": corpus}, tmp_path / "out")
    assert set(result.summary) == {
        "loss", "perplexity", "bits_per_byte", "bits_per_byte_low", "bits_per_byte_high", "xz_bits_per_byte",
        "ngram_bits_per_byte", "documents", "bytes",
    }  # fmt: skip
    assert execute(evaluate, FLOAT32, {"model": model, "corpus": corpus}, tmp_path / "out").skipped
