"""Reading a model folder: strict about what it holds, and never running code from it."""

from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from inkstone.checkpoint.families import HFConfig, ModelFamily, family_named
from inkstone.checkpoint.hub import FILES, locate
from inkstone.checkpoint.save import CONFIG, check_vocabulary
from inkstone.checkpoint.weights import open_safetensors, weight_files
from inkstone.core.device import resolve_device, resolve_dtype
from inkstone.core.errors import CheckpointError, ConfigError, InkstoneError, InputError
from inkstone.core.files import StrPath, read_json
from inkstone.core.manifest import MANIFEST, STATE, digest_outputs, has_manifest, read_manifest, verify_manifest
from inkstone.nn.models.base import Decoder, Model, ModelConfig
from inkstone.tokenizer import Tokenizer

_COMPUTED = (".rotary_emb.inv_freq", ".attn.masked_bias")
"""Endings of entries in old checkpoints that are tables, not weights."""
_COPY_FOLDER = "copy the model folder again, or run the stage that made it again"


def load_checkpoint(
    path_or_id: StrPath, device: str = "auto", dtype: str = "auto", *, verify: bool = False
) -> tuple[Model, Tokenizer]:
    """Read a model folder, or a model of the Hugging Face hub.

    Args:
        path_or_id: a folder in the Hugging Face layout, such as a `pretrain` stage's, or a hub id `owner/name`.
        device: `auto`, `cpu`, `cuda`, `mps` …
        dtype: `auto` keeps the saved dtype (but widens 16-bit floats to float32 where the device has no hardware
            for them); or `float32`, `bfloat16`, `float16`.
        verify: compare the contents of the model's files with the manifest, not only their sizes; reads them twice.

    Returns:
        The model in evaluation mode, and its tokenizer.

    Raises:
        CheckpointError: the folder is missing, unfinished, damaged, of an unsupported kind, or does not match.
    """
    folder = locate(path_or_id)
    model = load_model(folder, device, dtype, verify=verify)
    try:
        tokenizer = Tokenizer.load(folder)
    except InputError as error:
        raise CheckpointError(error.cause, where=error.where or folder, remedy=_COPY_FOLDER) from error
    check_vocabulary(model, tokenizer, folder)
    return model, tokenizer


def load_decoder(
    path_or_id: StrPath, device: str = "auto", dtype: str = "auto", *, verify: bool = False
) -> tuple[Decoder, Tokenizer]:
    """`load_checkpoint` for what needs a model that continues text; arguments and errors as there.

    Raises:
        CheckpointError: also when the model is of another kind, such as an encoder.
    """
    model, tokenizer = load_checkpoint(path_or_id, device, dtype, verify=verify)
    if not isinstance(model, Decoder):
        raise CheckpointError(
            f"a {model.config.model_type} model ({type(model).__name__}), which does not continue text",
            where=path_or_id,
            remedy="use a decoder, such as a llama, qwen3 or gpt2 model",
        )
    return model, tokenizer


def load_model(path_or_id: StrPath, device: str = "auto", dtype: str = "auto", *, verify: bool = False) -> Model:
    """The model of `load_checkpoint` alone, for folders without a tokenizer."""
    folder = locate(path_or_id)
    check_folder(folder, verify=verify)
    hf = read_hf_config(folder)
    try:
        family = family_named(hf.get("model_type"))
        build = _architecture(family, hf)
        config = family.from_hf(hf)
    except InkstoneError as error:
        raise CheckpointError(error.cause, where=folder / CONFIG, remedy=error.remedy or _COPY_FOLDER) from error
    files = weight_files(folder)
    with _NoInitialization():
        model = build(family.for_file(config, files))
    _load_weights(model, family, files, folder, resolve_device(device), dtype)
    return model.eval()


def _architecture(family: ModelFamily, hf: HFConfig) -> Callable[[ModelConfig], Model]:
    """What builds the model that `architectures` of config.json names; the family's first where it names none.

    A bare backbone (`LlamaModel`) counts as the family's first as well.
    """
    named = hf.get("architectures") or [next(iter(family.architectures))]
    name = named[0] if isinstance(named, list) else named
    if name in family.architectures:
        return family.architectures[name]
    if isinstance(name, str) and name.endswith("Model") and not name.endswith("LMHeadModel"):
        return next(iter(family.architectures.values()))
    raise ConfigError(
        f"architecture {name!r} is not supported",
        remedy=f"use a {family.model_type} model that is a {' or a '.join(family.architectures)}",
    )


def check_folder(folder: Path, *, verify: bool = False) -> None:
    """Refuse what is no finished model folder, saying what it is.

    Raises:
        CheckpointError: a file, a run folder, an unfinished stage, or files that differ from the manifest.
    """
    if not folder.is_dir():
        raise CheckpointError("a file, not a model folder", where=folder, remedy=f"give the folder that holds {CONFIG}")
    if has_manifest(folder):
        _check_manifest(folder, contents=verify)
    elif (folder / STATE).is_file():
        raise CheckpointError(
            f"unfinished: the stage that writes it stopped before {MANIFEST}",
            where=folder,
            remedy="run the same command again; it goes on where it stopped",
        )
    if not (folder / CONFIG).is_file():
        models = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))
        if models:
            raise CheckpointError(
                "a run folder, not a model folder", where=folder, remedy=f"give {folder / models[-1]}"
            )
        raise CheckpointError(f"{CONFIG} is missing", where=folder, remedy="give a model folder")


