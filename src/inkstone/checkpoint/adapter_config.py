"""adapter_config.json: PEFT's settings of an adapter, read with care and written."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inkstone.checkpoint.strict_json import read_json_object, shown
from inkstone.checkpoint.weights import inside
from inkstone.core.config import parse_config
from inkstone.core.errors import CheckpointError, ConfigError
from inkstone.nn.adapter_config import ALL_LINEAR, LoRAConfig
from inkstone.nn.adapters import Adapter
from inkstone.nn.layers.conv1d import Conv1D
from inkstone.nn.models.base import Decoder, EncoderDecoder

ADAPTER_CONFIG = "adapter_config.json"

_COPY_AGAIN = "copy the adapter folder again"
_MAX_BYTES = 1_000_000
_MAX_PATTERNS = 2_000
_WITHOUT_EFFECT = {
    "auto_mapping",
    "ensure_weight_tying",
    "eva_config",
    "fan_in_fan_out",
    "inference_mode",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "runtime_config",
}
"""Keys of PEFT that change nothing in how a trained adapter computes (Conv1D is recognized by itself)."""
_INITIALIZATIONS = {True: True, False: True, "gaussian": "gaussian", "orthogonal": True, "eva": True}
"""Values of init_lora_weights that leave the base weights alone → what they are here, where values are read anyway."""
_EXPRESSION_WITH_BOUNDED_TIME = re.compile(r"[^(){}*+?]*([*+?][^(){}*+?]*){0,2}")


def read_adapter_config(folder: Path) -> LoRAConfig:
    """The settings of an adapter folder, PEFT's own or saved here.

    Raises:
        CheckpointError: the file is missing or malformed, no LoRA adapter, or has a setting that is not supported and
            would change the result if it were ignored.
    """
    path = folder / ADAPTER_CONFIG
    hf = _read_object(path)
    if hf.get("peft_type") != "LORA":
        raise CheckpointError(
            f"peft_type {shown(hf.get('peft_type'))} is not supported",
            where=path,
            remedy="supported is LORA, also with use_dora and use_rslora",
        )
    for key, value in hf.items():
        if key not in LoRAConfig.model_fields and key not in _WITHOUT_EFFECT and value not in (None, False, {}, []):
            raise CheckpointError(
                f"{shown(key)} is set, which is not supported and would change what the adapter does",
                where=path,
                remedy="use an adapter without it, or merge it with PEFT and use the merged model",
            )
    known = {key: value for key, value in hf.items() if key in LoRAConfig.model_fields and value is not None}
    known["init_lora_weights"] = _initialization(known.get("init_lora_weights", True), path)
    _check_expressions(known, path)
    try:
        return parse_config(LoRAConfig, known, where=str(path))
    except ConfigError as error:
        raise CheckpointError(error.cause, where=path, remedy=error.remedy or _COPY_AGAIN) from error


def peft_config(adapter: Adapter, base: str | None) -> dict[str, Any]:
    """The keys of adapter_config.json; `all-linear` is written as the names of the layers that it chose."""
    config = adapter.config
    keys = config.model_dump(mode="json")
    if config.target_modules == ALL_LINEAR:
        keys |= {"target_modules": list(adapter.targets), "exclude_modules": None}
    return keys | {
        "peft_type": "LORA",
        "task_type": config.task_type or _task_type(adapter),
        "base_model_name_or_path": base or config.base_model_name_or_path,
        "fan_in_fan_out": any(isinstance(layer.base_layer, Conv1D) for layer in adapter.layers),
        "inference_mode": True,
    }


def _task_type(adapter: Adapter) -> str | None:
    if isinstance(adapter.model, Decoder):
        return "CAUSAL_LM"
    return "SEQ_2_SEQ_LM" if isinstance(adapter.model, EncoderDecoder) else None


def _read_object(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        is_model = (path.parent / "config.json").is_file()
        raise CheckpointError(
            "a model folder, not an adapter" if is_model else f"{ADAPTER_CONFIG} is missing: not an adapter folder",
            where=path.parent,
            remedy=f"give the folder that holds {ADAPTER_CONFIG}",
        )
    if path.stat().st_size > _MAX_BYTES:
        raise CheckpointError(
            f"larger than {_MAX_BYTES:,} bytes: no adapter's settings", where=path, remedy=_COPY_AGAIN
        )
    return read_json_object(inside(path.parent, path.name))


def _initialization(value: object, path: Path) -> object:
    if isinstance(value, bool | str) and value in _INITIALIZATIONS:
        return _INITIALIZATIONS[value]
    raise CheckpointError(
        f"init_lora_weights {shown(value)}: may have changed the base model's weights, which are not here",
        where=path,
        remedy="convert it to plain LoRA with PEFT: save_pretrained(…, path_initial_model_for_weight_conversion=…)",
    )


def _check_expressions(known: Mapping[str, Any], path: Path) -> None:
    """Refuse expressions that could match for ages; those of target_modules are never matched, see `load_adapter`."""
    for key in ("rank_pattern", "alpha_pattern"):
        patterns = known.get(key, {})
        if not isinstance(patterns, Mapping):
            continue
        if len(patterns) > _MAX_PATTERNS:
            raise CheckpointError(f"{key} has more than {_MAX_PATTERNS:,} entries", where=path, remedy="use r for most")
        for pattern in patterns:
            if len(pattern) > 200 or not _EXPRESSION_WITH_BOUNDED_TIME.fullmatch(pattern):
                raise CheckpointError(
                    f"{key}: {shown(pattern)} may take too long to match (groups, or more than two repetitions)",
                    where=path,
                    remedy="name the layers one by one",
                )
