"""What a request may ask for, and what is refused at the door."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inkstone.core.errors import ConfigError, InputError
from inkstone.engine.config import EngineConfig
from inkstone.engine.engine import Engine
from inkstone.engine.offline import Stream, complete
from inkstone.engine.open import kv_values_per_token, new_runner, open_engine
from inkstone.engine.request import Output, Request
from inkstone.engine.sequence import Group, Sequence
from inkstone.engine.speculate import PromptLookup, Speculator
from inkstone.engine.torch_runner import TorchRunner
from inkstone.nn.beam import BeamParams, beam_search
from inkstone.nn.kernels import decoder_step
from inkstone.nn.models.base import Decoder, EncoderDecoder
from inkstone.nn.sampling_params import SamplingParams
from inkstone.nn.target_decoder import TargetDecoder
from tests.engine.models import FAMILIES, VOCAB, next_logits, tiny, torch_runner
from tests.tiny_models import tiny_model, tiny_tokenizer

STOP_IDS = (3, 11)


def ask(family: str, *requests: Request) -> list[list[Output]]:
    engine = open_engine(tiny(family), EngineConfig(max_running=6), stop_ids=STOP_IDS)
    return complete(engine, requests)


def prompt_of(family: str) -> tuple[list[int], list[int]]:
    """Prompt and source."""
    return ([1], [9, 8, 7, 6]) if isinstance(tiny(family), EncoderDecoder) else ([5, 6, 7], [])


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_beams_are_those_of_beam_search(family: str) -> None:
    prompt, source = prompt_of(family)
    params = BeamParams(num_beams=4, max_new_tokens=10, num_return_sequences=3, length_penalty=0.6)
    model = tiny(family)
    if isinstance(model, EncoderDecoder):
        expected = beam_search(TargetDecoder(model, [source]), [prompt], params, stop_ids=STOP_IDS)[0]
    else:
        expected = beam_search(model, [prompt], params, stop_ids=STOP_IDS)[0]
    other = Request(prompt, SamplingParams(max_new_tokens=12, temperature=0), source)
    (found, _) = ask(family, Request(prompt, params, source), other)
    whole = [[*each.token_ids, *([] if each.stop_id is None else [each.stop_id])] for each in found]
    assert whole == [each.token_ids for each in expected]
    assert [each.score for each in found] == pytest.approx([each.score for each in expected], abs=1e-4)


@settings(max_examples=60)
@given(
    num_blocks=st.integers(12, 20),
    max_running=st.integers(1, 6),
    num_requests=st.integers(1, 4),
    max_step_tokens=st.sampled_from([2, 64]),
)
def test_beams_do_not_starve_each_other_where_blocks_are_few(
    num_blocks: int, max_running: int, num_requests: int, max_step_tokens: int
) -> None:
    engine = Engine(
        torch_runner("llama", num_blocks), stop_ids=STOP_IDS, max_running=max_running, max_step_tokens=max_step_tokens
    )
    params = BeamParams(num_beams=3, max_new_tokens=9)
    prompts = [[5, 6, 7, 8, 9, 10 + number] for number in range(num_requests)]
    model = tiny("llama")
    assert isinstance(model, Decoder)
    expected = [beam_search(model, [prompt], params, stop_ids=STOP_IDS)[0][0].score for prompt in prompts]
    found = complete(engine, [Request(prompt, params) for prompt in prompts])
    assert [each[0].score for each in found] == pytest.approx(expected, abs=1e-4)
    assert engine.num_free_blocks == num_blocks


def test_log_probabilities_are_those_of_the_distribution_a_token_was_drawn_from() -> None:
    params = SamplingParams(max_new_tokens=8, temperature=0.7, seed=5, log_probabilities=3)
    ((output,),) = ask("llama", Request([5, 6, 7], params))
    ids = [5, 6, 7]
    for told in output.log_probabilities:
        expected = (next_logits("llama", ids, []) / 0.7).log_softmax(dim=-1)
        assert told.log_probability == pytest.approx(float(expected[told.token_id]), abs=1e-4)
        assert [token for token, _ in told.top] == expected.topk(3).indices.tolist()
        ids.append(told.token_id)
    assert [each.token_id for each in output.log_probabilities][: len(output.token_ids)] == output.token_ids


def test_log_probabilities_of_the_prompt_also_where_it_is_read_in_chunks_or_known() -> None:
    prompt = [5, 6, 7, 8, 9, 10, 12, 13, 14, 15]
    expected = [
        float(next_logits("llama", prompt[:place], []).log_softmax(dim=-1)[prompt[place]]) for place in range(1, 10)
    ]
    engine = Engine(torch_runner("llama", 30), max_step_tokens=4, max_running=4)
    params = SamplingParams(max_new_tokens=3, temperature=0, prompt_log_probabilities=1)
    for _ in range(2):
        ((output,),) = complete(engine, [Request(prompt, params)])
        told = [each.log_probability for each in output.prompt_log_probabilities]
        assert told == pytest.approx(expected, abs=1e-4)
        assert [each.token_id for each in output.prompt_log_probabilities] == prompt[1:]


def test_best_of_gives_the_likeliest_of_those_drawn() -> None:
    drawing = SamplingParams(max_new_tokens=8, temperature=1.0, seed=2, num_return_sequences=6, log_probabilities=0)
    (drawn,) = ask("llama", Request([5, 6, 7], drawing))
    means = [sum(each.log_probability for each in one.log_probabilities) / len(one.log_probabilities) for one in drawn]
    best = drawing.model_copy(update={"num_return_sequences": 2, "best_of": 6})
    (chosen,) = ask("llama", Request([5, 6, 7], best))
    ranked = sorted(zip(means, (one.token_ids for one in drawn), strict=True), reverse=True)[:2]
    assert [one.score for one in chosen] == pytest.approx([mean for mean, _ in ranked], abs=1e-4)
    assert [one.token_ids for one in chosen] == [ids for _, ids in ranked]


def test_a_beginning_is_computed_once_for_a_tenant_and_again_for_another() -> None:
    engine = Engine(torch_runner("llama", 40))
    prompt = list(range(4, 30))
    params = SamplingParams(max_new_tokens=4, temperature=0)
    complete(engine, [Request(prompt, params, tenant="a")])
    assert engine.metrics.found_tokens == 0
    complete(engine, [Request(prompt, params, tenant="a")])
    assert engine.metrics.found_tokens == 24
    complete(engine, [Request(prompt, params, tenant="b")])
    assert engine.metrics.found_tokens == 24
    assert engine.metrics.found_share == pytest.approx(24 / (3 * 26))


def test_a_long_prompt_lets_the_others_go_on() -> None:
    engine = Engine(torch_runner("llama", 60), max_step_tokens=5, max_running=4)
    params = SamplingParams(max_new_tokens=20, temperature=0, ignore_eos=True)
    short = engine.add_request(Request([5, 6], params))
    engine.step()
    engine.add_request(Request(list(range(4, 38)), params.model_copy(update={"max_new_tokens": 2})))
    for _ in range(6):
        assert [output.request_id for output in engine.step()] == [short]


def test_higher_priority_goes_first_and_tenants_take_turns() -> None:
    engine = Engine(torch_runner("llama", 60), max_running=1, prefix_reuse=False)
    params = SamplingParams(max_new_tokens=2, temperature=0, ignore_eos=True)
    names = {}
    for number in range(4):
        names[engine.add_request(Request([5, 6, number + 12], params, tenant="busy"))] = f"busy {number}"
    names[engine.add_request(Request([5, 6, 20], params, tenant="rare"))] = "rare"
    names[engine.add_request(Request([5, 6, 21], params, priority=1))] = "urgent"
    ended = []
    while engine.has_work:
        ended += [names[output.request_id] for output in engine.step() if output.finish_reason]
    assert ended == ["urgent", "busy 0", "rare", "busy 1", "busy 2", "busy 3"]


@pytest.mark.skipif(decoder_step.unavailable() is not None, reason=str(decoder_step.unavailable()))
def test_weights_are_kept_as_they_were_saved() -> None:
    """Those of a checkpoint in bfloat16 are float32 in memory where PyTorch multiplies that faster."""
    model = tiny_model()
    own = new_runner(model).weight_bytes
    assert new_runner(model.bfloat16().float()).weight_bytes == own / 2
    assert new_runner(model, EngineConfig(quant="float32")).weight_bytes == own


def test_a_request_that_is_too_late_ends() -> None:
    engine = Engine(torch_runner("llama", 20))
    params = SamplingParams(max_new_tokens=30, temperature=0, ignore_eos=True)
    number = engine.add_request(Request([5, 6, 7], params, deadline_s=0.05))
    engine.step()
    time.sleep(0.06)
    (output,) = engine.step()
    assert (output.request_id, output.finish_reason) == (number, "deadline")
    assert not engine.has_work
    assert engine.num_free_blocks == 20


@pytest.mark.parametrize("steps", [0, 4])
@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(max_new_tokens=40, temperature=1.0, seed=3, best_of=3, num_return_sequences=2, ignore_eos=True),
        SamplingParams(max_new_tokens=40, temperature=1.0, seed=3, num_return_sequences=2, ignore_eos=True),
        BeamParams(num_beams=3, max_new_tokens=40, num_return_sequences=2),
    ],
    ids=["best_of", "n", "beams"],
)
def test_what_was_found_before_the_deadline_is_told(
    params: SamplingParams | BeamParams, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same tokens as those of a request that wants no more."""
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    engine = open_engine(tiny_model(), stop_ids=(319,))
    number = engine.add_request(Request([5, 6, 7], params, deadline_s=30.0))
    told: dict[int, Output] = {}
    for step in range(steps + 1):
        if step == steps:
            now += 60
        for output in engine.step():
            told.setdefault(output.index, Output(number, output.index)).extend(output)
    assert not engine.has_work
    assert sorted(told) == [0, 1]
    assert {output.finish_reason for output in told.values()} == {"deadline"}
    assert all(len(output.token_ids) == steps for output in told.values())
    if steps:
        short = params.model_copy(update={"max_new_tokens": steps})
        (expected,) = complete(open_engine(tiny_model(), stop_ids=(319,)), [Request([5, 6, 7], short)])
        assert [told[index].token_ids for index in (0, 1)] == [output.token_ids for output in expected]


