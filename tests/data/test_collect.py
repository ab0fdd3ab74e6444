import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inkstone.core.errors import ConfigError, InputError
from inkstone.core.records import Document
from inkstone.core.stage import execute
from inkstone.data.stages import CollectConfig, collect
from tests.data.conftest import write_jsonl

Collected = Callable[..., list[Document]]


def card(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "collected" / "card.json").read_text())
    return found


def test_a_text_file_is_one_document(tmp_path: Path, collected: Collected) -> None:
    text = "One.\n\nTwo.\n  Three.\n"
    (tmp_path / "a.txt").write_text(text)
    assert collected(tmp_path / "a.txt") == [Document(text, "a.txt", "a.txt")]


@pytest.mark.parametrize(
    ("split", "texts"),
    [("lines", ["One", "more.", "Two.", "Three."]), ("paragraphs", ["One\nmore.", "Two.\nThree."])],
)
def test_a_text_file_can_be_split(tmp_path: Path, collected: Collected, split: str, texts: list[str]) -> None:
    (tmp_path / "a.txt").write_text("\nOne\nmore.\n \n\nTwo.\nThree.")
    documents = collected(tmp_path / "a.txt", split=split)
    assert [document.text for document in documents] == texts
    assert documents[0].id == "a.txt:2"


def test_compressed_files_read_like_plain_ones(tmp_path: Path, collected: Collected) -> None:
    text = "雪落无声。" * 300_000
    with pa.CompressedOutputStream(str(tmp_path / "b.txt.zst"), "zstd") as file:
        file.write(text.encode())
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(text.encode("gb18030")))
    assert [document.text for document in collected(tmp_path / "a.txt.gz", tmp_path / "b.txt.zst")] == [text, text]
    assert card(tmp_path)["encodings"] == {"gb18030": 1, "utf-8": 1}


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_damaged_compression_names_the_file(tmp_path: Path, collected: Collected, suffix: str) -> None:
    data = "".join(f"line {i * i}\n" for i in range(500_000)).encode()
    whole = gzip.compress(data) if suffix == ".gz" else pa.compress(data, "zstd", asbytes=True)
    (tmp_path / f"a.txt{suffix}").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=rf"a\.txt{suffix}: compressed data are damaged or cut short after \d+"):
        collected(tmp_path / f"a.txt{suffix}")
    assert not (tmp_path / "collected" / "documents").exists()


def test_a_large_file_is_cut_at_paragraphs_and_nothing_is_lost(tmp_path: Path, collected: Collected) -> None:
    text = "".join(f"Paragraph {i} " + "word " * (i % 50) + "end.\n\n" for i in range(2000))
    (tmp_path / "big.txt").write_text(text)
    documents = collected(tmp_path / "big.txt", max_document_chars=5000)
    assert "".join(document.text for document in documents) == text
    assert max(len(document.text) for document in documents) <= 5000
    assert all(document.text.endswith("\n\n") for document in documents)
    assert documents[1].id == "big.txt#2"
    assert documents[1].meta == {"part": 2, "part_of": "big.txt"}
    assert card(tmp_path)["counts"] == {"cut documents": 1, "parts of cut documents": len(documents)}


def test_jsonl_keeps_id_lang_and_other_columns(tmp_path: Path, collected: Collected) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"text": "line\\u2028one", "id": 7, "lang": "zh", "year": 1948, "none": null}\n\n  \n{"text": "two"}\n'
    )
    first, second = collected(path)
    assert first == Document("line\u2028one", "7", "a.jsonl", "zh", {"year": 1948})
    assert second == Document("two", "a.jsonl:4", "a.jsonl")


def broken_jsonl(path: Path) -> Path:
    lines = [json.dumps({"text": f"text {i}"}) for i in range(1, 1001)]
    lines[730] = '{"text": "never closed'
    path.write_text("\n".join(lines) + "\n")
    return path


def test_malformed_line_731_is_named(tmp_path: Path, collected: Collected) -> None:
    with pytest.raises(InputError, match=r"books\.jsonl:731: malformed JSON: .*\n  remedy: .*on_error: skip"):
        collected(broken_jsonl(tmp_path / "books.jsonl"))
    assert not (tmp_path / "collected" / "documents").exists()
    assert not (tmp_path / "collected" / "manifest.json").exists()


def test_malformed_lines_can_be_skipped_and_are_counted(tmp_path: Path, collected: Collected) -> None:
    documents = collected(broken_jsonl(tmp_path / "books.jsonl"), on_error="skip")
    assert len(documents) == 999
    assert card(tmp_path)["counts"] == {"malformed": 1}
    assert "books.jsonl:731" in card(tmp_path)["problems"][0]


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("[1, 2]", "holds an array"),
        ('"text"', "holds a string"),
        ('{"text": 3}', "'text' is not a string but int"),
        ('{"words": "x"}', "has no 'text'"),
        ('{"text": "' + "\\ud83d" + '"}', None),
    ],
)
def test_records_of_the_wrong_shape(tmp_path: Path, collected: Collected, line: str, cause: str | None) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "good"}\n' + line + "\n")
    if cause is None:
        assert len(collected(path)) == 2
        return
    with pytest.raises(InputError, match=rf"a\.jsonl:2: .*{cause}"):
        collected(path)


