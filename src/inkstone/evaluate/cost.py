"""What measuring a model takes: the stage itself, run on a little of its data in a process of its own."""

import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from inkstone.core.apart import ApartError, run_apart

if TYPE_CHECKING:
    from inkstone.evaluate.benchmark_config import BenchmarkConfig
    from inkstone.evaluate.stages import EvaluateConfig

_EXAMPLES = (16, 64)
_TOKENS = (5_000, 20_000)
_BYTES_PER_TOKEN = 3
"""About; it counts only where there is less text than `max_tokens`."""
_NO_BASELINES: Mapping[str, Mapping[str, Any]] = {
    "evaluate": {"ngram_train_bytes": 0, "xz_train_bytes": 0},
    "benchmark": {"baselines": ["none"]},
}
"""Those that learn do so once, however much there is to measure on."""


class Cost(NamedTuple):
    """Of one run."""

    seconds: float
    disk_bytes: int
    memory_bytes: int
    """The most so far."""


def plan_benchmark(config: "BenchmarkConfig", inputs: Mapping[str, Path]) -> dict[str, Any]:
    """Memory, disk and time of a benchmark, from those of a few examples.

    Raises:
        InkstoneError: model and examples cannot be read, or do not fit together.
    """
    from inkstone.evaluate.benchmark import open_material

    subject, material = open_material(config, inputs)
    notes = {"examples": f"{len(material.examples):,} of the split {material.split}"}
    if material.task.decoding and not any(weight.any() for weight in subject.model.parameters()):
        return {**notes, "time": "not known before the model is trained: it depends on how much it writes"}
    return {**_extrapolated("benchmark", config, inputs, "limit", _EXAMPLES, len(material.examples)), **notes}


def plan_evaluate(config: "EvaluateConfig", inputs: Mapping[str, Path]) -> dict[str, Any]:
    """Memory, disk and time of an evaluation, from those of a few tokens.

    Raises:
        InkstoneError: there is no text to evaluate on.
    """
    from inkstone.evaluate.held_out import open_text

    corpus = open_text(inputs["corpus"])
    tokens = min(config.max_tokens, max(_TOKENS[0], corpus.num_bytes(config.split) // _BYTES_PER_TOKEN))
    return _extrapolated("evaluate", config, inputs, "max_tokens", _TOKENS, tokens)


def _extrapolated(
    stage: str, config: Any, inputs: Mapping[str, Path], setting: str, amounts: tuple[int, int], total: int
) -> dict[str, Any]:
    """The cost of `total`: that of a little, and on from there by the slope between little and more."""
    little, more = (min(amount, total) for amount in amounts)
    bare = _NO_BASELINES[stage]
    job = {
        "stage": stage,
        "config": config.model_dump(mode="json", exclude_defaults=True),
        "inputs": {name: str(path) for name, path in inputs.items()},
        "changes": [{setting: little, **bare}, {setting: more, **bare}, {setting: little}],
    }
    try:
        low, high, base = (Cost(*values) for values in run_apart(__name__, job))
    except ApartError as error:
        return {"not measured": str(error)}
    further = (total - little) / max(1, more - little)
    return {
        "seconds": base.seconds + further * max(0.0, high.seconds - low.seconds),
        "disk_bytes": round(base.disk_bytes + further * max(0, high.disk_bytes - low.disk_bytes)),
        "memory_bytes": base.memory_bytes,
    }


def main() -> None:
    """Read a job from stdin, and write what its runs took to stdout."""
    from inkstone.core.config import parse_config
    from inkstone.core.device import peak_rss_bytes
    from inkstone.core.progress import set_quiet
    from inkstone.core.registry import lookup
    from inkstone.core.stage import Stage

    job = json.load(sys.stdin)
    set_quiet(True)
    stage: Stage[Any] = lookup("stages", job["stage"])
    inputs = {name: Path(path) for name, path in job["inputs"].items()}
    costs = []
    for changes in job["changes"]:
        config = parse_config(stage.config, {**job["config"], **changes}, where=stage.name)
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            stage.run(config, inputs, Path(folder))
            seconds = time.perf_counter() - began
            disk = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
        costs.append(Cost(seconds, disk, peak_rss_bytes()))
    print(json.dumps(costs))


if __name__ == "__main__":
    main()
