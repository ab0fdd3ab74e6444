"""Chats: the text and masks of `transformers`, and templates that mean harm."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from inkstone.core.errors import InputError
from inkstone.core.records import Message
from inkstone.tokenizer import Tokenizer, bounded
from inkstone.tokenizer.chat import CHATML, mask_of_spans, render_chat
from tests.tokenizer.chat_templates import LLAMA, QWEN, TEMPLATES, TRAINING, ZEPHYR

Chat = list[dict[str, Any]]

TOOLS = [
    {"type": "function", "function": {"name": "grind", "description": "磨 ink <b>", "parameters": {
        "type": "object", "properties": {"minutes": {"type": "integer"}}, "required": ["minutes"]}}},
    {"type": "function", "function": {"name": "stop", "description": "Stop", "parameters": {}}},
]  # fmt: skip
USER = {"role": "user", "content": " 砚台是什么? "}
ASSISTANT = {"role": "assistant", "content": "An inkstone 🙂. "}
CALL = {"role": "assistant", "content": None, "tool_calls": [
    {"type": "function", "id": "abcdefghi", "function": {
        "name": "grind", "arguments": {"minutes": 3, "how": "慢"}}}]}  # fmt: skip
CHATS: dict[str, Chat] = {
    "one turn": [USER],
    "turns": [USER, ASSISTANT, {"role": "user", "content": "Why?\n"}],
    "system": [{"role": "system", "content": "Be brief.\n"}, USER, ASSISTANT],
    "tool call": [USER, CALL, {"role": "tool", "content": "done", "name": "grind"}, ASSISTANT],
    "tool calls in turn": [USER, CALL, {"role": "tool", "content": "a"}, {"role": "tool", "content": "b"}],
    "wrong order": [USER, USER],
    "reasoning": [USER, {**ASSISTANT, "thinking": "hm"}],
    "parts": [{"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "image"}]}],
}
DOCUMENTS = [{"title": "Ink", "text": " Made of soot. "}, {"title": "砚", "text": "石"}]


@pytest.fixture(scope="module")
def theirs(bpe: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("chat")
    bpe.save(folder)
    return pytest.importorskip("transformers").AutoTokenizer.from_pretrained(str(folder))


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("chat", CHATS)
def test_text_and_ids_are_those_of_transformers(bpe: Tokenizer, theirs: Any, name: str, chat: str) -> None:
    ours = Tokenizer(bpe.backend, bpe.special, TEMPLATES[name])
    theirs.chat_template = TEMPLATES[name]
    for options in (
        {},
        {"add_generation_prompt": True},
        {"tools": TOOLS, "documents": DOCUMENTS},
        {"continue_final_message": True},
        {"date_string": "1 Jan 2026", "documents": DOCUMENTS},
    ):
        try:
            expected = theirs.apply_chat_template(CHATS[chat], tokenize=False, **options)
        except Exception:  # noqa: BLE001  theirs are of many kinds
            with pytest.raises(InputError):
                ours.apply_chat_template(CHATS[chat], **options)
            continue
        assert ours.apply_chat_template(CHATS[chat], **options) == expected
        ids = theirs.apply_chat_template(CHATS[chat], return_dict=True, **options).input_ids
        encoded = ours.encode_chat(CHATS[chat], **options)
        assert encoded.ids == ids == ours.encode_rendered(expected)


def test_messages_are_as_good_as_mappings(bpe: Tokenizer) -> None:
    messages = [Message("user", "hi"), Message("assistant", "ho")]
    mappings: Chat = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    assert bpe.apply_chat_template(messages) == bpe.apply_chat_template(mappings)
    with pytest.raises(InputError, match="a message is a mapping"):
        bpe.apply_chat_template(["hi"])  # type: ignore[list-item]
    with pytest.raises(InputError, match="without messages"):
        bpe.apply_chat_template([])
    with pytest.raises(InputError, match="exclude each other"):
        bpe.apply_chat_template(messages, True, continue_final_message=True)


def test_assistant_mask(bpe: Tokenizer, theirs: Any) -> None:
    ours = Tokenizer(bpe.backend, bpe.special, TRAINING)
    theirs.chat_template = TRAINING
    chat: Chat = [USER, ASSISTANT, USER, {"role": "assistant", "content": "砚 🙂 ink"}]
    expected = theirs.apply_chat_template(chat, return_dict=True, return_assistant_tokens_mask=True)
    encoded = ours.encode_chat(chat)
    assert encoded.ids == expected.input_ids
    assert encoded.assistant_mask == expected["assistant_masks"]
    words = [n for n, inside in zip(encoded.ids, encoded.assistant_mask, strict=True) if inside]
    assert ours.decode(words, skip_special_tokens=False) == "An inkstone 🙂. <|im_end|>\n砚 🙂 ink<|im_end|>\n"
    assert sum(Tokenizer(bpe.backend, bpe.special, CHATML).encode_chat(chat).assistant_mask) == 0


def test_mask_of_spans_by_its_definition() -> None:
    offsets = [(0, 0), (0, 2), (2, 3), (2, 3), (3, 6), (6, 6), (6, 9)]
    for spans in ([], [(0, 9)], [(2, 4)], [(1, 2), (6, 7)], [(3, 3)]):
        expected = [int(any(max(a, c) < min(b, d) for c, d in spans)) for a, b in offsets]
        assert mask_of_spans(offsets, spans) == expected


def test_named_templates(bpe: Tokenizer, tmp_path: Path) -> None:
    bpe.save(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    config = json.loads((tmp_path / "tokenizer_config.json").read_text("utf-8"))
    config["chat_template"] = [{"name": "default", "template": ZEPHYR}, {"name": "tool_use", "template": QWEN}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    transformers = pytest.importorskip("transformers")
    Tokenizer.load(tmp_path).save(tmp_path / "again")
    for folder in (tmp_path, tmp_path / "again"):
        ours, theirs = Tokenizer.load(folder), transformers.AutoTokenizer.from_pretrained(str(folder))
        for tools in (None, TOOLS):
            expected = theirs.apply_chat_template([USER], tokenize=False, tools=tools)
            assert ours.apply_chat_template([USER], tools=tools) == expected
        rendered = ours.apply_chat_template([USER], template="tool_use")
        assert rendered == theirs.apply_chat_template([USER], tokenize=False, chat_template="tool_use")
        with pytest.raises(InputError, match=r"named 'rag'(.|\n)*known names: tool_use"):
            ours.apply_chat_template([USER], template="rag")
    assert (tmp_path / "again/additional_chat_templates/tool_use.jinja").read_text("utf-8") == QWEN


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".."])
def test_a_template_name_cannot_leave_the_folder(bpe: Tokenizer, tmp_path: Path, name: str) -> None:
    bpe.save(tmp_path)
    config = {"chat_template": [{"name": name, "template": "x"}]}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(InputError, match="chat template has the name"):
        Tokenizer.load(tmp_path)


HARMFUL = {
    "nested loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "huge range": "{% for a in range(10**9) %}{% endfor %}",
    "branching macro": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "endless macro": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "large power": "{% set x = 10 ** (10 ** 9) %}{{ x % 7 }}",
    "long string": "{{ ('x' * 10 ** 10) | length }}",
    "long list": "{{ (range(99999) | list * 99999) | length }}",
    "doubling": "{% set n = namespace(s='xxxx') %}{% for i in range(80) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
    "billion laughs": "{% set n = namespace(a=[1]) %}{% for i in range(80) %}"
    "{% set n.a = [n.a, n.a] %}{% endfor %}{{ n.a }}",
    "wide format": "{{ '%9999999999d' % 1 }}",
    "endless output": "{% for a in range(99999) %}{% for b in range(99999) %}xxxxxxxx{% endfor %}{% endfor %}",
    "attribute": "{{ ''.__class__.__mro__ }}",
    "attribute by filter": "{{ (''|attr('__class__')).__mro__ }}",
    "attribute by format": "{{ '{0.__class__.__init__.__globals__}'.format(messages) }}{{ raise_exception('') }}",
    "globals of a function": "{{ raise_exception.__globals__['os'] }}",
    "import": "{% import 'os' as os %}",
    "include": "{% include '/etc/passwd' %}",
    "change": "{{ messages.append(1) }}",
}


@pytest.mark.parametrize("name", HARMFUL)
def test_harmful_templates_are_stopped(name: str) -> None:
    with pytest.raises(InputError, match=r"chat template cannot render(.|\n)*remedy"):
        render_chat(HARMFUL[name], [USER])
    assert render_chat("{{ messages[0].role }}", [USER]).text == "user"  # and the next one is rendered


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "MAX_RENDERED_CHARACTERS", 10)
    monkeypatch.setattr(bounded, "MAX_TEMPLATE_CHARACTERS", 50)
    assert render_chat("1234567890", [USER]).text == "1234567890"
    with pytest.raises(InputError, match="more than 10 characters"):
        render_chat("12345678901", [USER])
    with pytest.raises(InputError, match="more than 50 characters"):
        render_chat("{#" + "x" * 50 + "#}", [USER])
    with pytest.raises(InputError, match="JSON values only"):
        render_chat("x", [{"role": "user", "content": object()}])


def test_a_forked_process_renders_by_itself() -> None:
    render_chat(CHATML, [USER])
    child = os.fork()
    if child == 0:
        os._exit(0 if render_chat("{{ messages[0].role }}", [USER]).text == "user" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert render_chat("{{ messages[0].role }}", [USER]).text == "user"


def test_today(bpe: Tokenizer) -> None:
    text = Tokenizer(bpe.backend, bpe.special, LLAMA).apply_chat_template([USER])
    assert f"Today Date: {time.strftime('%d %b %Y')}\n" in text
