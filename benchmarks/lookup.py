"""What guessing by prompt look-up brings: texts that copy much of what they were given, one after the other.

    python benchmarks/lookup.py MODEL EXAMPLES [--examples 64] [--rounds 3]

MODEL was taught the pairs of EXAMPLES (such as the folders `finetune` and `examples` of a run of
`recipes/code-translate.yaml`), whose test sources it answers greedily, alone, with guesses and without, by turns. The
texts must be the same.
"""

import argparse
import itertools
import json
import statistics
import time
from pathlib import Path

import interleave


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("examples", type=Path)
    parser.add_argument("--examples", dest="count", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    from inkstone.checkpoint import load_checkpoint
    from inkstone.checkpoint.save import stop_ids
    from inkstone.engine.config import EngineConfig
    from inkstone.engine.offline import complete
    from inkstone.engine.open import open_engine
    from inkstone.engine.request import Request
    from inkstone.nn.models.base import Decoder, EncoderDecoder
    from inkstone.nn.sampling_params import SamplingParams
    from inkstone.tokenizer.taught import encode_source

    model, tokenizer = load_checkpoint(arguments.model, "cpu", "auto")
    assert isinstance(model, Decoder | EncoderDecoder)
    params = SamplingParams(max_new_tokens=256, temperature=0)
    requests = []
    with open(arguments.examples / "test.jsonl", encoding="utf-8") as file:
        for line in file:
            source = json.loads(line)["source"]
            if isinstance(model, EncoderDecoder):
                ids = tokenizer.encode(source)
                request = Request([model.decoder_start_token_id], params, source_ids=ids)
            else:
                ids = encode_source(tokenizer, source)
                request = Request(ids, params)
            if len(ids) <= model.context - params.max_new_tokens:
                requests.append(request)
    requests = requests[: arguments.count]
    engines = {
        speculate: open_engine(
            model, EngineConfig.model_validate({"speculate": speculate}), stop_ids=tuple(stop_ids(tokenizer, model))
        )
        for speculate in ("off", "prompt")
    }
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    written: dict[str, list[list[int]]] = {}
    for _, (name, engine) in itertools.product(range(arguments.rounds + 1), engines.items()):
        began = time.perf_counter()
        written[name] = [complete(engine, [request])[0][0].token_ids for request in requests]
        seconds[name].append(time.perf_counter() - began)
    assert written["off"] == written["prompt"], "a guess has changed a text"
    num_tokens = sum(map(len, written["off"]))
    print(f"{interleave.machine_line()}; medians of {arguments.rounds} rounds")
    print(f"{len(requests)} texts, {num_tokens:,} tokens\n")
    for name, times in seconds.items():
        print(f"{name}: {num_tokens / statistics.median(times[1:]):,.0f} tokens/s")
    metrics = engines["prompt"].metrics
    per_step = metrics.new_tokens / metrics.num_steps
    print(f"{metrics.acceptance:.0%} of the guesses were accepted, {per_step:.2f} tokens a step")
    print(f"with guesses {interleave.ratio(seconds['off'][1:], seconds['prompt'][1:])} times as fast")


if __name__ == "__main__":
    main()
