"""Short ways to run the two stages of this room and to see what they made."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inkstone.core.config import parse_config
from inkstone.core.progress import set_quiet
from inkstone.core.records import Document
from inkstone.core.stage import execute
from inkstone.data.corpus import Corpus, read_documents
from inkstone.data.stages import CollectConfig, PrepareConfig, collect, prepare


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    set_quiet(True)
    yield
    set_quiet(False)


@pytest.fixture
def collected(tmp_path: Path) -> Callable[..., list[Document]]:
    """``collected(path, ..., key=value)``: the documents that `collect` makes; they lie in tmp_path/collected."""

    def run(*paths: Path | str, **settings: Any) -> list[Document]:
        config = parse_config(CollectConfig, {"paths": [str(path) for path in paths], **settings}, where="collect")
        execute(collect, config, {}, tmp_path / "collected")
        return list(read_documents(tmp_path / "collected" / "documents"))

    return run


@pytest.fixture
def prepared(tmp_path: Path, collected: Callable[..., list[Document]]) -> Callable[..., Corpus]:
    """``prepared(texts, key=value)``: the corpus that `prepare` makes of these texts, or of documents."""

    def run(texts: list[str] | list[dict[str, Any]], **settings: Any) -> Corpus:
        rows = [{"text": row} if isinstance(row, str) else row for row in texts]
        write_jsonl(tmp_path / "texts.jsonl", rows)
        collected(tmp_path / "texts.jsonl")
        config = parse_config(PrepareConfig, settings, where="prepare")
        execute(prepare, config, {"documents": tmp_path / "collected"}, tmp_path / "corpus")
        return Corpus(tmp_path / "corpus")

    return run


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path
