"""Public data sets as they were published; skipped where they are not there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inkstone.core.config import parse_config
from inkstone.data.examples.config import ExamplesConfig
from inkstone.data.examples.formats.base import AUTO
from inkstone.data.examples.read import read_examples

EN = {name: f"en_{name}" for name in ("instruction", "input", "output")}
SETS: list[tuple[str, dict[str, Any], str, int, int]] = [
    ("classify/chnsenticorp/train.tsv", {"text": 0, "label": 1}, "labels", 9_600, 0),
    ("classify/sst2/dev.tsv", {}, "labels", 6_735, 0),
    ("classify/agnews/train.tsv", {"text": 0, "label": 1}, "labels", 10_001, 0),
    ("translate/tatoeba_eng_cmn.txt", {"source": 0, "target": 1}, "pairs", 28_447, 0),
    ("summarize/csl_title_dev.tsv", {"source": 1, "target": 2}, "pairs", 1_000, 0),
    ("summarize/dialogsum_dev.jsonl", {}, "pairs", 500, 0),
    ("qa/cmrc2018_dev.json", {}, "questions", 3_216, 3),  # wrong places
    ("qa/cmrc2018_trial.json", {}, "questions", 995, 7),  # five wrong places, two empty questions
    ("instruct/alpaca_en_zh.jsonl.gz", EN, "chat", 50_954, 48),  # empty answers
    ("instruct/demo/glaive_toolcall_en_demo.json", {}, "chat", 300, 0),
    ("instruct/demo/glaive_toolcall_zh_demo.json", {}, "chat", 298, 2),  # a tool answers where none was called
    ("instruct/demo/dpo_zh_demo.json", {}, "preferences", 300, 0),
    ("instruct/demo/kto_en_demo.json", {}, "judged", 300, 0),
    ("instruct/small_preferences.json", {}, "preferences", 1_094, 6),  # the same answer twice
    ("code/mbpp.jsonl", {"prompt": "text", "answer": "code"}, "problems", 974, 0),
    ("math/gsm8k_train.jsonl", {}, "problems", 7_473, 0),
    ("extract/cluener_train.json", {}, "spans", 10_747, 1),  # a company in the name of a book
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "columns", "expected", "examples", "faults"), SETS, ids=[name for name, *_ in SETS])
def test_every_row_is_read_or_refused_for_a_reason(
    shared_data: Callable[[str], Path], name: str, columns: dict[str, Any], expected: str, examples: int, faults: int
) -> None:
    config = parse_config(ExamplesConfig, {"columns": columns}, where="examples")
    found = read_examples(shared_data(name), config, AUTO)
    assert found.format == expected
    assert sum(map(len, found.splits.values())) == examples
    assert len(found.faults) == faults
