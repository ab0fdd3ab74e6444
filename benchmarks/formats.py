"""What a weight format costs in quality: perplexity of a model's own held-out text, computed by the engine in each.

    python benchmarks/formats.py MODEL CORPUS [--tokens 100000]

MODEL is a model folder in float32, CORPUS a prepared corpus, whose `valid` split is read in windows of the model's
context. The interval of a change is that of the paired differences between windows (normal approximation).
"""

import argparse
import itertools
import math
import statistics
from collections.abc import Iterator

import interleave


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("corpus")
    parser.add_argument("--tokens", type=int, default=100_000)
    arguments = parser.parse_args()
    from inkstone.checkpoint import load_decoder

    model, tokenizer = load_decoder(arguments.model, "cpu", "float32")
    windows = list(
        itertools.islice(make_windows(arguments.corpus, tokenizer, model.context), arguments.tokens // model.context)
    )
    num_tokens = len(windows) * (model.context - 2)
    print(f"{interleave.machine_line()}; {num_tokens:,} tokens in {len(windows)} windows\n")
    print("| weights | keys and values | perplexity | change |")
    print("|---|---|---:|---:|")
    base: list[float] = []
    for quant, kv_cache in (
        ("float32", "auto"),
        ("bfloat16", "auto"),
        ("int8", "auto"),
        ("int4", "auto"),
        ("float32", "int8"),
        ("int8", "int8"),
    ):
        losses = losses_of(model, windows, quant, kv_cache)
        base = base or losses
        change = [own - other for own, other in zip(losses, base, strict=True)]
        spread = 1.96 * statistics.stdev(change) / math.sqrt(len(change))
        low, middle, high = (math.exp(statistics.mean(change) + side) - 1 for side in (-spread, 0, spread))
        kept = kv_cache if kv_cache != "auto" else "float32" if quant == "float32" else "float16"
        shown = "" if losses is base else f"{middle:+.2%} ({low:+.2%} to {high:+.2%})"
        print(f"| {quant} | {kept} | {math.exp(statistics.mean(losses)):.4f} | {shown} |", flush=True)


def make_windows(corpus: str, tokenizer: object, context: int) -> Iterator[list[int]]:
    """Held-out text, documents one after the other, one token less than the context at a time."""
    from inkstone.data.corpus import Corpus
    from inkstone.tokenizer import Tokenizer

    assert isinstance(tokenizer, Tokenizer)
    ids: list[int] = []
    for text in Corpus(corpus).texts("valid"):
        ids += tokenizer.encode(text)
        while len(ids) >= context - 1:
            yield ids[: context - 1]
            ids = ids[context - 1 :]


def losses_of(model: object, windows: list[list[int]], quant: str, kv_cache: str) -> list[float]:
    """Mean surprise of the tokens of each window but the first, in nats."""
    from inkstone.engine.config import EngineConfig
    from inkstone.engine.offline import complete
    from inkstone.engine.open import open_engine
    from inkstone.engine.request import Request
    from inkstone.nn.models.base import Decoder
    from inkstone.nn.sampling_params import SamplingParams

    assert isinstance(model, Decoder)
    engine = open_engine(model, EngineConfig.model_validate({"quant": quant, "kv_cache": kv_cache, "max_running": 4}))
    params = SamplingParams(max_new_tokens=1, temperature=0, prompt_log_probabilities=0)
    found = complete(engine, [Request(window, params) for window in windows])
    return [-statistics.mean(each.log_probability for each in one.prompt_log_probabilities) for (one,) in found]


if __name__ == "__main__":
    main()
