"""The stages on real books and poems; skipped where the data are not there."""

from collections.abc import Callable
from pathlib import Path

import pytest

from inkstone.core.stage import execute
from inkstone.data.corpus import Corpus
from inkstone.data.stages import CollectConfig, PrepareConfig, collect, prepare

pytestmark = pytest.mark.slow


def run(tmp_path: Path, collecting: CollectConfig, preparing: PrepareConfig) -> Corpus:
    execute(collect, collecting, {}, tmp_path / "collected")
    execute(prepare, preparing, {"documents": tmp_path / "collected"}, tmp_path / "corpus")
    return Corpus(tmp_path / "corpus")


def test_no_good_poem_is_dropped(tmp_path: Path, shared_data: Callable[[str], Path]) -> None:
    poems = shared_data("chinese/poems.jsonl.gz")
    corpus = run(tmp_path, CollectConfig(paths=(str(poems),)), PrepareConfig(workers=1))
    assert corpus.card["documents_in"] == 50_429
    by_filter = {entry["filter"]: entry for entry in corpus.card["dropped"]}
    assert set(by_filter) <= {"deduplicate", "letters"}
    assert by_filter["letters"]["documents"] < 30  # fragments: more than half of their characters are lost (□)
    assert all("□" in example["text"] for example in by_filter["letters"]["examples"])
    assert set(corpus.card["languages"]) == {"zh"}


def test_shakespeare_is_cut_where_everybody_cuts_it(tmp_path: Path, shared_data: Callable[[str], Path]) -> None:
    path = shared_data("english/tinyshakespeare.txt")
    corpus = run(tmp_path, CollectConfig(paths=(str(path),)), PrepareConfig(valid_tail=0.1))
    text = path.read_text()
    (train,), (valid,) = corpus.texts("train"), corpus.texts("valid")
    assert abs(len(train) - int(len(text) * 0.9)) <= 10
    assert text.rstrip().endswith(valid)
