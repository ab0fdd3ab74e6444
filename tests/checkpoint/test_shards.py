"""Weights in several files: written as `transformers` reads them, read strictly."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from inkstone.checkpoint import load_model, save_checkpoint
from inkstone.checkpoint.weights import parse_size
from inkstone.core.errors import CheckpointError, ConfigError
from tests.tiny_models import tiny_model, tiny_tokenizer

INDEX = "model.safetensors.index.json"
IDS = torch.arange(40).unsqueeze(0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "model", tiny_model(), tiny_tokenizer(), max_shard_size="40KB")
    return tmp_path / "model"


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("model-*.safetensors"))


def test_shards_are_as_large_as_asked_and_come_back_whole(folder: Path) -> None:
    assert len(shards(folder)) > 2
    assert not (folder / "model.safetensors").exists()
    index = json.loads((folder / INDEX).read_text())
    held = {name: path.name for path in shards(folder) for name in load_file(path)}
    assert index["weight_map"] == held
    assert index["metadata"]["total_size"] == 4 * index["metadata"]["total_parameters"]
    assert all(sum(value.nbytes for value in load_file(path).values()) <= 40_960 for path in shards(folder))
    assert torch.equal(load_model(folder, "cpu")(IDS), tiny_model()(IDS))


def test_transformers_reads_our_shards(folder: Path) -> None:
    oracle, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    with torch.inference_mode():
        torch.testing.assert_close(oracle(IDS).logits, tiny_model()(IDS), atol=1e-4, rtol=0)


def test_saving_in_the_other_layout_leaves_nothing_of_the_first(folder: Path) -> None:
    save_checkpoint(folder, tiny_model(seed=1), tiny_tokenizer())
    assert not shards(folder)
    assert not (folder / INDEX).exists()
    save_checkpoint(folder, tiny_model(seed=2), tiny_tokenizer(), max_shard_size="20KB")
    assert not (folder / "model.safetensors").exists()
    assert torch.equal(load_model(folder, "cpu")(IDS), tiny_model(seed=2)(IDS))


def test_a_tensor_larger_than_a_shard_has_one_of_its_own(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, tiny_model(), tiny_tokenizer(), max_shard_size=1)
    assert all(len(load_file(path)) == 1 for path in shards(tmp_path))
    assert torch.equal(load_model(tmp_path, "cpu")(IDS), tiny_model()(IDS))


def test_sizes() -> None:
    sizes = {"5GB": 5 * 10**9, "500 mb": 5 * 10**8, "2GiB": 2 << 30, "123": 123, 7: 7, "1KB": 1000}
    assert {size: parse_size(size) for size in sizes} == sizes
    for wrong in ("", "0", "GB", "-1GB", "1.5GB", "5 TB", 0, -1, "9" * 30):
        with pytest.raises(ConfigError, match="is no size"):
            parse_size(wrong)


def edit_index(folder: Path, weight_map: Any) -> None:
    index = json.loads((folder / INDEX).read_text())
    (folder / INDEX).write_text(json.dumps(index | {"weight_map": weight_map}))


NAMES = ["../x.safetensors", "/x.safetensors", "a/b.safetensors", "..", "", ".", 5, None, "x.bin", "a\\b.safetensors"]
NAMES += ["x" * 5000 + ".safetensors", "\x1b[2J.safetensors", ".hidden.safetensors", "x.safetensors\0"]


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_names_that_are_no_shard_are_refused(folder: Path, name: object) -> None:
    shutil.copy(shards(folder)[0], folder.parent / "x.safetensors")
    edit_index(folder, json.loads((folder / INDEX).read_text())["weight_map"] | {"model.norm.weight": name})
    with pytest.raises(CheckpointError, match=r"a shard is a \.safetensors file beside the index"):
        load_model(folder)


@pytest.mark.parametrize("weight_map", [None, {}, [], "x", 5], ids=repr)
def test_an_index_without_a_map_is_refused(folder: Path, weight_map: object) -> None:
    edit_index(folder, weight_map)
    with pytest.raises(CheckpointError, match="no usable weight_map"):
        load_model(folder)


def test_shards_that_are_not_as_the_index_says(folder: Path) -> None:
    index = (folder / INDEX).read_text()
    first, second = (path.name for path in shards(folder)[:2])
    weight_map = json.loads(index)["weight_map"]
    name = next(name for name, shard in weight_map.items() if shard == first)
    edit_index(folder, weight_map | {name: second})
    with pytest.raises(CheckpointError, match=name):
        load_model(folder)
    edit_index(folder, weight_map | {"nobody.weight": first})
    with pytest.raises(CheckpointError, match=r"'nobody\.weight' is not in"):
        load_model(folder)
    (folder / INDEX).write_text(index)
    save_file(load_file(folder / second) | {name: load_file(folder / first)[name]}, folder / second)
    with pytest.raises(CheckpointError, match="lies in two shards"):
        load_model(folder)
    (folder / second).unlink()
    with pytest.raises(CheckpointError, match=f"the shard {second} is missing"):
        load_model(folder)


@pytest.mark.skipif(os.name != "posix", reason="symbolic links")
def test_links_lead_into_the_hub_cache_but_not_elsewhere(folder: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123"
    blobs = tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, path in enumerate(sorted(folder.iterdir())):
        shutil.copy(path, blobs / str(number))
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")
    assert torch.equal(load_model(snapshot, "cpu")(IDS), tiny_model()(IDS))
    shard = shards(snapshot)[0]
    shard.unlink()
    shard.symlink_to(shards(folder)[0])
    with pytest.raises(CheckpointError, match="outside of the folder"):
        load_model(snapshot)
