"""Data sets of the Hugging Face hub, from a stand-in server on this machine."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inkstone.core.errors import InputError
from inkstone.data.examples.config import ExamplesConfig
from inkstone.data.examples.hub import dataset_files
from inkstone.data.examples.read import read_examples
from tests.data.conftest import write_jsonl
from tests.hub import COMMIT, Hub, serving

CARD = """---
license: mit
configs:
- config_name: zh
  data_files:
  - split: train
    path: zh/part-*
  - split: validation
    path: [zh/held.jsonl]
- config_name: en
  data_files: "en/*.jsonl"
---
# A data set
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    for name in ("zh", "en", "data"):
        (source / name).mkdir(parents=True)
    table = pa.table({"text": ["真好", "真差"], "label": ["好", "差"]})
    pq.write_table(table, source / "zh" / "part-0.parquet")
    write_jsonl(source / "zh" / "held.jsonl", [{"text": "还行", "label": "好"}])
    write_jsonl(source / "en" / "train.jsonl", [{"text": "good", "label": "yes"}])
    write_jsonl(source / "en" / "test.jsonl.gz", [{"text": "bad", "label": "no"}])
    for name in ("builder.py", "weights.bin", "dataset_infos.json"):
        (source / name).write_text("{}")
    return source


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(folder, tmp_path / "cache", monkeypatch, kind="datasets") as server:
        yield server


def splits(name: str, **settings: Any) -> dict[str, list[str]]:
    found = read_examples(Path(name), ExamplesConfig(valid_fraction=0, **settings), ("labels",))
    return {split: [example.text for example in examples] for split, examples in found.splits.items()}


def test_splits_come_from_the_names_of_files(hub: Hub) -> None:
    assert splits("hub:team/tiny#en") == {"train": ["good"], "valid": [], "test": ["bad"]}
    assert splits(f"hub:team/tiny@{COMMIT}#en/test") == {"train": [], "valid": [], "test": ["bad"]}
    assert not {"builder.py", "weights.bin", "zh/part-0.parquet"} & hub.fetched


def test_splits_come_from_the_card(folder: Path, hub: Hub) -> None:
    hub.files["README.md"] = CARD.encode()
    assert splits("hub:team/tiny#zh") == {"train": ["真好", "真差"], "valid": ["还行"]}
    assert splits("hub:team/tiny#zh/validation") == {"train": [], "valid": ["还行"]}
    assert splits("hub:team/tiny#en") == {"train": ["good"], "valid": []}
    with pytest.raises(InputError, match=r"has the configurations zh, en\n.*hub:team/tiny#zh"):
        dataset_files("hub:team/tiny")
    with pytest.raises(InputError, match=r"has no configuration 'zhh'\n.*did you mean 'zh'"):
        dataset_files("hub:team/tiny#zhh")


def test_a_data_set_once_fetched_is_read_without_the_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert splits("hub:team/tiny#en")["train"] == ["good"]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("httpx.HTTPTransport.handle_request", lambda *_, **__: pytest.fail("used the network"))
    assert splits("hub:team/tiny#en")["train"] == ["good"]


def test_what_is_not_there_is_one_clear_error(hub: Hub) -> None:
    with pytest.raises(InputError, match="no such data set on the hub"):
        dataset_files("hub:team/huge")
    with pytest.raises(InputError, match="no files of examples of the split exam"):
        dataset_files("hub:team/tiny#en/exam")
    with pytest.raises(InputError, match="not the name of a hub data set"):
        dataset_files("hub:tiny")
