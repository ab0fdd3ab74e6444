from pathlib import Path

import numpy as np
import pytest
import torch

from inkstone.checkpoint.save import stop_ids
from inkstone.nn.adapter_config import LoRAConfig
from inkstone.nn.adapters import add_adapter
from inkstone.nn.sampling_params import SamplingParams
from inkstone.tasks.score import token_logprobs
from inkstone.train.objectives.log_probabilities import target_log_probabilities
from inkstone.train.rl.experience import sequence_of
from inkstone.train.rl.policy import Layout, of_sequences
from inkstone.train.rl.rollouts import Rollout, rollout
from inkstone.train.rl.rounds import prompt_seed
from tests.train.rl.helpers import sums, tiny_lesson, tiny_policy, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
PROMPTS = [TOKENIZER.encode(str(problem.prompt)) for problem in sums(7)]
SEEDS = [prompt_seed(3, number) for number in range(7)]


def draw(
    numbers: list[int], *, group_size: int = 3, temperature: float = 0.7, at_once: int = 256
) -> list[list[Rollout]]:
    params = SamplingParams(max_new_tokens=9, temperature=temperature, num_return_sequences=group_size)
    return rollout(
        tiny_policy(TOKENIZER).eval(),
        [PROMPTS[number] for number in numbers],
        params,
        [SEEDS[number] for number in numbers],
        stop_ids=STOPS,
        at_once=at_once,
    )


STOPS = [*stop_ids(TOKENIZER), *TOKENIZER.encode_plain("abcdefgh")]  # many, so that completions differ in length


def tokens(groups: list[list[Rollout]]) -> list[list[tuple[int, ...]]]:
    return [[each.token_ids for each in group] for group in groups]


def test_a_completion_depends_on_its_own_stream_alone() -> None:
    together = tokens(draw(list(range(7))))
    assert len({each for group in together for each in group}) == 21
    assert len({len(each) for group in together for each in group}) > 3
    assert [tokens(draw([number]))[0] for number in range(7)] == together
    assert tokens(draw(list(range(7)), at_once=4)) == together
    assert tokens(draw([6, 2, 0])) == [together[6], together[2], together[0]]
    fewer = tokens(draw([1], group_size=2))
    assert fewer[0] == together[1][:2]


def test_the_stop_token_is_the_last() -> None:
    for group in draw(list(range(7))):
        for each in group:
            assert (each.token_ids[-1] in STOPS) == (each.finish_reason == "eos") == (not each.is_truncated)
            assert not set(each.text_ids) & set(STOPS)
            assert len(each.log_probabilities) == len(each.token_ids)


@pytest.mark.parametrize("temperature", [1.0, 0.7, 1.8])
@pytest.mark.parametrize("packed", [True, False])
def test_the_trainer_computes_the_log_probabilities_of_drawing(
    tmp_path: Path, temperature: float, packed: bool
) -> None:
    lesson, _ = tiny_lesson(tmp_path, packing=packed, fused=True)
    groups = draw(list(range(7)), temperature=temperature)
    pairs = [(PROMPTS[number], each) for number, group in enumerate(groups) for each in group]
    sequences = [sequence_of(prompt, each.token_ids) for prompt, each in pairs]
    model = tiny_policy(TOKENIZER)
    computed = of_sequences(
        lambda batch: target_log_probabilities(model, batch, temperature), sequences, lesson.settings, Layout(packed)
    )
    for (_, each), values in zip(pairs, computed, strict=True):
        assert values == pytest.approx(each.log_probabilities, abs=1e-4)


def test_they_are_those_of_the_task_score() -> None:
    model = tiny_policy(TOKENIZER).eval()
    for number, group in enumerate(draw(list(range(7)), temperature=1.0)):
        for each in group:
            scored = token_logprobs(model, [*PROMPTS[number], *each.token_ids])[len(PROMPTS[number]) - 1 :]
            assert scored == pytest.approx(each.log_probabilities, abs=1e-4)


def test_they_are_the_frequencies_of_drawing() -> None:
    params = SamplingParams(max_new_tokens=1, temperature=1.3, num_return_sequences=4000)
    (group,) = rollout(tiny_policy(TOKENIZER).eval(), PROMPTS[:1], params, [5], stop_ids=(), at_once=4000)
    known = {each.token_ids[0]: float(np.exp(each.log_probabilities[0])) for each in group}
    counts = {token: sum(each.token_ids[0] == token for each in group) / 4000 for token in known}
    assert sum(known.values()) == pytest.approx(1.0, abs=0.02)
    assert max(abs(counts[token] - known[token]) for token in known) < 0.02


def test_a_model_with_an_adapter_draws_by_it() -> None:
    model = tiny_policy(TOKENIZER).eval()
    adapter = add_adapter(model, LoRAConfig(r=2), generator=torch.Generator().manual_seed(0))
    for layer in adapter.layers:
        layer.lora_B.weight.data.normal_(0, 0.5, generator=torch.Generator().manual_seed(1))
    params = SamplingParams(max_new_tokens=5, num_return_sequences=2)
    (group,) = rollout(model, PROMPTS[:1], params, [5], stop_ids=())
    with adapter.disabled():
        (base,) = rollout(model, PROMPTS[:1], params, [5], stop_ids=())
    assert tokens([group]) != tokens([base])
