"""Very many requests through one engine."""

import random

import psutil

from inkstone.engine.engine import Engine
from inkstone.engine.request import Output, Request
from inkstone.nn.sampling_params import SamplingParams
from tests.engine.models import VOCAB, native_runner, torch_runner

NUM_REQUESTS = 10_000


def test_ten_thousand_requests_none_lost_none_stuck_and_memory_stays_flat() -> None:
    drawn = random.Random(0)
    runner = native_runner("llama", 60) or torch_runner("llama", 240)
    engine = Engine(runner, stop_ids=(3, 11), max_running=24, max_step_tokens=128)
    open_requests: dict[int, int] = {}
    outcomes = {"ended": 0, "aborted": 0}
    memory: dict[int, int] = {}
    asked = 0
    while asked < NUM_REQUESTS or engine.has_work:
        while asked < NUM_REQUESTS and len(open_requests) < 60:
            asked += 1
            length = drawn.randint(1, 40)
            prompt = [drawn.randrange(VOCAB) for _ in range(length)]
            params = SamplingParams(
                max_new_tokens=drawn.randint(1, 12),
                temperature=drawn.choice([0.0, 1.0]),
                seed=asked,
                num_return_sequences=drawn.choice([1, 1, 1, 2]),
            )
            number = engine.add_request(Request(prompt, params, priority=drawn.randrange(2)))
            open_requests[number] = params.num_return_sequences
        outputs: list[Output] = engine.step()
        for output in outputs:
            if output.finish_reason:
                open_requests[output.request_id] -= 1
                if open_requests[output.request_id] == 0:
                    del open_requests[output.request_id]
                    outcomes["ended"] += 1
        if open_requests and drawn.random() < 0.3:
            victim = drawn.choice(list(open_requests))
            engine.abort(victim)
            del open_requests[victim]
            outcomes["aborted"] += 1
        memory[asked] = psutil.Process().memory_info().rss
    assert sum(outcomes.values()) == NUM_REQUESTS
    assert min(outcomes.values()) > 500
    assert not open_requests
    assert engine.num_free_blocks == runner.num_blocks
    warm = max(memory[asked] for asked in memory if asked < NUM_REQUESTS // 4)
    assert memory[NUM_REQUESTS] - warm < 16_000_000
