"""The command around the stage `convert`: the model is its first argument."""

from pathlib import Path

from inkstone.core.config import parse_config


def command(
    model: Path,
    /,
    *,
    out: Path,
    dtype: str = "auto",
    max_shard_size: str = "5GB",
    json: bool = False,
) -> None:
    """Turn a model of another program into a model folder.

    Args:
        model: Folder or file of the model: llama2.c (a .bin beside its tok*.bin), or a model folder to write anew.
        out: Folder to write; it gets a manifest.
        dtype: Of the saved weights: auto (as they are), float32, bfloat16 or float16.
        max_shard_size: Largest weights file, such as 500MB; larger weights are written as several.
        json: Print the result as JSON.
    """
    from inkstone.checkpoint.stages import ConvertConfig, convert
    from inkstone.core.stage import execute
    from inkstone.pipeline.runner import StepResult, print_results
    from inkstone.pipeline.show import print_json

    settings = {"dtype": dtype, "max_shard_size": max_shard_size}
    config = parse_config(ConvertConfig, settings, where="inkstone convert")
    result = StepResult("convert", out, execute(convert, config, {"model": model}, out))
    if json:
        print_json(result.to_json())
    else:
        print_results(str(out), [result])
