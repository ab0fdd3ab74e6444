"""What a model or adapter folder is, from its configs and headers alone: no weights are read."""

from collections import Counter
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any

from inkstone.checkpoint.card import shape_rows
from inkstone.checkpoint.hub import commit_of
from inkstone.checkpoint.load import read_generation_config, read_outline
from inkstone.checkpoint.safetensors_file import StoredTensor, read_header
from inkstone.checkpoint.save import dtype_name
from inkstone.checkpoint.strict_json import read_json_object
from inkstone.checkpoint.weights import inside
from inkstone.core.device import resolve_dtype
from inkstone.core.errors import InkstoneError
from inkstone.core.manifest import has_manifest, read_manifest
from inkstone.nn.models.base import ModelConfig
from inkstone.tokenizer import Tokenizer

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "source.spm", "spiece.model")
_TRAINING_BYTES = 16
"""Of each parameter: weight, gradient and AdamW's two moments, in float32."""


def describe(folder: Path) -> dict[str, Any]:
    """Facts about a model folder or an adapter folder, as JSON values.

    Raises:
        CheckpointError: it is neither, or is damaged or not supported.
    """
    if (folder / ADAPTER_CONFIG).is_file():
        return {"kind": "adapter", "path": str(folder), **_adapter(folder), **_lineage(folder)}
    outline = read_outline(folder)
    model = outline.model
    tensors = [place.tensor for place in outline.places.values()]
    parameters = model.num_parameters()
    return {
        "kind": "model",
        "path": str(folder),
        "family": model.config.model_type,
        "architecture": next(iter(outline.hf.get("architectures") or [type(model).__name__])),
        "parameters": parameters,
        "shape": shape_rows(model.config),
        "dtype": _dtypes(tensors),
        "weights_bytes": sum(tensor.num_bytes for tensor in tensors),
        "files": len({place.file for place in outline.places.values()}),
        "labels": _labels(outline.hf) if "Classification" in type_name(outline.hf) else None,
        "tokenizer": _tokenizer(folder),
        "generation": read_generation_config(folder, outline.hf),
        **_memory(model.config, parameters, tensors),
        **_lineage(folder),
    }


def type_name(hf: Mapping[str, Any]) -> str:
    """The class of `transformers` that config.json names, or an empty text."""
    return next((name for name in hf.get("architectures") or () if isinstance(name, str)), "")


def _adapter(folder: Path) -> dict[str, Any]:
    keys = read_json_object(inside(folder, ADAPTER_CONFIG))
    tensors = list(read_header(inside(folder, ADAPTER_WEIGHTS)).values())
    return {
        "method": keys.get("peft_type"),
        "base": keys.get("base_model_name_or_path"),
        "rank": keys.get("r"),
        "alpha": keys.get("lora_alpha"),
        "targets": keys.get("target_modules"),
        "parameters": sum(prod(tensor.shape) for tensor in tensors),
        "dtype": _dtypes(tensors),
        "weights_bytes": sum(tensor.num_bytes for tensor in tensors),
    }


def _dtypes(tensors: Iterable[StoredTensor]) -> str:
    """Dtypes of the stored values, the most frequent first."""
    counts: Counter[str] = Counter()
    for tensor in tensors:
        counts[dtype_name(tensor.dtype)] += prod(tensor.shape)
    return ", ".join(name for name, _ in counts.most_common())


def _labels(hf: Mapping[str, Any]) -> list[str] | None:
    labels = hf.get("id2label")
    return list(map(str, labels.values())) if isinstance(labels, Mapping) else None


def _tokenizer(folder: Path) -> dict[str, Any] | None:
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        return None
    tokenizer = Tokenizer.load(folder)
    return {
        "kind": type(tokenizer.backend.model).__name__,
        "vocabulary": tokenizer.vocab_size,
        "special_tokens": list(tokenizer.special_tokens),
        "chat_template": tokenizer.chat_template is not None,
    }


def _memory(config: ModelConfig, parameters: int, tensors: list[StoredTensor]) -> dict[str, int]:
    """Bytes to run the model on this machine's CPU, with the cache of one full context, and to train it with AdamW."""
    widths = Counter({tensor.dtype: 0 for tensor in tensors})
    for tensor in tensors:
        widths[tensor.dtype] += tensor.num_bytes
    stored = max(widths, key=lambda dtype: widths[dtype])
    itemsize = stored.itemsize if stored.itemsize != 2 or stored == resolve_dtype("auto") else 4
    return {
        "memory_to_run_bytes": (parameters + _cached_values(config)) * itemsize,
        "memory_to_train_bytes": parameters * _TRAINING_BYTES,
    }


def _cached_values(config: ModelConfig) -> int:
    """Keys and values of one sequence as long as the context; 0 where the config has no such sizes."""
    names = ("num_hidden_layers", "num_key_value_heads", "head_dim", "max_position_embeddings")
    sizes = [getattr(config, name, None) for name in names]
    return 2 * prod(sizes) if all(isinstance(size, int) for size in sizes) else 0  # type: ignore[arg-type]


def _lineage(folder: Path) -> dict[str, Any]:
    if not has_manifest(folder):
        return {"made_by": None, "commit": commit_of(folder)}
    try:
        manifest = read_manifest(folder)
    except InkstoneError as error:
        return {"made_by": None, "manifest_problem": error.cause}
    return {
        "made_by": manifest.stage,
        "made_at": manifest.started,
        "made_from": {name: record.path for name, record in manifest.inputs.items()},
        "digest": manifest.digest,
        "seed": manifest.seed,
    }
