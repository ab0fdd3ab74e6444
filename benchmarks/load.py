"""Loading a model folder of 500 MB: Inkstone beside `transformers`, time and peak memory.

    python benchmarks/load.py [--rounds 5] [--folder DIR]

Every load runs in a fresh process; imports are done before the clock starts, and told apart. The two take turns. With a
warm page cache the file was read before; cold, its pages are dropped first (posix_fadvise; what other processes hold
stays). Both map the file where the dtype is the stored one, so a first forward pass, which reads every weight, is timed
as well. Peak memory is the growth of the process's resident set from the imports to the end of loading.
"""

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))

NAMES = ("inkstone", "transformers")
CASES = (("float32", "warm"), ("float32", "cold"), ("bfloat16", "warm"))


def main() -> None:
    """Measure and print the table."""
    from interleave import machine_line

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to keep the model; a temporary folder by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        if not (folder / "model.safetensors").is_file():
            make_model(folder)
        print(f"{machine_line()}, transformers {importlib.import_module('transformers').__version__}")
        megabytes = (folder / "model.safetensors").stat().st_size / 1e6
        print(f"A Llama of random weights, {megabytes:.0f} MB in float32; medians of {arguments.rounds} rounds.\n")
        print("| to | page cache | | load, s | with a first pass, s | peak, MB | ÷ weights | import, s |")
        print("|---|---|---|---|---|---|---|---|")
        for dtype, cache in CASES:
            report(dtype, cache, rounds(folder, dtype, cache, arguments.rounds))


def make_model(folder: Path) -> None:
    """Save a random Llama of about 134 million parameters in float32."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12}
    LlamaForCausalLM(LlamaConfig(vocab_size=32_000, **shape)).save_pretrained(folder)


def rounds(folder: Path, dtype: str, cache: str, count: int) -> dict[str, list[dict[str, float]]]:
    """Measurements of every round, the contenders in turn; a first round of each is not counted."""
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in NAMES}
    for number in range(count + 1):
        for name in NAMES:
            if cache == "cold":
                drop_cache(folder)
            command = [sys.executable, __file__, "--load", name, str(folder), dtype]
            result = subprocess.run(command, check=True, capture_output=True, text=True)
            if number:
                measured[name].append(json.loads(result.stdout.splitlines()[-1]))
    return measured


def drop_cache(folder: Path) -> None:
    """Ask the system to forget the weights' pages."""
    descriptor = os.open(folder / "model.safetensors", os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def report(dtype: str, cache: str, measured: dict[str, list[dict[str, float]]]) -> None:
    """Print the rows of one case."""
    from interleave import ratio

    for name, results in measured.items():
        medians = {key: statistics.median(result[key] for result in results) for key in results[0]}
        print(
            f"| {dtype} | {cache} | {name} | {medians['load']:.3f} | {medians['first_pass']:.3f} "
            f"| {medians['peak']:.0f} | {medians['peak'] / medians['weights']:.2f} | {medians['import']:.1f} |"
        )
    for key, label in (("load", "load"), ("first_pass", "with a first pass")):
        ours, theirs = ([result[key] for result in measured[name]] for name in NAMES)
        print(f"| | | transformers ÷ inkstone, {label} | {ratio(theirs, ours)} | | | | |")


def load(name: str, folder: str, dtype: str) -> dict[str, float]:
    """Load in this process: seconds, and megabytes of resident memory beyond what the imports took."""
    started = time.perf_counter()
    loader = LOADERS[name]()
    imported = time.perf_counter()
    baseline = peak_megabytes()
    model = loader(folder, dtype)
    loaded = time.perf_counter()
    peak = peak_megabytes()
    with torch.inference_mode():
        model(torch.arange(32).unsqueeze(0))
    passed = time.perf_counter()
    return {
        "import": imported - started,
        "load": loaded - imported,
        "first_pass": passed - imported,
        "peak": peak - baseline,
        "weights": sum(weight.numel() * weight.element_size() for weight in model.parameters()) / 1e6,
    }


def load_with_inkstone() -> Callable[[str, str], Any]:
    """Import Inkstone; the returned function loads."""
    from inkstone.checkpoint import load_model

    return lambda folder, dtype: load_model(folder, "cpu", dtype)


def load_with_transformers() -> Callable[[str, str], Any]:
    """Import `transformers`; the returned function loads."""
    from transformers import LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    return lambda folder, dtype: LlamaForCausalLM.from_pretrained(folder, dtype=dtype)


def peak_megabytes() -> float:
    """Highest resident memory of this process so far, files' pages included."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6


LOADERS = {"inkstone": load_with_inkstone, "transformers": load_with_transformers}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--load"]:
        print(json.dumps(load(*sys.argv[2:])))
    else:
        main()
