"""The layout of sentence-transformers, written here and read back, and as that library has written it."""

import json
from pathlib import Path
from typing import Any

import pytest

from inkstone.checkpoint.sentence import SentenceConfig, read_sentence_config, write_sentence_config
from inkstone.core.errors import CheckpointError, ConfigError

CONFIGS = [
    SentenceConfig(),
    SentenceConfig(pooling="cls", normalize=True, max_seq_length=256),
    SentenceConfig(pooling="lasttoken", prompts={"query": "query: ", "passage": ""}, default_prompt_name="query"),
    SentenceConfig(pooling="max"),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.pooling)
def test_written_and_read_back(tmp_path: Path, config: SentenceConfig) -> None:
    write_sentence_config(tmp_path, config, 32)
    assert read_sentence_config(tmp_path) == config


def test_a_model_folder_of_another_kind_says_nothing(tmp_path: Path) -> None:
    assert read_sentence_config(tmp_path) is None


def write(folder: Path, files: dict[str, Any]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))


def modules(*types: str) -> list[dict[str, Any]]:
    paths = ["", "1_Pooling", "2_Normalize", "3_More"]
    return [
        {"idx": index, "name": str(index), "path": path, "type": name}
        for index, (path, name) in enumerate(zip(paths, types, strict=False))
    ]


OLD = modules(*(f"sentence_transformers.models.{step}" for step in ("Transformer", "Pooling", "Normalize")))
NEW = modules(
    "sentence_transformers.base.modules.transformer.Transformer",
    "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "sentence_transformers.base.modules.normalize.Normalize",
)


def test_files_of_version_2(tmp_path: Path) -> None:
    """As in all-MiniLM-L6-v2."""
    pooling = {
        "word_embedding_dimension": 384,
        "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    }
    text = {"max_seq_length": 256, "do_lower_case": False}
    write(tmp_path, {"modules.json": OLD, "1_Pooling/config.json": pooling, "sentence_bert_config.json": text})
    assert read_sentence_config(tmp_path) == SentenceConfig(pooling="mean", normalize=True, max_seq_length=256)


def test_files_of_version_6(tmp_path: Path) -> None:
    pooling = {"embedding_dimension": 32, "pooling_mode": "lasttoken", "include_prompt": True}
    prompts = {"prompts": {"query": "Q: ", "document": ""}, "default_prompt_name": None}
    write(
        tmp_path,
        {"modules.json": NEW, "1_Pooling/config.json": pooling, "config_sentence_transformers.json": prompts},
    )
    expected = SentenceConfig(pooling="lasttoken", normalize=True, prompts={"query": "Q: ", "document": ""})
    assert read_sentence_config(tmp_path) == expected
    for longest, max_seq_length in ((256, 256), (int(1e30), None)):
        write(tmp_path, {"tokenizer_config.json": {"model_max_length": longest}})
        assert read_sentence_config(tmp_path) == expected.model_copy(update={"max_seq_length": max_seq_length})


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"modules.json": "{"}, "modules.json"),
        ({"modules.json": "[" * 100_000}, "nested"),
        ({"modules.json": " " * 2_000_000}, "longer than"),
        ({"modules.json": {}}, "list of modules"),
        ({"modules.json": [1]}, "list of modules"),
        ({"modules.json": []}, "none"),
        ({"modules.json": modules("models.Transformer", "models.Pooling", "models.Dense")}, "Dense"),
        ({"modules.json": modules("models.Pooling", "models.Transformer")}, "Pooling, Transformer"),
        ({"modules.json": [OLD[0], OLD[1] | {"path": "../1_Pooling"}]}, "leads out"),
        ({"1_Pooling/config.json": {"pooling_mode": "weightedmean"}}, "weightedmean"),
        ({"1_Pooling/config.json": {"pooling_mode": ["mean", "max"]}}, "mean and max"),
        ({"1_Pooling/config.json": {"pooling_mode": 3}}, "pooling"),
        ({"1_Pooling/config.json": {"pooling_mode": "mean", "include_prompt": False}}, "include_prompt"),
        ({"1_Pooling/config.json": []}, "JSON object"),
        ({"sentence_bert_config.json": {"max_seq_length": -1}}, "max_seq_length"),
        ({"config_sentence_transformers.json": {"prompts": {"a": 1}}}, "prompts"),
        ({"config_sentence_transformers.json": {"prompts": {}, "default_prompt_name": "a"}}, "default_prompt_name"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_not_supported_is_refused(tmp_path: Path, files: dict[str, Any], message: str) -> None:
    write(tmp_path, {"modules.json": OLD} | files)
    with pytest.raises(CheckpointError, match=message):
        read_sentence_config(tmp_path)


def test_a_default_prompt_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="default_prompt_name 'qeury'"):
        SentenceConfig(prompts={"query": ""}, default_prompt_name="qeury")
    assert issubclass(ConfigError, ValueError)
