"""Files and folders as examples: columns, formats, splits."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inkstone.core.config import parse_config
from inkstone.core.errors import ConfigError, InputError
from inkstone.data.examples.config import ExamplesConfig
from inkstone.data.examples.read import ExampleSet, read_examples
from inkstone.data.streams import byte_chunks
from tests.data.conftest import write_jsonl

ALL = ("preferences", "judged", "questions", "spans", "labels", "chat", "completion", "pairs", "problems", "text")


def read(path: Path | str, *formats: str, **settings: Any) -> ExampleSet:
    config = parse_config(ExamplesConfig, settings, where="examples")
    return read_examples(Path(path), config, formats or ALL)


def texts(examples: list[Any]) -> list[str]:
    return [example.text for example in examples]


def test_a_file_is_split_by_the_hash_of_its_prompts(tmp_path: Path) -> None:
    rows = [{"prompt": f"问题{i % 300}", "completion": f"{i}"} for i in range(900)]
    found = read(write_jsonl(tmp_path / "a.jsonl", rows), "completion", valid_fraction=0.1)
    prompts = {split: {example.prompt for example in examples} for split, examples in found.splits.items()}
    assert not prompts["train"] & prompts["valid"]
    assert sum(map(len, found.splits.values())) == 900
    assert len(found.splits["valid"]) % 3 == 0
    expected = {
        row["prompt"] for row in rows if int(hashlib.sha1(b"valid:" + row["prompt"].encode()).hexdigest(), 16) % 10 == 0
    }
    assert prompts["valid"] == expected
    assert 15 < len(expected) < 45


def test_more_examples_move_none_to_the_other_side(tmp_path: Path) -> None:
    rows = [{"text": f"text {i}", "label": "x"} for i in range(400)]
    few = read(write_jsonl(tmp_path / "few.jsonl", rows[:200]))
    many = read(write_jsonl(tmp_path / "many.jsonl", rows))
    assert set(texts(few.splits["valid"])) <= set(texts(many.splits["valid"]))
    assert read(tmp_path / "few.jsonl", valid_fraction=0).splits["valid"] == []


def test_conversations_that_begin_alike_stay_together(tmp_path: Path) -> None:
    rows = [
        {"messages": [*([{"role": "system", "content": f"s{j}"}] if j else []), {"role": "user", "content": f"q{i}"}]}
        for i in range(100)
        for j in range(2)
    ]
    for row in rows:
        row["messages"].append({"role": "assistant", "content": "a"})
    found = read(write_jsonl(tmp_path / "a.jsonl", rows), valid_fraction=0.3)
    assert len(found.splits["valid"]) % 2 == 0
    assert found.splits["valid"]


def test_a_folder_has_files_named_after_splits(tmp_path: Path) -> None:
    for name, text in [
        ("train-00000.jsonl.gz", "a"),
        ("train-00001.jsonl", "b"),
        ("dev.jsonl", "c"),
        ("test.jsonl", "d"),
    ]:
        write_jsonl(tmp_path / name, [{"text": text, "label": 1}])
    (tmp_path / "card.json").write_text("{}")
    found = read(tmp_path)
    assert {split: texts(examples) for split, examples in found.splits.items()} == {
        "train": ["a", "b"],
        "valid": ["c"],
        "test": ["d"],
    }
    assert found.format == "labels"
    assert found.splits["train"][1].where == "train-00001.jsonl:1"


@pytest.mark.parametrize(
    ("name", "split"),
    [("validation.csv", "valid"), ("val.csv", "valid"), ("test_1.csv", "test"), ("cmrc_dev.csv", "train")],
)
def test_a_single_file_belongs_to_the_split_its_name_begins_with(tmp_path: Path, name: str, split: str) -> None:
    (tmp_path / name).write_text("text,label\na,1\n")
    found = read(tmp_path / name, valid_fraction=0)
    assert [name for name, examples in found.splits.items() if examples] == [split]


def test_columns_are_named_in_several_ways(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"translation": {"en": "ink", "zh": "墨"}}])
    for columns in ({"source": "en", "target": "zh"}, {"source": "translation.en", "target": "translation.zh"}):
        pair = read(path, "pairs", columns=columns, valid_fraction=0).splits["train"][0]
        assert (pair.source_text, pair.target_text) == ("ink", "墨")
    (tmp_path / "b.tsv").write_text("ink\t墨\tnote\n", "utf-8")
    pair = read(tmp_path / "b.tsv", "pairs", columns={"source": 1, "target": 0}, valid_fraction=0).splits["train"][0]
    assert (pair.source_text, pair.target_text) == ("墨", "ink")
    swapped = write_jsonl(tmp_path / "c.jsonl", [{"source": "a", "target": "b"}])
    pair = read(swapped, columns={"source": "target", "target": "source"}, valid_fraction=0).splits["train"][0]
    assert (pair.source_text, pair.target_text) == ("b", "a")


def test_mapped_columns_are_no_facts_of_a_problem(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("1 + 1\t2\t容易\n", "utf-8")
    problem = read(tmp_path / "a.tsv", columns={"prompt": 0, "answer": 1}, valid_fraction=0).splits["train"][0]
    assert (problem.prompt, problem.answer, problem.facts) == ("1 + 1", "2", {"column2": "容易"})


def test_a_mapped_column_that_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"english": "ink", "chinese": "墨"}])
    with pytest.raises(InputError, match=r"no column 'chinse'; the columns are english, chinese\n.*'chinese'"):
        read(path, columns={"source": "english", "target": "chinse"})


def test_unknown_columns_say_what_each_format_wants(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"quest": "1+1", "reply": "2"}])
    with pytest.raises(InputError) as caught:
        read(path, "chat", "completion")
    message = str(caught.value)
    assert "the columns are quest, reply" in message
    assert "chat wants messages, or conversations, or instruction + output" in message
    assert "completion wants prompt + completion" in message
    assert "columns: {instruction: quest, output: reply}" in message
    (tmp_path / "b.tsv").write_text("真好\t1\n", "utf-8")
    with pytest.raises(InputError, match=r"columns: \{text: 0, label: 1\}"):
        read(tmp_path / "b.tsv", "labels")


def test_the_format_is_told_from_the_rows_where_columns_do_not_tell(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "王维", "label": {"name": {"王维": [[0, 1]]}}}])
    assert read(path, "labels", "spans").format == "spans"
    path = write_jsonl(tmp_path / "b.jsonl", [{"text": "王维", "label": "name"}])
    assert read(path, "spans", "labels").format == "labels"


def test_a_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []

    def noted(path: Path) -> Iterator[bytes]:
        opened.append(path)
        return byte_chunks(path)

    monkeypatch.setattr("inkstone.data.examples.rows.byte_chunks", noted)
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"text": f"text {n}", "label": 1} for n in range(50)]))
    assert sum(map(len, read(path).splits.values())) == 50
    assert opened == [path]


def test_a_format_that_is_not_wanted_or_not_known(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "a", "label": 1}])
    with pytest.raises(ConfigError, match=r"labels is not what is learned from here\n.*chat or text"):
        read(path, "chat", "text", format="labels")
    with pytest.raises(ConfigError, match="did you mean 'labels'"):
        read(path, format="lables")


def test_malformed_rows_are_collected_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    rows = [{"text": "a", "label": 1}, {"text": "", "label": 1}, "{", {"text": "b"}, {"text": "c", "label": 2}]
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    found = read(path, valid_fraction=0)
    assert texts(found.splits["train"]) == ["a", "c"]
    assert [fault.where for fault in found.faults] == ["train.jsonl:2", "train.jsonl:3", "train.jsonl:4"]


def test_the_dataset_of_a_row_is_the_source_of_its_example(tmp_path: Path) -> None:
    rows = [{"source": "a", "target": "b", "dataset": "books"}, {"source": "c", "target": "d"}]
    found = read(write_jsonl(tmp_path / "a.jsonl", rows), valid_fraction=0)
    assert [(example.source_text, example.source) for example in found.splits["train"]] == [("a", "books"), ("c", "")]


def test_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "notes.jsonl").write_text("")
    with pytest.raises(InputError, match=r"no file named after a split; it holds notes\.jsonl"):
        read(tmp_path)
    with pytest.raises(InputError, match="no row that can be read"):
        read(tmp_path / "notes.jsonl")
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "nothing")
    (tmp_path / "notes.jsonl").write_text("{\n[]")
    with pytest.raises(InputError, match=r"no row that can be read: notes\.jsonl:1: malformed JSON"):
        read(tmp_path / "notes.jsonl")