def test_the_part_of_a_prompt_that_was_scored_is_told_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    prompt = list(range(5, 25))
    params = SamplingParams(max_new_tokens=1, prompt_log_probabilities=0)
    ((whole,),) = complete(open_engine(tiny_model()), [Request(prompt, params)])
    engine = open_engine(tiny_model(), EngineConfig(max_running=1, max_step_tokens=8))
    engine.add_request(Request(prompt, params, deadline_s=30.0))
    assert engine.step() == []  # 8 of 20 tokens are read
    now += 60
    (output,) = engine.step()
    assert output.finish_reason == "deadline"
    told, expected = ([each.log_probability for each in out.prompt_log_probabilities] for out in (output, whole))
    assert len(told) == 8
    assert told == pytest.approx(expected[:8], abs=1e-4)


def test_text_that_was_held_back_is_told_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    tokenizer, model = tiny_tokenizer(), tiny_model()
    prompt, plain = tokenizer.encode("磨墨者先"), SamplingParams(max_new_tokens=40, temperature=1.0, seed=3)
    ((unhurried,),) = complete(open_engine(model, decode=tokenizer.decode), [Request(prompt, plain)])
    engine = open_engine(model, decode=tokenizer.decode)
    stop = unhurried.text[:20] + "never"  # so that all the text so far may be the beginning of it
    request = Request(prompt, plain.model_copy(update={"stop": (stop,)}), deadline_s=30.0)
    engine.add_request(request)
    outputs = [output for _ in range(6) for output in engine.step()]
    assert not any(output.text for output in outputs)
    now += 60
    outputs += engine.step()
    tokens = [token for output in outputs for token in output.token_ids]
    assert outputs[-1].finish_reason == "deadline"
    assert "".join(output.text for output in outputs) == tokenizer.decode(tokens).rstrip("\ufffd") != ""