def test_text_column_is_guessed_chosen_or_asked_for(tmp_path: Path, collected: Collected) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"title": "T", "review": "R", "stars": 3}])
    assert collected(path)[0].text == "R"
    path = write_jsonl(tmp_path / "b.jsonl", [{"question": "Q", "reply": "R"}])
    with pytest.raises(InputError, match=r"not clear which column holds the text; the columns are: question, reply"):
        collected(path)
    assert collected(path, text_column="reply")[0].text == "R"
    assert collected(path, columns=["question", "reply"])[0].text == "Q\nR"
    with pytest.raises(InputError, match=r"there is no column 'replies'.*\n.*text_column: reply"):
        collected(path, text_column="replies")
    with pytest.raises(InputError, match="no file has the columns a, b"):
        collected(write_jsonl(tmp_path / "c.jsonl", [{"text": "x"}]), columns=["a", "b"])


def test_column_lists_are_chosen_file_by_file(tmp_path: Path, collected: Collected) -> None:
    poems = write_jsonl(tmp_path / "a.jsonl", [{"title": "静夜思", "author": "李白", "text": "床前明月光"}])
    pairs = write_jsonl(tmp_path / "b.jsonl", [{"classical": "微哉！", "modern": "微妙啊！", "book": "孙子兵法"}])
    documents = collected(poems, pairs, columns=[["title", "author", "text"], ["classical", "modern"]])
    assert [document.text for document in documents] == ["静夜思\n李白\n床前明月光", "微哉！\n微妙啊！"]
    assert documents[1].meta == {"book": "孙子兵法"}


def test_csv_with_quotes_and_line_breaks(tmp_path: Path, collected: Collected) -> None:
    rows = [['He said "no", twice.\nThen left.', "1"], ["x" * 200_000, "2"]]
    buffer = io.StringIO()
    csv.writer(buffer).writerows([["text", "label"], *rows])
    (tmp_path / "a.csv").write_text(buffer.getvalue())
    documents = collected(tmp_path / "a.csv")
    assert [[document.text, document.meta["label"]] for document in documents] == rows


def test_tsv_without_header(tmp_path: Path, collected: Collected) -> None:
    text = '孙子兵法\t微哉！"微哉！\t微妙啊！\n孙子兵法\t故兵无常势，水无常形。\t所以，作战没有固定不变的方式。\n'
    (tmp_path / "a.tsv").write_text(text)
    names = {"column_names": ["book", "classical", "modern"]}
    documents = collected(tmp_path / "a.tsv", columns=["classical", "modern"], **names)
    assert [document.text for document in documents] == [
        '微哉！"微哉！\n微妙啊！',
        "故兵无常势，水无常形。\n所以，作战没有固定不变的方式。",
    ]
    assert documents[0].meta == {"book": "孙子兵法"}
    with pytest.raises(InputError, match="the columns are: column1, column2, column3"):
        collected(tmp_path / "a.tsv")


@pytest.mark.parametrize(
    ("table", "first"),
    [
        ("text\tlabel\ngood film\t1\n", "good film"),
        ("review\tstars\ngood film\t1\nbad\t2\n", "good film"),
        ("a fine and funny film\t1\nbad\t2\n", "a fine and funny film"),
        ("标题\t正文\n雪\t雪落无声，山河一色，行人不见归路。\n", None),
    ],
)
def test_header_is_recognized(tmp_path: Path, collected: Collected, table: str, first: str | None) -> None:
    (tmp_path / "a.tsv").write_text(table)
    if first is None:
        with pytest.raises(InputError, match="the columns are: 标题, 正文"):
            collected(tmp_path / "a.tsv")
        return
    assert collected(tmp_path / "a.tsv")[0].text == first


def test_a_column_that_stands_out_is_the_text(tmp_path: Path, collected: Collected) -> None:
    sentence = "The US Federal Trade Commission has filed its first spyware case, says the Center."
    (tmp_path / "a.tsv").write_text(f"{sentence}\tSci/Tech\n{sentence}\tBusiness\n")
    assert collected(tmp_path / "a.tsv")[0].text == sentence
    assert card(tmp_path)["sources"][0]["text_columns"] == ["column1"]
    (tmp_path / "b.csv").write_text(f",more,less,kind\n0,{sentence[:40]},{sentence[:38]},race\n")
    with pytest.raises(InputError, match=r"the columns are: column1, more, less, kind\n.*text_column: more"):
        collected(tmp_path / "b.csv")


def test_table_row_of_wrong_width_is_named(tmp_path: Path, collected: Collected) -> None:
    (tmp_path / "a.tsv").write_text("text\tlabel\none\t1\ntwo\n")
    with pytest.raises(InputError, match=r"a\.tsv:3: the row has 1 fields, expected 2"):
        collected(tmp_path / "a.tsv")


