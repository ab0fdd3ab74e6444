"""How a model folder of sentence-transformers makes one vector of a text: read and written in that library's layout.

`modules.json` lists the steps (`Transformer`, `Pooling`, `Normalize`), each with a folder of its settings;
`sentence_bert_config.json` has the longest text, `config_sentence_transformers.json` the prompts.
"""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import Field, model_validator

from inkstone.checkpoint.strict_json import parse_json_object, read_json_object
from inkstone.core.config import Config, parse_config
from inkstone.core.errors import CheckpointError, InkstoneError
from inkstone.core.files import StrPath, write_json
from inkstone.nn.pooling import POOLINGS, Pooling

MODULES = "modules.json"
TEXT = "sentence_bert_config.json"
PROMPTS = "config_sentence_transformers.json"
TOKENIZER = "tokenizer_config.json"
_NO_LIMIT = 1 << 40
_MAX_MODULES_BYTES = 1 << 20
_TYPE = "sentence_transformers.models."
_FLAGS: Mapping[str, str] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""One flag a way of pooling, in files before version 6 of sentence-transformers; newer ones have `pooling_mode`."""
_CHANGE_MODEL = "use a model whose steps are Transformer, Pooling and, if need be, Normalize"


class SentenceConfig(Config):
    """How one vector is made of a text."""

    pooling: Pooling = "mean"
    normalize: bool = False
    """Divide each vector by its length."""
    max_seq_length: int | None = Field(default=None, gt=0)
    """Longest text in tokens, where it is shorter than the model's context."""
    prompts: Mapping[str, str] = Field(default_factory=dict)
    """Texts to put before a text, by name, such as `query`."""
    default_prompt_name: str | None = None
    """The prompt that is used where none is asked for."""

    @model_validator(mode="after")
    def _check_default_prompt(self) -> "SentenceConfig":
        if self.default_prompt_name is not None and self.default_prompt_name not in self.prompts:
            raise ValueError(f"default_prompt_name {self.default_prompt_name!r} is not one of the prompts")
        return self


def read_sentence_config(folder: StrPath) -> SentenceConfig | None:
    """The settings of a model folder of sentence-transformers; None for any other model folder.

    Raises:
        CheckpointError: a file is malformed, or asks for a step that is not supported (such as `Dense`).
    """
    folder = Path(folder)
    if not (folder / MODULES).is_file():
        return None
    try:
        steps = _steps(folder)
        text = _settings(folder / steps["Transformer"] / TEXT)
        prompts = _settings(folder / PROMPTS)
        keys = {
            "pooling": _pooling(folder / steps["Pooling"] / "config.json"),
            "normalize": "Normalize" in steps,
            "max_seq_length": text.get("max_seq_length") or _model_max_length(folder),
            "prompts": prompts.get("prompts") or {},
            "default_prompt_name": prompts.get("default_prompt_name"),
        }
        return parse_config(SentenceConfig, keys, where=str(folder / MODULES))
    except CheckpointError:
        raise
    except InkstoneError as error:
        raise CheckpointError(error.cause, where=error.where or folder, remedy=error.remedy) from error


def write_sentence_config(folder: StrPath, config: SentenceConfig, hidden_size: int) -> None:
    """Write the files that make a saved model a model of sentence-transformers, any version of it.

    Args:
        folder: a model folder, as `save_checkpoint` writes it.
        config: how vectors are made.
        hidden_size: the model's.
    """
    folder = Path(folder)
    steps = [("", "Transformer"), ("1_Pooling", "Pooling"), *([("2_Normalize", "Normalize")] * config.normalize)]
    for path, _ in steps:
        (folder / path).mkdir(parents=True, exist_ok=True)
    flags = {flag: pooling == config.pooling for flag, pooling in _FLAGS.items()}
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": hidden_size, **flags})
    write_json(folder / TEXT, {"max_seq_length": config.max_seq_length, "do_lower_case": False})
    write_json(
        folder / PROMPTS,
        {
            "prompts": config.prompts,
            "default_prompt_name": config.default_prompt_name,
            "similarity_fn_name": "cosine",
        },
    )
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": _TYPE + step}
        for index, (path, step) in enumerate(steps)
    ]
    write_json(folder / MODULES, modules)


def _model_max_length(folder: Path) -> object:
    """Where sentence-transformers 6 keeps the longest text; numbers beyond any context stand for none."""
    length = _settings(folder / TOKENIZER).get("model_max_length")
    return None if isinstance(length, int | float) and length > _NO_LIMIT else length


def _steps(folder: Path) -> dict[str, str]:
    """Name of every step → its folder, in order; Transformer and Pooling are there, and nothing unknown is."""
    # A list, where the strict reader takes objects.
    text = b'{"modules":' + _read(folder / MODULES) + b"}"
    modules = parse_json_object(text, where=folder / MODULES).get("modules")
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise CheckpointError("expected a list of modules", where=folder / MODULES, remedy=_CHANGE_MODEL)
    steps = {str(module.get("type")).rpartition(".")[2]: str(module.get("path", "")) for module in modules}
    if list(steps) not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise CheckpointError(
            f"the steps {', '.join(steps) or '(none)'} are not supported", where=folder / MODULES, remedy=_CHANGE_MODEL
        )
    for path in steps.values():
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise CheckpointError(f"path {path!r} leads out of the folder", where=folder / MODULES)
    return steps


def _settings(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is no file."""
    return read_json_object(path) if path.is_file() else {}


def _read(path: Path) -> bytes:
    with open(path, "rb") as file:
        data = file.read(_MAX_MODULES_BYTES + 1)
    if len(data) > _MAX_MODULES_BYTES:
        raise CheckpointError(f"longer than {_MAX_MODULES_BYTES:,} bytes", where=path, remedy=_CHANGE_MODEL)
    return data


def _pooling(path: Path) -> str:
    settings = _settings(path)
    flagged = [pooling for flag, pooling in _FLAGS.items() if settings.get(flag)]
    chosen = settings.get("pooling_mode") or flagged or "mean"
    poolings = chosen if isinstance(chosen, list) else [chosen]
    if len(poolings) != 1 or poolings[0] not in POOLINGS:
        raise CheckpointError(
            f"pooling by {' and '.join(map(str, poolings))} is not supported",
            where=path,
            remedy=f"use a model that pools by one of: {', '.join(POOLINGS)}",
        )
    if settings.get("include_prompt", True) is not True:
        raise CheckpointError("include_prompt false is not supported", where=path, remedy="use another model")
    return poolings[0]