def test_stop_strings_and_characters_across_tokens_come_out_right() -> None:
    tokenizer, model = tiny_tokenizer(), tiny_model()
    prompt = tokenizer.encode("磨墨者先")
    plain = SamplingParams(max_new_tokens=40, temperature=1.0, seed=3)
    engine = open_engine(model, decode=tokenizer.decode)
    pieces = [output.text for output in Stream(engine, Request(prompt, plain))]
    text = "".join(pieces)
    assert text == tokenizer.decode(complete(engine, [Request(prompt, plain)])[0][0].token_ids).rstrip("\ufffd")
    stop = text[7:10]
    ((output,),) = complete(engine, [Request(prompt, plain.model_copy(update={"stop": (stop,)}))])
    assert output.text == text[: text.index(stop)]
    assert output.finish_reason == "stop"


def test_nobody_reads_on_and_everything_is_freed() -> None:
    engine = Engine(torch_runner("llama", 20))
    pieces = Stream(engine, Request([5, 6, 7], SamplingParams(max_new_tokens=30, temperature=0, ignore_eos=True)))
    next(pieces)
    pieces.close()
    assert not engine.has_work
    assert engine.num_free_blocks == 20


@pytest.mark.parametrize(
    ("request_", "error", "message"),
    [
        (Request([], SamplingParams()), InputError, "no tokens"),
        (Request([5] * 64, SamplingParams()), InputError, "context is 64"),
        (
            Request([5] * 30, SamplingParams(max_new_tokens=20)),
            InputError,
            "49 tokens need 13 KV blocks of 4, and there are 10",
        ),
        (
            Request([5] * 8, BeamParams(num_beams=4, max_new_tokens=9)),
            InputError,
            "4 beams of 16 tokens need 16 KV blocks",
        ),
        (Request([5, VOCAB], SamplingParams()), InputError, "not in the model's vocabulary"),
        (Request([5], SamplingParams(stop=("a",))), ConfigError, "stop strings need decode"),
        (Request([5], SamplingParams(max_new_tokens=8, logit_bias={VOCAB: 1.0})), ConfigError, "logit_bias"),
        (Request([5], SamplingParams(max_new_tokens=8, bad_words_ids=((1, VOCAB),))), ConfigError, "bad_words_ids"),
    ],
)
def test_what_can_never_be_done_is_refused_at_the_door(request_: Request, error: type[Exception], message: str) -> None:
    engine = Engine(torch_runner("llama", 10))
    with pytest.raises(error, match=message):
        engine.add_request(request_)
    assert not engine.has_work