def test_parquet(tmp_path: Path, collected: Collected) -> None:
    pq.write_table(pa.table({"text": ["one", None, "", "two"], "n": [1, 2, 3, 4]}), tmp_path / "a.parquet")
    documents = collected(tmp_path / "a.parquet")
    assert [(document.text, document.meta) for document in documents] == [("one", {"n": 1}), ("two", {"n": 4})]
    assert card(tmp_path)["counts"] == {"empty": 2}
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-20])
    with pytest.raises(InputError, match=r"b\.parquet: cannot be read as Parquet"):
        collected(tmp_path / "b.parquet")


def test_html_gives_visible_text_in_its_declared_encoding(tmp_path: Path, collected: Collected) -> None:
    page = (
        '<html><head><meta charset="gb2312"><title>红楼 梦</title><style>p {color: red}</style></head>'
        "<body><h1>第一回</h1><script>var x = 1;</script><p>满纸&nbsp;荒唐言</p>"
        "<p>一把辛酸泪 &amp; more</p></body></html>"
    )
    (tmp_path / "a.html").write_bytes(page.encode("gb18030"))
    (document,) = collected(tmp_path / "a.html")
    assert document.text.split() == ["第一回", "满纸", "荒唐言", "一把辛酸泪", "&", "more"]
    assert document.meta == {"title": "红楼 梦"}


def test_source_code_is_kept_whole(tmp_path: Path, collected: Collected) -> None:
    code = "def f(x):\n    return x\n\n\nprint(f(1))\n"
    (tmp_path / "a.py").write_text(code)
    (document,) = collected(tmp_path / "a.py", split="lines", lang="en")
    assert (document.text, document.lang) == (code, "code")


def test_folders_and_globs(tmp_path: Path, collected: Collected) -> None:
    for name in ("b.txt", "a.md", "sub/c.txt", ".git/d.txt", "__pycache__/e.py", "photo.png"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    folder = tmp_path / "data"
    assert [document.id for document in collected(folder)] == ["data/a.md", "data/b.txt", "data/sub/c.txt"]
    assert card(tmp_path)["skipped_files"] == {".png": 1}
    assert [document.id for document in collected(folder / "**" / "*.txt")] == ["data/b.txt", "data/sub/c.txt"]
    assert len(collected(folder, folder / "b.txt")) == 3  # the same file twice is read once


def test_two_files_of_one_name_have_different_ids(tmp_path: Path, collected: Collected) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.txt").write_text(name)
    first, second = collected(tmp_path / "x" / "train.txt", tmp_path / "y" / "train.txt")
    assert first.id != second.id


def test_missing_paths_name_the_nearest(tmp_path: Path, collected: Collected) -> None:
    (tmp_path / "books.jsonl").write_text('{"text": "x"}')
    with pytest.raises(
        InputError, match=r"book\.jsonl: no such file or folder\n  remedy: did you mean '.*books\.jsonl'"
    ):
        collected(tmp_path / "book.jsonl")
    with pytest.raises(InputError, match="matches no file"):
        collected(tmp_path / "*.tsv")
    with pytest.raises(ConfigError, match=r"--set collect\.paths="):
        collected()
    (tmp_path / "photo.png").write_bytes(b"x")
    with pytest.raises(InputError, match=r"files of kind '\.png' cannot be read"):
        collected(tmp_path / "photo.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no file of a known kind"):
        collected(tmp_path / "empty")


def test_empty_files_are_an_empty_corpus(tmp_path: Path, collected: Collected) -> None:
    (tmp_path / "a.txt").write_text("")
    (tmp_path / "b.jsonl").write_text("\n\n")
    with pytest.raises(InputError, match="no document was found"):
        collected(tmp_path / "a.txt", tmp_path / "b.jsonl")


def test_unreadable_rest_of_a_file_stops_or_is_counted(tmp_path: Path, collected: Collected) -> None:
    (tmp_path / "bad.txt").write_bytes(("雪" * 4000).encode() + b"\xff\xff" + b"x" * 10)
    (tmp_path / "good.txt").write_text("good")
    with pytest.raises(InputError, match=r"bad\.txt: cannot be read as text: bytes .* at byte 12000"):
        collected(tmp_path / "bad.txt", tmp_path / "good.txt")
    assert collected(tmp_path / "bad.txt", tmp_path / "good.txt", on_error="skip")[-1].text == "good"
    assert "at byte 12000" in card(tmp_path)["problems"][0]


def test_unchanged_sources_are_skipped_and_changed_ones_are_not(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    config = CollectConfig(paths=(str(tmp_path / "*.txt"),))
    assert not execute(collect, config, {}, tmp_path / "out").skipped
    assert execute(collect, config, {}, tmp_path / "out").skipped
    (tmp_path / "b.txt").write_text("two")
    assert execute(collect, config, {}, tmp_path / "out").summary["documents"] == 2
