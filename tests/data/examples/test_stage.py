"""The stage: sources of several layouts become one data set, and every row is accounted for."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inkstone.core.config import parse_config
from inkstone.core.errors import ConfigError, InputError
from inkstone.core.stage import execute
from inkstone.data.examples.config import ExamplesConfig
from inkstone.data.examples.read import read_examples
from inkstone.data.examples.stage import estimate, examples
from inkstone.data.examples.stage_config import ExamplesStageConfig
from tests.data.conftest import write_jsonl

Gather = Callable[..., tuple[dict[str, list[dict[str, Any]]], dict[str, Any]]]


@pytest.fixture
def gather(tmp_path: Path) -> Gather:
    """The rows of each split and the card; of every source, the counts in it sum up to its rows."""

    def run(*sources: dict[str, Any], **settings: Any) -> Any:
        config = parse_config(ExamplesStageConfig, {"sources": list(sources), **settings}, where="examples")
        out = tmp_path / "out"
        execute(examples, config, {}, out)
        rows = {
            path.stem: [json.loads(line) for line in path.read_bytes().splitlines()] for path in out.glob("*.jsonl")
        }
        card = json.loads((out / "card.json").read_text("utf-8"))
        for source in card["sources"]:
            counted = source["outside skip and limit"] + sum([*source["kept"].values(), *source["dropped"].values()])
            assert source["rows"] == counted
        assert card["splits"] == {split: len(found) for split, found in rows.items()}
        return rows, card

    return run


def labeled(path: Path, names: list[str]) -> str:
    return str(write_jsonl(path, [{"text": name, "label": "x"} for name in names]))


def texts(rows: list[dict[str, Any]]) -> list[str]:
    return [row["text"] for row in rows]


def test_sources_of_different_layouts_become_one(tmp_path: Path, gather: Gather) -> None:
    write_jsonl(
        tmp_path / "a.jsonl", [{"instruction": "who are you", "input": "", "output": "I am {{name}}. {{name}}!"}]
    )
    turns = [{"from": "human", "value": "你是谁"}, {"from": "gpt", "value": "我是{{name}}"}]
    (tmp_path / "b.json").write_text(json.dumps([{"conversations": turns}]), "utf-8")
    rows, card = gather(
        {"paths": [str(tmp_path / "a.jsonl")], "replace": {"{{name}}": "Inkstone"}},
        {"paths": [str(tmp_path / "b.json")], "name": "zh"},
        valid_fraction=0,
    )
    question, answer = {"role": "user", "content": "who are you"}, "I am Inkstone. Inkstone!"
    assert rows["train"] == [
        {"messages": [question, {"role": "assistant", "content": answer}], "dataset": "a"},
        {
            "messages": [{"role": "user", "content": "你是谁"}, {"role": "assistant", "content": "我是{{name}}"}],
            "dataset": "zh",
        },
    ]
    assert card["format"] == "chat"
    assert card["sources"][0]["replaced {{name}}"] == 2
    found = read_examples(tmp_path / "out", ExamplesConfig(valid_fraction=0), ("chat",))
    assert [example.source for example in found.splits["train"]] == ["a", "zh"]


def test_splits_come_from_names_or_are_said(tmp_path: Path, gather: Gather) -> None:
    labeled(tmp_path / "train.jsonl", ["a"])
    labeled(tmp_path / "dev.jsonl", ["b"])
    rows, _ = gather(
        {"paths": [str(tmp_path)]}, {"paths": [labeled(tmp_path / "c_dev.jsonl", ["c"])], "split": "test", "name": "c"}
    )
    assert {split: texts(found) for split, found in rows.items()} == {"train": ["a"], "valid": ["b"], "test": ["c"]}
    assert rows["train"][0]["dataset"] == tmp_path.name


def test_the_last_rows_are_held_out(tmp_path: Path, gather: Gather) -> None:
    path = labeled(tmp_path / "a.jsonl", [str(i) for i in range(20)])
    rows, _ = gather({"paths": [path], "test_last": 3, "valid_last": 0.1})
    assert [texts(rows[split]) for split in ("train", "valid", "test")] == [
        [str(i) for i in range(15)],
        ["15", "16"],
        ["17", "18", "19"],
    ]


def test_skip_and_limit_count_rows(tmp_path: Path, gather: Gather) -> None:
    path = labeled(tmp_path / "a.jsonl", ["0", "1", "", "3", "4", "5"])
    rows, card = gather({"paths": [path], "skip": 1, "limit": 3}, valid_fraction=0, on_error="skip")
    assert texts(rows["train"]) == ["1", "3"]
    assert card["dropped"] == {"malformed": 1}
    assert card["sources"][0]["outside skip and limit"] == 3


def test_a_fraction_is_held_out_by_the_group_whichever_way_it_is_read(tmp_path: Path, gather: Gather) -> None:
    pairs = [(f"sentence {i // 2}", f"句子{i}") for i in range(400)]
    (tmp_path / "a.tsv").write_text("".join(f"{en}\t{zh}\n" for en, zh in pairs), "utf-8")
    expected = {en for en, _ in pairs if int(hashlib.sha1(en.encode()).hexdigest(), 16) % 20 == 0}
    forth, _ = gather(
        {"paths": [str(tmp_path / "a.tsv")], "columns": {"source": 0, "target": 1}, "test_fraction": 0.05}
    )
    back, _ = gather(
        {
            "paths": [str(tmp_path / "a.tsv")],
            "columns": {"source": 1, "target": 0},
            "group_by": 0,
            "test_fraction": 0.05,
        }
    )
    assert {row["source"] for row in forth["test"]} == {row["target"] for row in back["test"]} == expected
    assert len(forth["test"]) == len(back["test"]) == 2 * len(expected)
    assert not {row["target"] for row in back["test"]} & {row["target"] for row in back["train"] + back["valid"]}
    assert 5 < len(forth["valid"]) < 45  # what is held out for validation does not depend on the test's share


def test_questions_are_grouped_by_a_column_of_their_article(tmp_path: Path, gather: Gather) -> None:
    articles = [
        {
            "title": f"title {i // 3}",
            "paragraphs": [
                {"context": f"c{i}", "qas": [{"question": "q", "answers": [{"text": "c", "answer_start": 0}]}]}
            ],
        }
        for i in range(60)
    ]
    (tmp_path / "a.json").write_text(json.dumps({"data": articles}))
    rows, _ = gather({"paths": [str(tmp_path / "a.json")], "group_by": "title", "test_fraction": 0.3})
    titles = {split: {int(row["context"][1:]) // 3 for row in found} for split, found in rows.items()}
    assert titles["test"]
    assert not titles["test"] & titles["train"]
    assert len(rows["test"]) == 3 * len(titles["test"])


def test_duplicates_and_leakage_are_dropped_and_counted(tmp_path: Path, gather: Gather) -> None:
    train = labeled(tmp_path / "train.jsonl", ["a", "b", "a", "t", "v"])
    valid = labeled(tmp_path / "valid.jsonl", ["v", "v", "t"])
    test = labeled(tmp_path / "test.jsonl", ["t", "t"])
    write_jsonl(tmp_path / "train2.jsonl", [{"text": "t", "label": "y"}, {"text": "b", "label": "y"}])
    sources = [{"paths": [path]} for path in (train, str(tmp_path / "train2.jsonl"), valid, test)]
    rows, card = gather(*sources)
    assert [texts(rows[split]) for split in ("train", "valid", "test")] == [["a", "b", "b"], ["v"], ["t", "t"]]
    assert card["dropped"] == {
        "duplicate, dropped from train": 1,
        "asked in test too, dropped from train": 2,
        "asked in valid too, dropped from train": 1,
        "duplicate, dropped from valid": 1,
        "asked in test too, dropped from valid": 1,
    }
    assert card["duplicates_kept_in_test"] == 1
    rows, card = gather(*sources, drop_duplicates=False, drop_leakage=False)
    assert [len(rows[split]) for split in ("train", "valid", "test")] == [7, 3, 2]
    assert card["dropped"] == {}


def test_different_answers_to_a_tested_question_leak_too(tmp_path: Path, gather: Gather) -> None:
    rows = [{"prompt": "q", "completion": "1"}, {"prompt": "r", "completion": "2"}, {"prompt": "q", "completion": "3"}]
    found, _ = gather({"paths": [str(write_jsonl(tmp_path / "a.jsonl", rows))], "test_last": 1}, valid_fraction=0)
    assert [row["completion"] for row in found["train"]] == ["2"]


def test_malformed_rows_stop_the_stage_unless_they_are_to_be_skipped(tmp_path: Path, gather: Gather) -> None:
    path = labeled(tmp_path / "a.jsonl", ["a", "", "b", ""])
    with pytest.raises(
        InputError, match=r"a\.jsonl:2: `text` is empty \(and 1 more malformed rows\)\n.*on_error: skip"
    ):
        gather({"paths": [path]})
    rows, card = gather({"paths": [path]}, on_error="skip", valid_fraction=0)
    assert texts(rows["train"]) == ["a", "b"]
    assert card["dropped"] == {"malformed": 2}
    assert card["malformed"][1].startswith("a.jsonl:4: `text` is empty")


def test_a_name_in_the_rows_is_kept(tmp_path: Path, gather: Gather) -> None:
    path = write_jsonl(
        tmp_path / "a.jsonl", [{"text": "a", "label": "x", "dataset": "web"}, {"text": "b", "label": "x"}]
    )
    rows, _ = gather({"paths": [str(path)], "name": "mine"}, valid_fraction=0)
    assert [row["dataset"] for row in rows["train"]] == ["web", "mine"]


def test_plain_texts_must_be_asked_for(tmp_path: Path, gather: Gather) -> None:
    (tmp_path / "a.txt").write_text("雪\nink\n", "utf-8")
    with pytest.raises(InputError, match="the columns are text"):
        gather({"paths": [str(tmp_path / "a.txt")]})
    rows, _ = gather({"paths": [str(tmp_path / "a.txt")], "format": "text"}, valid_fraction=0)
    assert texts(rows["train"]) == ["雪", "ink"]


def test_changed_files_are_read_again(tmp_path: Path) -> None:
    path = labeled(tmp_path / "a.jsonl", ["a"])
    config = parse_config(ExamplesStageConfig, {"sources": [{"paths": [f"{tmp_path}/*.jsonl"]}]}, where="examples")
    assert not execute(examples, config, {}, tmp_path / "out").skipped
    assert execute(examples, config, {}, tmp_path / "out").skipped
    labeled(Path(path), ["a", "b"])
    assert not execute(examples, config, {}, tmp_path / "out").skipped


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ({"paths": []}, ConfigError, "no path is given"),
        ({"paths": ["*.nothing"]}, InputError, "the glob matches no file"),
        ({"paths": ["a.jsonl"], "replace": {"{{nmae}}": "x"}}, ConfigError, r"'\{\{nmae\}\}' is nowhere in the files"),
        ({"paths": ["a.jsonl"], "group_by": "book"}, ConfigError, r"no column 'book' \(there is text, label\)"),
        ({"paths": ["a.jsonl"], "skip": 5}, InputError, "there are no examples"),
        ({"paths": ["a.jsonl"], "colums": {}}, ConfigError, "did you mean 'columns'"),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path,
    gather: Gather,
    monkeypatch: pytest.MonkeyPatch,
    source: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    labeled(tmp_path / "a.jsonl", ["a"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        gather(source)


def test_sources_must_be_there_and_of_one_format(tmp_path: Path, gather: Gather) -> None:
    with pytest.raises(ConfigError, match="no source is given"):
        gather()
    pairs = write_jsonl(tmp_path / "b.jsonl", [{"source": "a", "target": "b"}])
    with pytest.raises(InputError, match=r"different formats \(a: labels, b: pairs\)"):
        gather({"paths": [labeled(tmp_path / "a.jsonl", ["a"])]}, {"paths": [str(pairs)]})


@pytest.mark.parametrize("path", ["no.jsonl", "a.en|no.zh"])
def test_a_plan_names_a_file_that_is_not_there(tmp_path: Path, path: str) -> None:
    (tmp_path / "a.en").write_text("ink\n")
    source = {"paths": ["|".join(str(tmp_path / name) for name in path.split("|"))]}
    config = parse_config(ExamplesStageConfig, {"sources": [source]}, where="examples")
    with pytest.raises(InputError, match=rf"{path.rpartition('|')[2]}: no such file"):
        estimate(config, {})
