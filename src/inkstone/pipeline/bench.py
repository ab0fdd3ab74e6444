"""`inkstone bench`: how fast a model folder is computed on this machine."""

import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from inkstone.core.errors import ConfigError
from inkstone.core.progress import size
from inkstone.engine.config import EngineConfig
from inkstone.pipeline.show import print_json, print_table

if TYPE_CHECKING:
    from inkstone.engine.measure import Work
    from inkstone.engine.runner import Runner
    from inkstone.nn.models.base import Decoder

_DEFAULTS = EngineConfig()


def command(
    model: str,
    /,
    *,
    engine: Annotated[EngineConfig, Parameter(name="*")] = _DEFAULTS,
    prompt_tokens: int = 512,
    new_tokens: int = 128,
    streams: int = 16,
    rounds: int = 3,
    device: str = "auto",
    dtype: str = "auto",
    json: bool = False,
) -> None:
    """Measure a model folder on this machine: reading a prompt, writing alone, writing many texts at once.

    Args:
        model: Model folder, such as runs/quickstart/pretrain, or a Hugging Face hub id, owner/name.
        engine: How the model is computed.
        prompt_tokens: Tokens of the prompt that is read; at most three quarters of the model's context.
        new_tokens: Tokens that are written after a short prompt; at most a quarter of the context.
        streams: Texts that are written at once, each after a prompt of `new_tokens`.
        rounds: Times that everything is measured, after one that is not counted.
        device: auto, cpu, cuda, cuda:N or mps.
        dtype: auto (as saved), float32, bfloat16 or float16.
        json: Print the numbers as JSON.
    """
    for name, value in (("prompt_tokens", prompt_tokens), ("new_tokens", new_tokens), ("streams", streams)):
        if value < 1:
            raise ConfigError(f"{value} is not possible", where=name, remedy="give at least 1")
    if rounds < 1:
        raise ConfigError(f"{rounds} rounds measure nothing", where="rounds", remedy="give at least 1")

    from inkstone.checkpoint import load_decoder
    from inkstone.engine.open import no_native_step

    began = time.perf_counter()
    decoder, _ = load_decoder(model, device, dtype)
    loaded = time.perf_counter()
    report = _measure(decoder, engine, _works(decoder.context, prompt_tokens, new_tokens, streams), rounds)
    report |= {
        "model": model,
        "parameters": decoder.num_parameters(),
        "not_native_because": no_native_step(decoder),
        "load_s": loaded - began,
    }
    if json:
        print_json(report)
    else:
        _print(report)


def _works(context: int, prompt_tokens: int, new_tokens: int, streams: int) -> "dict[str, Work]":
    from inkstone.engine.measure import Work

    prompt, new = min(prompt_tokens, 3 * context // 4), min(new_tokens, context // 4)
    return {"read": Work(1, prompt, 1), "alone": Work(1, min(16, new), new), "together": Work(streams, new, new)}


def _measure(decoder: "Decoder", config: EngineConfig, works: "dict[str, Work]", rounds: int) -> dict[str, Any]:
    from inkstone.core.device import peak_rss_bytes
    from inkstone.core.limits import peak_flops, read_bandwidth
    from inkstone.engine.engine import Engine
    from inkstone.engine.measure import measure
    from inkstone.engine.open import new_runner

    began = time.perf_counter()
    runner = new_runner(decoder, config)
    opened_s = time.perf_counter() - began
    engine = Engine(runner, max_running=config.max_running, max_step_tokens=config.max_step_tokens, prefix_reuse=False)
    timings: dict[str, list[Any]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            timing = measure(engine, work, runner.input_vocab_size, number)
            if number:
                timings[name].append(timing)
    memory = peak_rss_bytes()
    bandwidth, peak = read_bandwidth(decoder.device), peak_flops(decoder.device, decoder.dtype)
    reading = _spread(timings["read"], lambda each: each.prompt_speed(works["read"]))
    alone = _spread(timings["alone"], lambda each: each.decode_speed)
    return {
        "open_s": opened_s,
        "weight_bytes": runner.weight_bytes,
        "peak_memory_bytes": memory,
        "work": {name: work._asdict() for name, work in works.items()},
        "rounds": rounds,
        "read_tokens_per_s": reading,
        "alone_tokens_per_s": alone,
        "together_tokens_per_s": _spread(timings["together"], lambda each: each.output_speed(works["together"])),
        "together_first_token_s": _spread(timings["together"], lambda each: each.first_token_s),
        "read_of_peak": reading["median"] * 2 * _num_weights(runner, decoder) / peak,
        "alone_of_bandwidth": alone["median"] * runner.weight_bytes / bandwidth,
        "peak_flops": peak,
        "bandwidth_bytes_per_s": bandwidth,
    }


def _num_weights(runner: "Runner", decoder: "Decoder") -> int:
    """Of the matrices that every token of a prompt is multiplied with: the output layer reads one of them."""
    from inkstone.engine.torch_runner import matrix_bytes

    return matrix_bytes(decoder, 8) - decoder.output_weight.numel()


def _spread(timings: list[Any], value: Callable[[Any], float]) -> dict[str, float]:
    values = [value(timing) for timing in timings]
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def _print(report: dict[str, Any]) -> None:
    work, reason = report["work"], report["not_native_because"]

    def speed(name: str) -> str:
        each = report[name]
        return f"{each['median']:,.0f} ({each['least']:,.0f} to {each['most']:,.0f})"

    together, first = work["together"], report["together_first_token_s"]["median"]
    texts = f"{together['num_streams']} texts, {together['prompt_tokens']} + {together['new_tokens']} tokens each"
    of_peak = f"{report['read_of_peak']:.0%} of the measured peak"
    rows = [
        [f"read a prompt of {work['read']['prompt_tokens']}", speed("read_tokens_per_s"), of_peak],
        ["write alone", speed("alone_tokens_per_s"), f"{report['alone_of_bandwidth']:.0%} of the read bandwidth"],
        [f"write {texts}", speed("together_tokens_per_s"), f"first token after {first:.2f} s"],
    ]
    print_table(f"{report['model']}, tokens a second", ("", "median", ""), rows)
    print(
        f"{report['parameters']:,} parameters, matrices of {size(report['weight_bytes'])}; "
        f"loaded in {report['load_s']:.2f} s, ready after {report['open_s']:.2f} s more; "
        f"peak memory {size(report['peak_memory_bytes'])}"
    )
    print("Computed by native steps." if reason is None else f"Computed by PyTorch: no native steps for {reason}.")
