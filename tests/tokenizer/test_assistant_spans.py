"""What of a conversation is learned, written out for the chat templates of the field."""

from collections.abc import Sequence
from typing import Any

import pytest

from inkstone.core.errors import InputError
from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.chat import CHATML
from inkstone.tokenizer.extend import extend_tokenizer
from inkstone.tokenizer.taught import (
    TaughtTokens,
    encode_completion,
    encode_source,
    encode_source_target,
    encode_taught_chat,
)
from tests.tokenizer.chat_templates import (
    GEMMA,
    LLAMA,
    LLAMA2,
    MISTRAL,
    PHI,
    QWEN,
    TEMPLATES,
    THINKING,
    TRAINING,
    ZEPHYR,
)

Chat = list[dict[str, Any]]

SPECIAL = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<start_of_turn>", "<end_of_turn>", "<|end|>")
CHAT: Chat = [
    {"role": "user", "content": "砚台?"},
    {"role": "assistant", "content": "石头。"},
    {"role": "user", "content": "Why?"},
    {"role": "assistant", "content": "To grind ink."},
]
B, E = "<|bos|>", "<|eos|>"
EXPECTED = {
    "chatml": (
        CHATML,
        B + "<|im_start|>user\n砚台?<|im_end|>\n<|im_start|>assistant\n⟦石头。<|im_end|>⟧\n"
        "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n⟦To grind ink.<|im_end|>⟧\n",
    ),
    "qwen": (
        QWEN,
        (
            "<|im_start|>user\n砚台?<|im_end|>\n<|im_start|>assistant\n⟦石头。<|im_end|>⟧\n"
            "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n⟦To grind ink.<|im_end|>⟧\n"
        ),
    ),
    "llama2": (
        LLAMA2,
        f"{B}[INST] 砚台? [/INST]⟦ 石头。 {E}⟧{B}[INST] Why? [/INST]⟦ To grind ink. {E}⟧",
    ),
    "mistral": (MISTRAL, f"{B}[INST] 砚台?[/INST]⟦ 石头。{E}⟧[INST] Why?[/INST]⟦ To grind ink.{E}⟧"),
    "gemma": (
        GEMMA,
        B + "<start_of_turn>user\n砚台?<end_of_turn>\n<start_of_turn>model\n⟦石头。<end_of_turn>⟧\n"
        "<start_of_turn>user\nWhy?<end_of_turn>\n<start_of_turn>model\n⟦To grind ink.<end_of_turn>⟧\n",
    ),
    "zephyr": (
        ZEPHYR,
        f"<|user|>\n砚台?{E}\n<|assistant|>\n⟦石头。{E}⟧\n<|user|>\nWhy?{E}\n<|assistant|>\n⟦To grind ink.{E}⟧\n",
    ),
    "phi": (
        PHI,
        (
            "<|user|>\n砚台?<|end|>\n<|assistant|>\n⟦石头。<|end|>⟧\n"
            f"<|user|>\nWhy?<|end|>\n<|assistant|>\n⟦To grind ink.<|end|>⟧\n{E}"
        ),
    ),
    "training": (
        TRAINING,
        (
            "<|im_start|>user\n砚台?<|im_end|>\n<|im_start|>assistant\n⟦石头。<|im_end|>\n⟧"
            "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n⟦To grind ink.<|im_end|>\n⟧"
        ),
    ),
}


@pytest.fixture(scope="module")
def tokenizer(bpe: Tokenizer) -> Tokenizer:
    return extend_tokenizer(bpe, SPECIAL)


def with_template(tokenizer: Tokenizer, template: str) -> Tokenizer:
    return Tokenizer(tokenizer.backend, tokenizer.special, template)


def shown(tokenizer: Tokenizer, taught: TaughtTokens) -> str:
    """The text of tokens, what is learned in brackets: every token counts as one or the other."""
    text, run = "", list[int]()
    marks = [*taught.learned, 1 - taught.learned[-1]]
    for number, token in enumerate(taught.ids):
        run.append(token)
        if marks[number] != marks[number + 1]:
            part = tokenizer.decode(run, skip_special_tokens=False)
            text += f"⟦{part}⟧" if marks[number] else part
            run = []
    return text


def all_shown(tokenizer: Tokenizer, chat: Chat) -> list[str]:
    return [shown(tokenizer, taught) for taught in encode_taught_chat(tokenizer, chat)]


