"""Generation beside what users would otherwise run, interleaved in one run.

    python benchmarks/engine.py [--models gpt2-124m …] [--rounds 5] [--folder DIR] [--only "inkstone int8" …]

Contenders: this package's engine, llama.cpp, OpenVINO GenAI, `transformers` and CTranslate2; `engine-peers.txt` says
which versions, and how they are installed. All compute the same random weights, greedy, a fixed number of tokens, with
two threads. Each is a process of its own, and they take turns. Three kinds of work: a prompt of 512 tokens is read; 128
tokens are written after 16; 16 streams write 128 tokens each after 128.
"""

import argparse
import importlib.util
import statistics
import tempfile
from pathlib import Path

import torch

import engine_models
import interleave
from engine_peers import THREADS, Work, contenders

WORKS = {"read": Work(1, 512, 1), "alone": Work(1, 16, 128), "together": Work(16, 128, 128)}
HEADS = {
    "read": "prompt of 512, tokens/s, of the peak",
    "alone": "alone, tokens/s, of the bandwidth",
    "together": "16 streams, tokens/s",
}
BYTES = {
    "float32": 4,
    "f32": 4,
    "bfloat16": 2,
    "BF16": 2,
    "int8": 1,
    "Q8_0": 34 / 32,
    "int4": 0.53,
    "Q4_0": 18 / 32,
}
"""Of a weight, scales included."""
MODULES = {
    "inkstone": "inkstone",
    "llama.cpp": "llama_cpp",
    "OpenVINO": "openvino_genai",
    "transformers": "transformers",
    "CTranslate2": "ctranslate2",
}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="+", choices=engine_models.MODELS, default=list(engine_models.MODELS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to keep the models; a temporary folder by default")
    parser.add_argument("--only", nargs="+", help="contenders")
    parser.add_argument("--works", nargs="+", choices=WORKS, default=list(WORKS))
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    from inkstone.core.limits import read_bandwidth

    limits = {
        "bandwidth": read_bandwidth(torch.device("cpu")),
        "float32": interleave.matrix_peak(torch.float32),
        "int8": interleave.matrix_peak(torch.int8),
    }
    print(f"{interleave.machine_line()}; medians of {arguments.rounds} rounds (least to most)")
    print(
        f"reads {limits['bandwidth'] / 1e9:.1f} GB/s, multiplies {limits['float32'] / 1e12:.2f} TFLOP/s in float32 and "
        f"{limits['int8'] / 1e12:.2f} TOP/s in int8 (the best of torch's own)\n"
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in arguments.models:
            engine_models.make_model(name, folder)
            measure(name, folder, arguments, limits)


def measure(name: str, folder: Path, arguments: argparse.Namespace, limits: dict[str, float]) -> None:
    """Print the table of one model."""
    only, works = arguments.only, {kind: WORKS[kind] for kind in arguments.works}
    built = {
        tool: build
        for tool, build in contenders(name, folder).items()
        if importlib.util.find_spec(MODULES[tool.split()[0].rstrip(",")]) and (only is None or tool in only)
    }
    results = interleave.turns(built, list(works.values()), arguments.rounds)
    print(f"| {name} | {' | '.join(HEADS[kind] for kind in works)} | ready, s | peak, MB |")
    print(f"|---|{'---:|' * (len(works) + 2)}")
    for tool, result in results.items():
        cells = []
        for (kind, work), seconds in zip(works.items(), result.seconds, strict=True):
            speeds = [tokens_of(work) / each for each in seconds]
            share = of_limit(name, tool, kind, statistics.median(speeds), limits)
            cells.append(spread(speeds) + ("" if share is None else f" {share:.0%}"))
        cells += [f"{result.build_s:.1f}", f"{result.peak_bytes / 1e6:.0f}"]
        print(f"| {tool} | {' | '.join(cells)} |", flush=True)
    print()
    for index, kind in enumerate(works):
        compare(kind, {tool: result.seconds[index] for tool, result in results.items()})
    print(flush=True)


def of_limit(name: str, tool: str, kind: str, speed: float, limits: dict[str, float]) -> float | None:
    """The share of what the machine could do at most: multiply where a prompt is read, read weights for one stream."""
    in_layers, in_head = matrix_weights(name)
    format_name = tool.rsplit(maxsplit=1)[-1]
    if kind == "read":
        peak = limits["float32" if format_name in ("float32", "f32", "bfloat16", "BF16") else "int8"]
        return speed * 2 * in_layers / peak
    if kind == "alone":
        return speed * (in_layers + in_head) * BYTES[format_name] / limits["bandwidth"]
    return None


def compare(kind: str, seconds: dict[str, list[float]]) -> None:
    """Print how many times faster ours is than the best of the others, and than llama.cpp at the same bits."""
    ours = {tool: each for tool, each in seconds.items() if tool.startswith("inkstone")}
    theirs = {tool: each for tool, each in seconds.items() if tool not in ours}
    if not ours or not theirs:
        return
    own, other = (min(some, key=lambda tool: statistics.median(some[tool])) for some in (ours, theirs))
    print(f"{kind}: {own} is {interleave.ratio(theirs[other], ours[own])} times as fast as {other}")
    for own, other in (("inkstone int8", "llama.cpp Q8_0"), ("inkstone int4", "llama.cpp Q4_0")):
        if own in ours and other in theirs:
            print(f"{kind}: {own} is {interleave.ratio(theirs[other], ours[own])} times as fast as {other}")


def tokens_of(work: Work) -> int:
    """What is counted: tokens that are written, or read where only one is."""
    return work.streams * (work.prompt_tokens if work.new_tokens == 1 else work.new_tokens)


def matrix_weights(name: str) -> tuple[int, int]:
    """Weights that a token is multiplied with in the layers; and in the output layer, which only some need."""
    keys, shape = engine_models.MODELS[name], engine_models.shape_of(engine_models.MODELS[name])
    head_dim = shape.width // shape.heads
    attention = shape.width * head_dim * (2 * shape.heads + 2 * shape.kv_heads)
    inner = (2 if keys["model_type"] == "gpt2" else 3) * shape.width * shape.inner
    return shape.layers * (attention + inner), keys["vocab_size"] * shape.width


def spread(values: list[float]) -> str:
    """Median (least to most)."""
    digits = 0 if statistics.median(values) >= 100 else 1
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


if __name__ == "__main__":
    main()