def test_values_of_a_token_are_counted() -> None:
    assert kv_values_per_token(tiny("llama")) == 2 * 2 * 2 * 8
    assert kv_values_per_token(tiny("gpt2")) == 2 * 2 * 4 * 8
    assert kv_values_per_token(tiny("t5")) == 2 * 2 * 4 * 8


def test_bfloat16_keys_and_values_change_little() -> None:
    params = SamplingParams(max_new_tokens=1, temperature=0, log_probabilities=0)
    model = tiny("llama")
    exact, rounded = (
        complete(Engine(TorchRunner(model, 20, 4, dtype)), [Request(list(range(4, 30)), params)])
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert exact[0][0].log_probabilities[0].log_probability == pytest.approx(
        rounded[0][0].log_probabilities[0].log_probability, abs=0.1
    )


def test_threads_that_stream_together_lose_nothing() -> None:
    engine = Engine(torch_runner("llama", 60))
    params = SamplingParams(max_new_tokens=12, temperature=0, ignore_eos=True)
    prompts = [[5 + number, 6, 7] for number in range(16)]

    def written(prompt: list[int]) -> list[int]:
        return [token for output in Stream(engine, Request(prompt, params)) for token in output.token_ids]

    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(written, prompts))
    assert together == [written(prompt) for prompt in prompts]
    assert all(len(token_ids) == 12 for token_ids in together)


def test_what_reads_no_sources_is_given_none() -> None:
    engine = Engine(torch_runner("llama", 60))
    with pytest.raises(InputError, match="a decoder reads no source"):
        engine.add_request(Request([5, 6], SamplingParams(), source_ids=[7]))


def test_what_was_read_or_written_before_is_looked_up() -> None:
    def sequence(source: list[int], token_ids: list[int]) -> Sequence:
        return Sequence(Group(0, Request([1], SamplingParams(), source_ids=source)), 0, token_ids)

    lookup = PromptLookup(longest=3, shortest=2)
    copied = sequence([5, 6, 7, 8, 9], [1, 6, 7])
    assert lookup.guess([copied], [2]) == [[8, 9]]
    copied.token_ids += [8, 2]
    assert lookup.guess([copied], [2]) == [[]]
    repeated = sequence([], [4, 5, 6, 4, 5])
    assert lookup.guess([repeated], [4]) == [[6, 4, 5, 6]]


def test_a_guess_is_a_token_that_the_model_can_write() -> None:
    request = Request([1], SamplingParams(max_new_tokens=9), source_ids=[5, 6, 7, 300, 8])
    copied = Sequence(Group(0, request), 0, [1, 5, 6])
    Speculator(PromptLookup(), vocab_size=100).prepare([copied], context=64)
    assert copied.drafts == [7]