def _check_manifest(folder: Path, *, contents: bool) -> None:
    """Compare the files of the model, not those that only its stage needs and a copy may lack."""
    manifest = read_manifest(folder)
    outputs = {
        name: output
        for name, output in manifest.outputs.items()
        if "/" not in name and any(fnmatch(name, pattern) for pattern in FILES)
    }
    part = manifest.model_copy(update={"outputs": outputs, "digest": digest_outputs(outputs)})
    verify_manifest(folder, part, contents=contents)


def read_hf_config(folder: Path) -> Mapping[str, Any]:
    """config.json of a model folder.

    Raises:
        CheckpointError: it is malformed, or asks for code to be run (`auto_map`).
    """
    try:
        hf = read_json(folder / CONFIG)
    except InkstoneError as error:
        raise CheckpointError(error.cause, where=error.where, remedy=_COPY_FOLDER) from error
    if not isinstance(hf, dict):
        raise CheckpointError("expected a JSON object", where=folder / CONFIG, remedy=_COPY_FOLDER)
    if "auto_map" in hf:
        raise CheckpointError(
            "auto_map: this model needs code of its own, which Inkstone never runs",
            where=folder / CONFIG,
            remedy="use a model of a supported family",
        )
    return hf


def _load_weights(
    model: Model, family: ModelFamily, files: Mapping[str, Path], folder: Path, device: torch.device, dtype: str
) -> None:
    """Fill a model's parameters from the folder, one tensor at a time."""
    parameters = dict(model.named_parameters())
    stored_names = [name for name in files if not name.endswith(_COMPUTED)]
    names = family.parameter_names(stored_names, {*parameters, *model.tied_weights})
    stored = {name: tensor for tensor, name in names.items()}
    tied = {alias: name for alias, name in model.tied_weights.items() if alias in stored}
    _check_names(folder, set(parameters), set(stored) - set(tied))
    for file in sorted({files[tensor] for tensor in names}):
        with open_safetensors(file) as tensors:
            for name in sorted(name for name in parameters if files[stored[name]] == file):
                shape = tuple(tensors.get_slice(stored[name]).get_shape())
                _check_shape(file, name, shape, tuple(parameters[name].shape))
                parameters[name].data = _placed(tensors.get_tensor(stored[name]), device, dtype)
    for alias, name in tied.items():
        _check_tied(model, files[stored[alias]], stored[alias], name)
    model.to(device)


def _placed(tensor: Tensor, device: torch.device, dtype: str) -> Tensor:
    """A copy of a memory-mapped tensor on the device: never a view, so that the file may be replaced meanwhile."""
    if dtype != "auto":
        target = resolve_dtype(dtype, device)
    elif tensor.dtype in (torch.bfloat16, torch.float16):
        slow = device.type == "cpu" and (tensor.dtype, resolve_dtype("auto", device)) != (torch.bfloat16,) * 2
        target = torch.float32 if slow else tensor.dtype
    else:
        target = tensor.dtype
    return tensor.to(device=device, dtype=target, copy=True)


def _check_names(folder: Path, expected: set[str], found: set[str]) -> None:
    for cause, names in (("missing", expected - found), ("unexpected", found - expected)):
        if names:
            listing = ", ".join(sorted(names)[:3]) + (", …" if len(names) > 3 else "")
            raise CheckpointError(
                f"{len(names)} {cause} weight{'s' * (len(names) > 1)} for this {CONFIG}: {listing}",
                where=folder,
                remedy=f"the weights and {CONFIG} do not belong together; copy the model folder again",
            )


def _check_shape(file: Path, name: str, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if found != expected:
        raise CheckpointError(
            f"{name} has shape {list(found)}, {CONFIG} asks for {list(expected)}",
            where=file,
            remedy=f"the weights and {CONFIG} do not belong together; copy the model folder again",
        )


def _check_tied(model: Model, file: Path, alias: str, name: str) -> None:
    """A tied checkpoint may repeat a matrix under its other name; leaving out another matrix would be a loss."""
    with open_safetensors(file) as tensors:
        repeated = tensors.get_tensor(alias)
    kept = model.get_parameter(name).detach()
    if not torch.equal(repeated.to(kept), kept):
        raise CheckpointError(
            f"{CONFIG} ties {alias} to {name}, but the file holds another matrix for it",
            where=file,
            remedy=f"set tie_word_embeddings to false in {CONFIG}",
        )


class _NoInitialization(TorchFunctionMode):
    """Leaves new parameters uninitialized: their values are about to be read."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)
