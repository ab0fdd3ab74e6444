"""Rows and their places, from every kind of file."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inkstone.core.errors import InputError
from inkstone.data.examples.config import RowsConfig
from inkstone.data.examples.rows import read_rows

ROWS = [{"text": "good ink", "label": "yes"}, {"text": "墨好", "label": "否"}]


def rows(path: Path | str, **settings: Any) -> tuple[list[tuple[str, dict[str, Any]]], list[str]]:
    """Place and values of the rows, and places and causes of what was malformed."""
    faults: list[str] = []
    read = read_rows(str(path), RowsConfig(**settings), lambda cause, where, _: faults.append(f"{where}: {cause}"))
    return [(row.where, dict(row.values)) for row in read], faults


def test_json_lines_have_line_numbers_and_malformed_lines_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [json.dumps(ROWS[0]), "", '{"text": ', "[1]", json.dumps(ROWS[1], ensure_ascii=False)]
    path.write_text("\n".join(lines), "utf-8")
    found, faults = rows(path)
    assert found == [("a.jsonl:1", ROWS[0]), ("a.jsonl:5", ROWS[1])]
    assert [fault.partition(": ")[0] for fault in faults] == ["a.jsonl:3", "a.jsonl:4"]
    assert "malformed JSON" in faults[0]
    assert "an array, not an object" in faults[1]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_compressed_files_in_any_encoding(tmp_path: Path, suffix: str, encoding: str) -> None:
    many = [{"text": f"砚台第{i}方，墨色如漆，光可鉴人。"} for i in range(50)]
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in many).encode(encoding)
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(gzip.compress(data) if suffix == ".gz" else pa.compress(data, "zstd", asbytes=True))
    found, faults = rows(path)
    assert [values for _, values in found] == many
    assert faults == []


def test_a_json_array_has_element_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([ROWS[0], "text", ROWS[1]], indent=2), "utf-8")
    found, faults = rows(path)
    assert found == [("a.json[0]", ROWS[0]), ("a.json[2]", ROWS[1])]
    assert faults == ["a.json[1]: the element is a string, not an object"]


def test_an_object_may_hold_the_rows_under_data(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"version": "1", "data": ROWS}), "utf-8")
    assert rows(path)[0] == [("a.json[0]", ROWS[0]), ("a.json[1]", ROWS[1])]


def test_objects_one_after_another_have_the_lines_they_begin_on(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    broken = '{\n  "text": oops,\n  "label": {}\n}'
    parts = [json.dumps(ROWS[0], indent=2), "[2]", broken, json.dumps(ROWS[1], indent=2)]
    path.write_text("\n" + "\n".join(parts), "utf-8")
    found, faults = rows(path)
    assert found == [("a.json:2", ROWS[0]), ("a.json:11", ROWS[1])]
    assert [fault.partition(": ")[0] for fault in faults] == ["a.json:6", "a.json:7"]


def test_json_lines_called_json_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), "utf-8")
    assert rows(path)[0] == [("a.json:1", ROWS[0]), ("a.json:2", ROWS[1])]


def test_a_malformed_array_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"text": "a"},\n{"text": }]', "utf-8")
    with pytest.raises(InputError, match=r"a\.json:2: malformed JSON"):
        rows(path)


def test_halves_of_surrogate_pairs_become_replacement_characters(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"text": "x\\ud83d"}]', "utf-8")
    (tmp_path / "a.jsonl").write_text('{"text": "x\\ud83d"}', "utf-8")
    assert rows(tmp_path / "a.json")[0][0][1] == rows(tmp_path / "a.jsonl")[0][0][1] == {"text": "x\ufffd"}


def test_tables_with_and_without_a_header(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('sentence\tlabel\nsays "hi\t1\nmore\n\nwell\t0\n', "utf-8")
    found, faults = rows(tmp_path / "a.tsv")
    assert found == [
        ("a.tsv:2", {"sentence": 'says "hi', "label": "1"}),
        ("a.tsv:5", {"sentence": "well", "label": "0"}),
    ]
    assert faults == ["a.tsv:3: the row has 1 cells, expected 2 (sentence, label)"]
    (tmp_path / "b.tsv").write_text("真不错\t好评\n很差\t差评\n", "utf-8")
    assert rows(tmp_path / "b.tsv")[0][0] == ("b.tsv:1", {"column0": "真不错", "column1": "好评"})
    (tmp_path / "c.csv").write_text('text,label\n"one, two\nthree",x\n', "utf-8")
    assert rows(tmp_path / "c.csv")[0] == [("c.csv:3", {"text": "one, two\nthree", "label": "x"})]
    assert len(rows(tmp_path / "c.csv", header=False)[0]) == 2


def test_a_row_is_neither_lost_nor_learned_when_a_header_is_possible_but_columns_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("review\tsentiment\nthe service was slow and the room was cold all night\tbad\n" * 3, "utf-8")
    columns = {"text": 0, "label": 1}
    with pytest.raises(InputError, match=r"the first row names the columns \(review, sentiment\)"):
        rows(path, columns=columns)
    assert len(rows(path, columns=columns, header=False)[0]) == 6
    assert len(rows(path, columns={"text": "review", "label": "sentiment"})[0]) == 5
    assert len(rows(path, columns={"id": "review", "text": "review"})[0]) == 5


def test_text_files_are_lines_or_tables_of_tabs(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\tline\n\ntwo\n", "utf-8")
    assert rows(tmp_path / "a.txt")[0] == [("a.txt:1", {"text": "one\tline"}), ("a.txt:3", {"text": "two"})]
    (tmp_path / "b.txt").write_text("Hi.\t嗨。\tby A\nRun.\t跑。\tby B\n", "utf-8")
    assert rows(tmp_path / "b.txt")[0][1] == ("b.txt:2", {"column0": "Run.", "column1": "跑。", "column2": "by B"})


def test_parallel_files(tmp_path: Path) -> None:
    (tmp_path / "t.en").write_text("Hi.\n\u2028Run.\n", "utf-8")
    (tmp_path / "t.zh").write_text("嗨。\n跑。", "utf-8")
    found, _ = rows(f"{tmp_path}/t.en|{tmp_path}/t.zh")
    assert found[1] == ("t.en|t.zh:2", {"source": "\u2028Run.", "target": "跑。"})
    (tmp_path / "t.zh").write_text("嗨。\n", "utf-8")
    with pytest.raises(InputError, match=r"t\.en\|t\.zh:2: t\.zh ends before line 2"):
        rows(f"{tmp_path}/t.en|{tmp_path}/t.zh")


def test_parquet_with_the_names_of_classes(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    names = {"_type": "ClassLabel", "names": ["O", "B-PER"]}
    features = {"tags": {"_type": "Sequence", "feature": names}, "label": names, "n": {"_type": "Value"}}
    table = pa.table({"tags": [[0, 1], [1, 0]], "label": [1, -1], "n": [1, 0]})
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}), path)
    assert rows(path)[0] == [
        ("a.parquet:1", {"tags": ["O", "B-PER"], "label": "B-PER", "n": 1}),
        ("a.parquet:2", {"tags": ["B-PER", "O"], "label": None, "n": 0}),
    ]
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match=r"a\.parquet: cannot be read as Parquet"):
        rows(path)


def test_what_is_no_file_of_examples(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("{}")
    with pytest.raises(InputError, match=r"no such file\n.*did you mean .*train\.jsonl"):
        rows(tmp_path / "trian.jsonl")
    (tmp_path / "a.xlsx").write_text("")
    with pytest.raises(InputError, match=r"files of kind '\.xlsx'"):
        rows(tmp_path / "a.xlsx")
    with pytest.raises(InputError, match="3 parallel files"):
        rows("a.en|a.zh|a.fr")
