"""Completions against the naive definition, and how they end."""

import pytest
import torch

from inkstone.core.errors import ConfigError, InputError
from inkstone.engine.offline import Stream
from inkstone.engine.open import open_engine
from inkstone.engine.request import Request
from inkstone.nn.generate import generate_naive
from inkstone.nn.sampling_params import SamplingParams
from tests.engine.generating import generate, generate_batch
from tests.tiny_models import tiny_model, tiny_tokenizer

PROMPT = [0, 17, 250, 31, 99]
GREEDY = {"temperature": 0.0}
PARAMS = [
    GREEDY,
    GREEDY | {"repetition_penalty": 1.4},
    {"seed": 1},
    {"seed": 2, "temperature": 1.3, "num_return_sequences": 4},
    {"seed": 3, "top_k": 5, "num_return_sequences": 2},
    {"seed": 4, "top_p": 0.7, "repetition_penalty": 1.2, "num_return_sequences": 3},
    {"seed": 5, "min_p": 0.1},
]


@pytest.mark.parametrize("changes", PARAMS, ids=str)
@pytest.mark.parametrize("shape", [{}, {"num_key_value_heads": 2, "model_type": "qwen3"}], ids=str)
def test_cached_equals_naive(shape: dict[str, object], changes: dict[str, object]) -> None:
    model = tiny_model(**shape)
    params = SamplingParams.model_validate({"max_new_tokens": 40, **changes})
    naive = generate_naive(model, PROMPT, params)
    assert [completion.token_ids for completion in generate(model, PROMPT, params)] == naive
    assert all(len(token_ids) == 40 for token_ids in naive)


def test_greedy_equals_transformers() -> None:
    from tests.nn.test_llama_parity import oracle_of

    model = tiny_model(num_key_value_heads=2)
    (completion,) = generate(model, PROMPT, SamplingParams(temperature=0, max_new_tokens=30))
    input_ids = torch.tensor([PROMPT])
    theirs = oracle_of(model).generate(
        input_ids, attention_mask=torch.ones_like(input_ids), do_sample=False, max_new_tokens=30, eos_token_id=None
    )
    assert completion.token_ids == theirs[0, len(PROMPT) :].tolist()


def test_cached_equals_naive_when_sequences_end_at_different_steps() -> None:
    model = tiny_model()
    params = SamplingParams(seed=6, temperature=1.5, max_new_tokens=50, num_return_sequences=6)
    stop_ids = set(range(0, 320, 12))
    naive = generate_naive(model, PROMPT, params, stop_ids=stop_ids)
    completions = generate(model, PROMPT, params, stop_ids=stop_ids)
    assert [completion.token_ids for completion in completions] == naive
    assert len({len(token_ids) for token_ids in naive}) > 2
    assert {completion.finish_reason for completion in completions} == {"eos"}
    assert not any(stop_ids & set(token_ids) for token_ids in naive)


def test_a_completion_is_the_same_whatever_else_is_in_the_batch() -> None:
    model = tiny_model()
    params = SamplingParams(seed=7, temperature=1.0, max_new_tokens=30)
    four = generate(model, PROMPT, params.model_copy(update={"num_return_sequences": 4}))
    (alone,) = generate(model, PROMPT, params)
    assert alone.token_ids == four[0].token_ids
    assert len({tuple(completion.token_ids) for completion in four}) == 4


def test_seeds_repeat_and_differ() -> None:
    model = tiny_model()

    def draw(seed: int | None) -> list[int]:
        return generate(model, PROMPT, SamplingParams(seed=seed, temperature=1.0, max_new_tokens=20))[0].token_ids

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    assert draw(None) != draw(None)


def test_ends_at_the_end_of_the_context_and_says_so() -> None:
    model = tiny_model()
    prompt = [5] * 60
    params = SamplingParams(temperature=0, max_new_tokens=1000)
    (completion,) = generate(model, prompt, params)
    assert len(completion.token_ids) == 4
    assert completion.finish_reason == "context"
    assert [completion.token_ids] == generate_naive(model, prompt, params)
    (completion,) = generate(model, prompt, params.model_copy(update={"max_new_tokens": 4}))
    assert completion.finish_reason == "length"


@pytest.mark.parametrize("function", [generate, generate_naive])
def test_prompts_that_leave_no_room_are_refused(function: type(generate)) -> None:
    params = SamplingParams(max_new_tokens=1)
    with pytest.raises(InputError, match=r"64 tokens.*context is 64"):
        function(tiny_model(), [5] * 64, params)
    with pytest.raises(InputError, match="no tokens"):
        function(tiny_model(), [], params)


