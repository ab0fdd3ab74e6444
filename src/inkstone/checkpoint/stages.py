"""The stage that turns a model of any known layout into a model folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from inkstone.core.config import Config
from inkstone.core.stage import Summary, stage


class ConvertConfig(Config):
    """How the new folder is written."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the saved weights; auto keeps them as they are."""
    max_shard_size: str = "5GB"
    """Largest weights file, such as 500MB; larger weights are written as several."""


@stage("convert", inputs=("model",))
def convert(config: ConvertConfig, inputs: Mapping[str, Path], out: Path) -> Summary:
    """A model of another program, or a model folder, as a new model folder."""
    from inkstone.checkpoint.importers import import_model
    from inkstone.checkpoint.save import dtype_name, save_checkpoint
    from inkstone.checkpoint.weights import parse_size
    from inkstone.core.device import resolve_dtype

    parse_size(config.max_shard_size)
    model, tokenizer, layout = import_model(inputs["model"])
    dtype = model.dtype if config.dtype == "auto" else resolve_dtype(config.dtype)
    save_checkpoint(out, model, tokenizer, dtype=dtype, max_shard_size=config.max_shard_size)
    return {
        "from": layout,
        "family": model.config.model_type,
        "parameters": model.num_parameters(),
        "dtype": dtype_name(dtype),
        "vocabulary": tokenizer.vocab_size,
    }
