"""How fast an engine is, by work of a fixed size."""

import random
import time
from typing import NamedTuple

from inkstone.engine.engine import Engine
from inkstone.engine.request import Request
from inkstone.nn.sampling_params import SamplingParams


class Work(NamedTuple):
    """Prompts that come at the same time, of random tokens, none with another's beginning."""

    num_streams: int
    prompt_tokens: int
    new_tokens: int
    """Of each, greedy, whatever the stop tokens."""


class Timing(NamedTuple):
    """One run."""

    seconds: float
    """From the first request to the last token."""
    first_token_s: float
    """To the first token, on average."""
    decode_s: float
    """From the first token of the last stream to the last token of all."""
    decoded_tokens: int
    """In that time."""

    def prompt_speed(self, work: Work) -> float:
        """Tokens of prompts a second, for work of one new token."""
        return work.num_streams * work.prompt_tokens / self.seconds

    def output_speed(self, work: Work) -> float:
        """New tokens a second, end to end."""
        return work.num_streams * work.new_tokens / self.seconds

    @property
    def decode_speed(self) -> float:
        """New tokens a second, once all prompts are read."""
        return self.decoded_tokens / self.decode_s if self.decoded_tokens else 0.0


def measure(engine: Engine, work: Work, vocab_size: int, seed: int = 0) -> Timing:
    """Do the work once; nothing else may be running."""
    drawn = random.Random(seed)
    params = SamplingParams(max_new_tokens=work.new_tokens, temperature=0, ignore_eos=True)
    prompts = [[drawn.randrange(vocab_size) for _ in range(work.prompt_tokens)] for _ in range(work.num_streams)]
    began = time.perf_counter()
    for prompt in prompts:
        engine.add_request(Request(prompt, params))
    first_token_s: list[float] = []
    all_began, decoded = began, 0
    while engine.has_work:
        outputs = engine.step()
        if len(first_token_s) == work.num_streams:
            decoded += sum(len(output.token_ids) for output in outputs)
        elif engine.metrics.first_token_s:
            first_token_s += engine.metrics.first_token_s
            all_began = time.perf_counter()
    ended = time.perf_counter()
    mean = sum(first_token_s) / len(first_token_s)
    return Timing(ended - began, mean, ended - all_began, decoded)