def test_pieces_add_up_to_the_text() -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    params = SamplingParams(seed=8, temperature=1.5, max_new_tokens=55, num_return_sequences=5)
    texts = [""] * 5
    last = {}
    for output in Stream(open_engine(model, decode=tokenizer.decode), Request(PROMPT, params)):
        texts[output.index] += output.text
        last[output.index] = output.finish_reason
    for completion in generate(model, PROMPT, params, decode=tokenizer.decode):
        assert completion.text == texts[completion.index]
        assert tokenizer.decode(completion.token_ids).rstrip("\ufffd") == completion.text.rstrip("\ufffd")
        assert completion.finish_reason == last[completion.index] == "length"


def test_stop_strings_end_the_text_before_them_and_the_work_at_once() -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    params = SamplingParams(seed=9, temperature=1.5, max_new_tokens=55)
    (whole,) = generate(model, PROMPT, params, decode=tokenizer.decode)
    stop = next(three for at in range(20, 50) if "\ufffd" not in (three := whole.text[at : at + 3]))
    (completion,) = generate(
        model, PROMPT, params.model_copy(update={"stop": ("never there", stop)}), decode=tokenizer.decode
    )
    assert completion.text == whole.text[: whole.text.index(stop)]
    assert completion.finish_reason == "stop"
    assert completion.token_ids == whole.token_ids[: len(completion.token_ids)]
    assert stop in tokenizer.decode(completion.token_ids)
    assert stop not in tokenizer.decode(completion.token_ids[:-1])


def test_one_stopped_sequence_does_not_stop_the_others() -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    params = SamplingParams(seed=10, temperature=1.5, max_new_tokens=50, num_return_sequences=3)
    whole = generate(model, PROMPT, params, decode=tokenizer.decode)
    stop = next(
        whole[1].text[start : start + 4]
        for start in range(len(whole[1].text))
        if not any(whole[1].text[start : start + 4] in whole[other].text for other in (0, 2))
    )
    stopped = generate(model, PROMPT, params.model_copy(update={"stop": (stop,)}), decode=tokenizer.decode)
    assert [completion.finish_reason for completion in stopped] == ["length", "stop", "length"]
    assert [stopped[0], stopped[2]] == [whole[0], whole[2]]
    assert stopped[1].text == whole[1].text[: whole[1].text.index(stop)]


def test_stop_strings_need_decode() -> None:
    with pytest.raises(ConfigError, match="decode"):
        generate(tiny_model(), PROMPT, SamplingParams(stop=("x",)))


PROMPTS = [PROMPT, [7], list(range(60, 90))]


@pytest.mark.parametrize("changes", PARAMS, ids=str)
@pytest.mark.parametrize("shape", [{}, {"model_type": "mistral", "sliding_window": 8}], ids=str)
def test_prompts_of_a_batch_are_completed_as_if_alone(shape: dict[str, object], changes: dict[str, object]) -> None:
    model = tiny_model(**shape)
    params = SamplingParams.model_validate({"max_new_tokens": 16, "seed": 1, **changes})
    stop_ids = set(range(0, 320, 20))
    batch = generate_batch(model, PROMPTS, params, stop_ids=stop_ids)
    for prompt, completions in zip(PROMPTS, batch, strict=True):
        naive = generate_naive(model, prompt, params, stop_ids=stop_ids)
        assert [completion.token_ids for completion in completions] == naive
        alone = generate(model, prompt, params, stop_ids=stop_ids)
        assert [each.finish_reason for each in completions] == [each.finish_reason for each in alone]


def test_texts_and_stop_strings_of_a_batch() -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    params = SamplingParams(seed=9, temperature=1.5, max_new_tokens=30)
    whole = generate_batch(model, PROMPTS, params, decode=tokenizer.decode)
    assert [each[0].text for each in whole] == [
        generate(model, prompt, params, decode=tokenizer.decode)[0].text for prompt in PROMPTS
    ]
    stop = whole[2][0].text[8:11]
    stopped = generate_batch(model, PROMPTS, params.model_copy(update={"stop": (stop,)}), decode=tokenizer.decode)
    assert stopped[2][0].text == whole[2][0].text[: whole[2][0].text.index(stop)]
    assert stopped[2][0].finish_reason == "stop"


def test_each_prompt_of_a_batch_has_its_own_room() -> None:
    model = tiny_model()
    params = SamplingParams(temperature=0, max_new_tokens=20)
    long, short = generate_batch(model, [[5] * 60, [5] * 3], params)
    assert (len(long[0].token_ids), long[0].finish_reason) == (4, "context")
    assert (len(short[0].token_ids), short[0].finish_reason) == (20, "length")


def test_without_a_seed_equal_prompts_differ() -> None:
    first, second = generate_batch(tiny_model(), [PROMPT, PROMPT], SamplingParams(temperature=1, max_new_tokens=20))
    assert first[0].token_ids != second[0].token_ids


def test_an_empty_prompt_among_others_is_refused() -> None:
    with pytest.raises(InputError, match="no tokens"):
        generate_batch(tiny_model(), [PROMPT, []], SamplingParams(max_new_tokens=1))
    assert generate_batch(tiny_model(), [], SamplingParams(max_new_tokens=1)) == []
