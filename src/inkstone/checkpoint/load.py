"""Reading a model folder: strict about what it holds, and never running code from it.

Weights that are wanted as they are stored stay in the file: the model's memory is a private map of it, so that
loading takes no time, and no memory beyond the pages in use. Weights to convert or to move to another device are read
in pieces of a few megabytes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from inkstone.checkpoint.adapter_config import ADAPTER_CONFIG
from inkstone.checkpoint.families import HFConfig, ModelFamily, family_named
from inkstone.checkpoint.fill import fill, match_names
from inkstone.checkpoint.hub import FILES, locate
from inkstone.checkpoint.save import CONFIG, GENERATION_CONFIG, check_vocabulary
from inkstone.checkpoint.skeleton import build_skeleton
from inkstone.checkpoint.strict_json import read_json_object
from inkstone.checkpoint.unpack import unpack
from inkstone.checkpoint.weights import Place, find_weights, inside
from inkstone.core.device import resolve_device
from inkstone.core.errors import CheckpointError, ConfigError, InkstoneError, InputError
from inkstone.core.files import StrPath
from inkstone.core.manifest import MANIFEST, STATE, digest_outputs, has_manifest, read_manifest, verify_manifest
from inkstone.core.registry import lookup, names
from inkstone.nn.models.base import Decoder, Model, ModelConfig
from inkstone.tokenizer import Tokenizer

DEPTH_KEYS = ("num_hidden_layers", "n_layer", "num_layers", "encoder_layers", "decoder_layers", "num_decoder_layers")
"""What families call the number of their blocks."""
_MAX_DEPTH = 10_000
_GENERATION_KEYS = (
    "num_beams",
    "max_length",
    "min_length",
    "length_penalty",
    "early_stopping",
    "no_repeat_ngram_size",
    "repetition_penalty",
    "bad_words_ids",
    "forced_bos_token_id",
    "forced_eos_token_id",
)
"""What folders from before generation_config.json say in config.json."""
_COPY_FOLDER = "copy the model folder again, or run the stage that made it again"


def load_checkpoint(
    path_or_id: StrPath,
    device: str = "auto",
    dtype: str = "auto",
    *,
    revision: str | None = None,
    verify: bool = False,
) -> tuple[Model, Tokenizer]:
    """Read a model folder, or a model of the Hugging Face hub.

    Args:
        path_or_id: a folder in the Hugging Face layout, such as a `pretrain` stage's, or a hub id `owner/name`.
        device: `auto`, `cpu`, `cuda`, `mps` …
        dtype: `auto` keeps the saved dtype (but widens 16-bit floats to float32 where the device has no hardware
            for them); or `float32`, `bfloat16`, `float16`.
        revision: branch, tag or commit of a hub model; `owner/name@revision` says the same.
        verify: compare the contents of the model's files with the manifest, not only their sizes; reads them twice.

    Returns:
        The model in evaluation mode, and its tokenizer.

    Raises:
        CheckpointError: the folder is missing, unfinished, damaged, of an unsupported kind, or does not match.
    """
    folder = locate(path_or_id, revision)
    model = load_model(folder, device, dtype, verify=verify)
    try:
        tokenizer = Tokenizer.load(folder)
    except InputError as error:
        raise CheckpointError(error.cause, where=error.where or folder, remedy=_COPY_FOLDER) from error
    except (AttributeError, TypeError, ValueError, LookupError) as error:
        cause = f"a value in the tokenizer's files is of the wrong kind: {error}"
        raise CheckpointError(cause, where=folder, remedy=_COPY_FOLDER) from error
    check_vocabulary(model, tokenizer, folder)
    return model, tokenizer


def load_decoder(
    path_or_id: StrPath,
    device: str = "auto",
    dtype: str = "auto",
    *,
    revision: str | None = None,
    verify: bool = False,
) -> tuple[Decoder, Tokenizer]:
    """`load_checkpoint` for what needs a model that continues text; arguments and errors as there.

    Raises:
        CheckpointError: also when the model is of another kind, such as an encoder.
    """
    model, tokenizer = load_checkpoint(path_or_id, device, dtype, revision=revision, verify=verify)
    if not isinstance(model, Decoder):
        raise CheckpointError(
            f"a {model.config.model_type} model ({type(model).__name__}), which does not continue text",
            where=path_or_id,
            remedy="use a decoder, such as a llama, qwen3 or gpt2 model",
        )
    return model, tokenizer


def load_model(
    path_or_id: StrPath,
    device: str = "auto",
    dtype: str = "auto",
    *,
    revision: str | None = None,
    verify: bool = False,
) -> Model:
    """The model of `load_checkpoint` alone, for folders without a tokenizer."""
    folder = locate(path_or_id, revision)
    outline = read_outline(folder, verify=verify)
    fill(outline.model, outline.names, outline.places, resolve_device(device), dtype)
    outline.model.generation_config = read_generation_config(folder, outline.hf)
    return outline.model.eval()


@dataclass(frozen=True)
class Outline:
    """What a model folder says of itself, its weights not read yet."""

    hf: HFConfig
    """config.json."""
    model: Model
    """Parameters have shapes, but no values."""
    places: Mapping[str, Place]
    """Every tensor of the files."""
    names: Mapping[str, str]
    """Our name of each weight → its name in the files."""


def read_outline(folder: Path, *, verify: bool = False) -> Outline:
    """Read config.json and the headers of the weights, and check that they belong together.

    Raises:
        CheckpointError: as `load_checkpoint` does, but for what only the weights' values show.
    """
    check_folder(folder, verify=verify)
    hf = read_hf_config(folder)
    family, build, config = _blueprint(folder, hf)
    places = unpack(family, find_weights(folder))
    config = family.for_file(config, places)
    num_bytes = sum(place.tensor.num_bytes for place in places.values())
    model = build_skeleton(lambda: build(config), folder / CONFIG, len(places), num_bytes)
    return Outline(hf, model, places, match_names(family, model, places, folder))


def _blueprint(folder: Path, hf: HFConfig) -> tuple[ModelFamily, Callable[[ModelConfig], Model], ModelConfig]:
    """The family, what builds its model, and the config: all that config.json says, checked as far as it goes alone."""
    where = folder / CONFIG
    for key in DEPTH_KEYS:
        if isinstance(depth := hf.get(key), int) and depth > _MAX_DEPTH:
            raise CheckpointError(f"{key} is {depth}, which is absurd", where=where, remedy=_COPY_FOLDER)
    try:
        family = family_named(hf.get("model_type"))
        return family, _architecture(family, hf), family.from_hf(hf)
    except InkstoneError as error:
        raise CheckpointError(error.cause, where=where, remedy=error.remedy or _COPY_FOLDER) from error
    except (AttributeError, TypeError, ValueError, LookupError, ArithmeticError, RuntimeError) as error:
        raise CheckpointError(f"a value is of the wrong kind: {error}", where=where, remedy=_COPY_FOLDER) from error


def _architecture(family: ModelFamily, hf: HFConfig) -> Callable[[ModelConfig], Model]:
    """What builds the model that `architectures` of config.json names; the family's first where it names none.

    A bare backbone (`LlamaModel`) counts as the family's first as well.
    """
    named = hf.get("architectures") or [next(iter(family.architectures))]
    name = named[0] if isinstance(named, list) else named
    if name in family.architectures:
        return family.builder(name, hf)
    if isinstance(name, str) and name.endswith("Model") and not name.endswith("LMHeadModel"):
        return family.builder(next(iter(family.architectures)), hf)
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
        if (folder / ADAPTER_CONFIG).is_file():
            raise CheckpointError(
                "an adapter, not a model",
                where=folder,
                remedy=f"merge it first: inkstone merge --model BASE --adapter {folder} --out MERGED",
            )
        if any(lookup("importers", name).recognizes(folder) for name in names("importers")):
            raise CheckpointError(
                "a model of another program",
                where=folder,
                remedy=f"convert it first: inkstone convert {folder} --out CONVERTED",
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


def read_hf_config(folder: Path) -> HFConfig:
    """config.json of a model folder.

    Raises:
        CheckpointError: it is malformed, asks for code to be run (`auto_map`), or describes quantized weights.
    """
    path = inside(folder, CONFIG)
    hf = read_json_object(path)
    if "auto_map" in hf:
        raise CheckpointError(
            "auto_map: this model needs code of its own, which Inkstone never runs",
            where=path,
            remedy="use a model of a supported family",
        )
    if hf.get("quantization_config") is not None:
        raise CheckpointError(
            "quantization_config: quantized weights are not supported yet",
            where=path,
            remedy="use the model that was quantized, in bfloat16, float16 or float32",
        )
    return hf


def read_generation_config(folder: Path, hf: HFConfig) -> dict[str, Any]:
    """The keys of generation_config.json; where there is no such file, those that older ones have in config.json.

    Raises:
        CheckpointError: it is malformed.
    """
    if not (folder / GENERATION_CONFIG).exists():
        return {key: hf[key] for key in _GENERATION_KEYS if hf.get(key) is not None}
    return read_json_object(inside(folder, GENERATION_CONFIG))
