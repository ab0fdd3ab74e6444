"""Whatever comes and goes, every completion is the one that the model gives when it is asked alone and slowly."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from inkstone.engine.engine import Engine
from inkstone.engine.request import Output, Request
from inkstone.engine.runner import Runner
from inkstone.engine.speculate import Drafter, DraftModel, PromptLookup
from inkstone.nn.models.base import EncoderDecoder
from inkstone.nn.sampling_params import SamplingParams
from tests.engine.models import FAMILIES, VOCAB, native_runner, tiny, torch_runner
from tests.engine.naive import naive

STOP_IDS = (3, 11)
tokens = st.integers(4, VOCAB - 1)
# Beginnings that requests share: blocks are found again, and copied where they part.
beginnings = st.sampled_from([[5] * 9, [5, 6, 7, 8, 9, 10, 12, 13, 14], [20, 21, 22, 23], []])


@dataclass(frozen=True)
class Arrival:
    """A request, the step before which it comes, and the one after which it is broken off."""

    step: int
    request: Request
    abort_after: int | None


@st.composite
def arrivals(draw: st.DrawFn, family: str) -> Arrival:
    is_target = isinstance(tiny(family), EncoderDecoder)
    source_ids = draw(st.lists(tokens, min_size=1, max_size=12)) if is_target else []
    prompt_ids = [1] if is_target else [*draw(beginnings), *draw(st.lists(tokens, min_size=1, max_size=14))]
    params = SamplingParams(
        max_new_tokens=draw(st.integers(1, 12)),
        temperature=draw(st.sampled_from([0.0, 0.0, 0.0, 1.0])),
        seed=draw(st.integers(0, 9)),
        num_return_sequences=draw(st.sampled_from([1, 1, 1, 3])),
        ignore_eos=draw(st.booleans()),
    )
    request = Request(
        prompt_ids, params, source_ids, priority=draw(st.integers(0, 1)), tenant=draw(st.sampled_from(["", "other"]))
    )
    return Arrival(draw(st.integers(0, 12)), request, draw(st.sampled_from([None, None, None, 0, 1, 3])))


@st.composite
def workloads(draw: st.DrawFn, families: Sequence[str] = sorted(FAMILIES)) -> tuple[str, list[Arrival], dict[str, int]]:
    family = draw(st.sampled_from(families))
    shape = {
        "num_blocks": draw(st.integers(9, 24)),
        "max_running": draw(st.integers(1, 6)),
        "max_step_tokens": draw(st.sampled_from([1, 3, 8, 64])),
        "drafter": draw(st.sampled_from([0, 1, 2])),
    }
    return family, draw(st.lists(arrivals(family), min_size=1, max_size=7)), shape


def run(engine: Engine, arrivals: list[Arrival]) -> dict[int, list[Output]]:
    """Feed the engine; returns the outputs of each arrival, by its place in the list."""
    waiting = sorted(range(len(arrivals)), key=lambda place: arrivals[place].step)
    numbers: dict[int, int] = {}
    outputs: dict[int, list[Output]] = defaultdict(list)
    aborts: dict[int, list[int]] = defaultdict(list)
    step = 0
    while waiting or engine.has_work:
        while waiting and arrivals[waiting[0]].step <= step:
            place = waiting.pop(0)
            number = engine.add_request(arrivals[place].request)
            numbers[number] = place
            if (after := arrivals[place].abort_after) is not None:
                aborts[step + after].append(number)
        for output in engine.step():
            outputs[numbers[output.request_id]].append(output)
        for number in aborts.pop(step, []):
            engine.abort(number)
        step += 1
        assert step < 5_000, "the engine is stuck"
    return outputs


@settings(max_examples=200)
@given(workload=workloads())
def test_whatever_comes_and_goes_completions_are_those_of_naive_generation(
    workload: tuple[str, list[Arrival], dict[str, int]],
) -> None:
    family, arrived, shape = workload
    check(torch_runner(family, shape["num_blocks"]), family, arrived, shape)


@settings(max_examples=200)
@given(workload=workloads(families=sorted(name for name in FAMILIES if native_runner(name, 1) is not None)))
def test_so_they_are_by_native_steps(workload: tuple[str, list[Arrival], dict[str, int]]) -> None:
    family, arrived, shape = workload
    runner = native_runner(family, max(3, shape["num_blocks"] // 4))
    assert runner is not None
    check(runner, family, arrived, shape)


def test_where_blocks_run_out_the_newest_wait_and_nothing_is_lost() -> None:
    arrived = [
        Arrival(0, Request([5, 6, 7, number], SamplingParams(max_new_tokens=12, temperature=0, ignore_eos=True)), None)
        for number in range(12, 18)
    ]
    engine = Engine(torch_runner("llama", 9), prefix_reuse=False)
    outputs = run(engine, arrived)
    assert engine.metrics.preemptions > 3
    for place, arrival in enumerate(arrived):
        got = [token for output in outputs[place] for token in output.token_ids]
        assert [(got, "length")] == naive("llama", arrival.request, ())
    assert engine.num_free_blocks == 9


def drafter(family: str, kind: int) -> Drafter | None:
    """None, what the text itself tells, or a small model: another family with the same vocabulary."""
    if kind == 0 or family == "lstm":
        return None
    if kind == 1 or isinstance(tiny(family), EncoderDecoder):
        return PromptLookup(3, 1)
    return DraftModel(torch_runner("gpt2", 20))


def check(runner: Runner, family: str, arrived: list[Arrival], shape: dict[str, int]) -> None:
    engine = Engine(
        runner,
        stop_ids=STOP_IDS,
        max_running=shape["max_running"],
        max_step_tokens=shape["max_step_tokens"],
        drafter=drafter(family, shape["drafter"]),
    )
    outputs = run(engine, arrived)
    for place, arrival in enumerate(arrived):
        expected = naive(family, arrival.request, STOP_IDS)
        for index, (token_ids, reason) in enumerate(expected):
            said = [output for output in outputs[place] if output.index == index]
            got = [token for output in said for token in output.token_ids]
            if said and said[-1].finish_reason:
                assert (got, said[-1].finish_reason) == (token_ids, reason)
            else:
                assert arrival.abort_after is not None, "a completion was lost"
                assert got == token_ids[: len(got)]
    assert engine.num_free_blocks == runner.num_blocks, "blocks leaked"