@pytest.mark.parametrize("name", EXPECTED)
def test_what_is_learned_is_written_out(tokenizer: Tokenizer, name: str) -> None:
    template, expected = EXPECTED[name]
    ours = with_template(tokenizer, template)
    (taught,) = encode_taught_chat(ours, CHAT)
    assert shown(ours, taught) == expected
    # The tokens are those of the whole rendering, and each answer follows the tokens of its prompt as it is asked.
    assert taught.ids == ours.encode_rendered(ours.apply_chat_template(CHAT))
    for number in (1, 3):
        prompt = ours.encode_rendered(ours.apply_chat_template(CHAT[:number], True)) if name != "training" else []
        assert taught.ids[: len(prompt)] == prompt
        assert name == "training" or (taught.learned[len(prompt) - 1], taught.learned[len(prompt)]) == (0, 1)


def test_every_single_token_of_a_short_chat(tokenizer: Tokenizer) -> None:
    chat: Chat = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "砚ink"}]
    (taught,) = encode_taught_chat(with_template(tokenizer, CHATML), chat)
    bos, start, end = (tokenizer.special_tokens[name] for name in (B, "<|im_start|>", "<|im_end|>"))
    (line,) = tokenizer.encode_plain("\n")
    user, assistant, word = (tokenizer.encode_plain(text) for text in ("user", "assistant", "u"))
    answer = tokenizer.encode_plain("砚ink")
    assert taught.ids == [
        bos, start, *user, line, *word, end, line, start, *assistant, line, *answer, end, line
    ]  # fmt: skip
    shown_only = 1 + 1 + len(user) + 1 + len(word) + 1 + 1 + 1 + len(assistant) + 1
    assert taught.learned == [0] * shown_only + [1] * len(answer) + [1] + [0]


def test_turns_that_are_not_to_be_learned_are_only_shown(tokenizer: Tokenizer) -> None:
    for key, value in (("weight", 0), ("train", False)):
        for name, (template, expected) in EXPECTED.items():
            chat = [CHAT[0], {**CHAT[1], key: value}, CHAT[2], {**CHAT[3], "weight": 1}]
            (text,) = all_shown(with_template(tokenizer, template), chat)
            first, _, rest = expected.partition("⟦")
            assert text == first + rest.replace("⟧", "", 1), name
    # After the last learned turn nothing is of use.
    (text,) = all_shown(with_template(tokenizer, CHATML), [*CHAT[:3], {**CHAT[3], "weight": 0}])
    assert text == EXPECTED["chatml"][1].split("<|im_start|>user\nWhy?")[0]
    assert all_shown(with_template(tokenizer, CHATML), [CHAT[0], {**CHAT[1], "train": False}]) == []
    with pytest.raises(InputError, match=r"weight 0\.5(.|\n)*0 \(or false\) only shows"):
        all_shown(with_template(tokenizer, CHATML), [CHAT[0], {**CHAT[1], "weight": 0.5}])


def test_thinking_that_is_left_out_of_earlier_turns_is_learned_in_texts_of_their_own(tokenizer: Tokenizer) -> None:
    ours = with_template(tokenizer, THINKING)
    chat = [CHAT[0], {**CHAT[1], "reasoning_content": "磨?"}, *CHAT[2:]]
    question = "<|im_start|>user\n砚台?<|im_end|>\n<|im_start|>assistant\n"
    assert all_shown(ours, chat) == [
        question + "⟦<think>\n磨?\n</think>\n\n石头。<|im_end|>⟧\n",
        question + "石头。<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
        "⟦<think>\n\n</think>\n\nTo grind ink.<|im_end|>⟧\n",
    ]


def test_an_answer_that_is_not_rendered_after_its_prompt_is_one_clear_error(tokenizer: Tokenizer) -> None:
    system = {"role": "system", "content": "Be brief."}
    # Mistral's template gives the system message to the last turn alone, when that is the user's.
    with pytest.raises(InputError, match=r"messages\[2\] as a continuation(.|\n)*Be brief(.|\n)*generation %}"):
        all_shown(with_template(tokenizer, MISTRAL), [system, *CHAT[:2]])
    with pytest.raises(InputError, match=r"assistant speaks first(.|\n)*train"):
        all_shown(with_template(tokenizer, LLAMA), CHAT[1:])
    assert all_shown(with_template(tokenizer, CHATML), CHAT[1:2]) == [B + "<|im_start|>assistant\n⟦石头。<|im_end|>⟧\n"]
    with pytest.raises(InputError, match="cannot render"):
        all_shown(with_template(tokenizer, GEMMA), [system, *CHAT])
    marked = with_template(tokenizer, TRAINING.replace("{{ message.content }}<|im_end|>\n{% end", "{% end"))
    assert all_shown(marked, CHAT)  # empty marks are learned as nothing
    with pytest.raises(InputError, match="marks 0 spans for 2 turns"):
        all_shown(marked, [CHAT[0], {**CHAT[1], "train": False}, *CHAT[2:]])


