"""Completions of a model by the engine that opens for it here."""

from collections.abc import Collection, Sequence

from inkstone.engine.completions import Decode
from inkstone.engine.offline import complete
from inkstone.engine.open import open_engine
from inkstone.engine.request import Output, Request
from inkstone.nn.models.base import Decoder
from inkstone.nn.sampling_params import SamplingParams


def generate_batch(
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    params: SamplingParams,
    *,
    stop_ids: Collection[int] = (),
    decode: Decode | None = None,
) -> list[list[Output]]:
    engine = open_engine(model, stop_ids=tuple(stop_ids), decode=decode)
    return complete(engine, [Request(prompt, params) for prompt in prompts])


def generate(
    model: Decoder,
    prompt: Sequence[int],
    params: SamplingParams,
    *,
    stop_ids: Collection[int] = (),
    decode: Decode | None = None,
) -> list[Output]:
    return generate_batch(model, [prompt], params, stop_ids=stop_ids, decode=decode)[0]