def test_calls_of_tools_are_learned_and_their_results_are_not(tokenizer: Tokenizer) -> None:
    call = {"type": "function", "function": {"name": "grind", "arguments": {"minutes": 3}}}
    chat: Chat = [
        CHAT[0],
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "done"},
        CHAT[3],
    ]
    assert all_shown(with_template(tokenizer, QWEN), chat) == [
        (
            "<|im_start|>user\n砚台?<|im_end|>\n<|im_start|>assistant\n"
            '⟦<tool_call>\n{"name": "grind", "arguments": {"minutes": 3}}\n</tool_call><|im_end|>⟧\n'
            "<|im_start|>user\n<tool_response>\ndone\n</tool_response><|im_end|>\n"
            "<|im_start|>assistant\n⟦To grind ink.<|im_end|>⟧\n"
        )
    ]


def test_no_token_holds_the_end_of_a_prompt_and_the_beginning_of_its_answer(tokenizer: Tokenizer) -> None:
    spaced = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    ours = with_template(tokenizer, spaced)
    chat: Chat = [{"role": "user", "content": "ink"}, {"role": "assistant", "content": "stone ink"}]
    (taught,) = encode_taught_chat(ours, chat)
    assert shown(ours, taught) == "user: ink\nassistant: ⟦stone ink\n⟧"
    prompt = ours.encode_rendered(ours.apply_chat_template(chat[:1], True))
    assert taught.ids[: len(prompt)] == prompt
    assert ours.encode_rendered(ours.apply_chat_template(chat))[: len(prompt)] != prompt  # " stone" is one token


@pytest.mark.parametrize(
    ("prompt", "completion"),
    [("The ink", " is black."), ("The in", "k is black."), ("墨:", "黑的。"), ("", "x"), ("Q: a\nA:", " b<|eos|>")],
)
def test_completions(bpe: Tokenizer, prompt: str, completion: str) -> None:
    taught = encode_completion(bpe, prompt, completion)
    prompt_ids = bpe.encode(prompt)
    assert taught.ids[: len(prompt_ids)] == prompt_ids  # as when it is asked, bos and all
    assert taught.learned == [0] * len(prompt_ids) + [1] * (len(taught.ids) - len(prompt_ids))
    assert bpe.eos_id is not None
    assert taught.ids.count(bpe.eos_id) == 1
    assert taught.ids[-1] == bpe.eos_id
    assert bpe.decode(taught.ids) == prompt + completion.removesuffix("<|eos|>")


def test_the_target_of_a_source_is_the_answer_to_it(tokenizer: Tokenizer) -> None:
    ours = with_template(tokenizer, CHATML)
    taught = encode_source_target(ours, "砚台?", "石头。")
    assert shown(ours, taught) == EXPECTED["chatml"][1].split("<|im_start|>user\nWhy?")[0]
    bare = Tokenizer(tokenizer.backend, tokenizer.special)
    assert shown(bare, encode_source_target(bare, "砚台?", "石头。")) == f"{B}砚台?\n⟦石头。{E}⟧"
    for each in (ours, bare):
        prompt = encode_source(each, "砚台?")
        assert encode_source_target(each, "砚台?", "石头。").ids[: len(prompt)] == prompt


def test_many_chats_in_one_exchange_are_the_same_as_one_by_one(tokenizer: Tokenizer) -> None:
    from inkstone.tokenizer.bounded import Beginning

    parts: Sequence[Beginning] = [Beginning(count, prompt) for count in range(1, 5) for prompt in (False, True)]
    for name in ("qwen", "llama", "gemma", "thinking"):
        ours = with_template(tokenizer, TEMPLATES[name])
        for part, chat in zip(parts, ours.render_beginnings(CHAT, parts), strict=True):
            assert chat.text == ours.apply_chat_template(CHAT[: part.num_messages], part.add_generation_prompt)
