"""Every format reads the layouts that data sets come in, and reads back what it writes."""

import json
from dataclasses import replace
from typing import Any

import pytest

from inkstone.core.errors import InputError
from inkstone.core.registry import names
from inkstone.data.examples.formats.base import all_formats, format_named
from inkstone.data.examples.records import (
    Answer,
    Chat,
    Completion,
    Example,
    Judged,
    LabeledSpans,
    LabeledText,
    Pair,
    PlainText,
    Preference,
    Problem,
    Question,
    Row,
    Span,
)


def read(name: str, **values: Any) -> list[Any]:
    """The examples of a row, without their place."""
    chosen = format_named(name)
    parts = chosen.unfold(Row(values, "a.jsonl:7", "web"))
    return [replace(chosen.parse(part), where="", source="") for part in parts]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "上海"}}}
TOOL = {"name": "weather", "parameters": {"type": "object"}}
MESSAGES = [user("你好"), assistant("你好！")]

LAYOUTS: list[tuple[str, dict[str, Any], list[Example]]] = [
    ("text", {"text": "墨 "}, [PlainText(text="墨 ")]),
    ("chat", {"messages": MESSAGES}, [Chat(messages=MESSAGES)]),
    ("chat", {"messages": [{**user("a"), "name": None}, assistant("b")]}, [Chat(messages=[user("a"), assistant("b")])]),
    (
        "chat",
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}, assistant("b")]},
        [Chat(messages=[user("a"), assistant("b")])],
    ),
    (
        "chat",
        {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "system": "s", "tools": ""},
        [Chat(messages=[system("s"), user("a"), assistant("b")])],
    ),
    (
        "chat",
        {
            "conversations": [
                {"from": "human", "value": "天气？"},
                {"from": "function_call", "value": json.dumps({"name": "weather", "arguments": {"city": "上海"}})},
                {"from": "observation", "value": '{"sun": 1}'},
                {"from": "gpt", "value": "晴"},
            ],
            "tools": json.dumps([TOOL]),
        },
        [
            Chat(
                messages=[
                    user("天气？"),
                    {"role": "assistant", "content": "", "tool_calls": [CALL]},
                    {"role": "tool", "content": '{"sun": 1}'},
                    assistant("晴"),
                ],
                tools=[{"type": "function", "function": TOOL}],
            )
        ],
    ),
    (
        "chat",
        {
            "messages": [
                user("a"),
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": '{"x": 1}'}}],
                },
                {"role": "tool", "content": "2", "tool_call_id": "1"},
                assistant("b"),
            ]
        },
        [
            Chat(
                messages=[
                    user("a"),
                    {
                        "role": "assistant",
                        "content": "",
                        "tool_calls": [
                            {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
                        ],
                    },
                    {"role": "tool", "content": "2", "tool_call_id": "1"},
                    assistant("b"),
                ]
            )
        ],
    ),
    (
        "chat",
        {"instruction": "译", "input": "ink", "output": "墨", "system": "s", "history": [["q", "r"]]},
        [Chat(messages=[system("s"), user("q"), assistant("r"), user("译\nink"), assistant("墨")])],
    ),
    ("chat", {"instruction": "say", "input": "", "output": "x"}, [Chat(messages=[user("say"), assistant("x")])]),
    ("completion", {"prompt": "", "completion": " b"}, [Completion(prompt="", completion=" b")]),
    ("labels", {"text": "a", "label": 1}, [LabeledText(text="a", label="1")]),
    ("labels", {"sentence": "a", "label": "正面 "}, [LabeledText(text="a", label="正面")]),
    ("labels", {"premise": "a", "hypothesis": "b", "label": True}, [LabeledText(text="a", pair="b", label="true")]),
    ("labels", {"text": "a", "label": 0.5}, [LabeledText(text="a", label=0.5)]),
    ("labels", {"text": "a", "labels": ["x", 2]}, [LabeledText(text="a", label=("x", "2"))]),
    ("labels", {"text": "a", "labels": []}, [LabeledText(text="a", label=())]),
    (
        "spans",
        {"tokens": ["Ada", "Lovelace", "of", "London"], "ner_tags": ["B-PER", "I-PER", "O", "I-LOC"]},
        [LabeledSpans(text="Ada Lovelace of London", spans=(Span(0, 12, "PER"), Span(16, 22, "LOC")))],
    ),
    (
        "spans",
        {"tokens": list("王维CS游北京"), "tags": ["B-name", "I-name", "B-game", "E-game", "O", "S-place", "S-place"]},
        [
            LabeledSpans(
                text="王维CS游北京",
                spans=(Span(0, 2, "name"), Span(2, 4, "game"), Span(5, 6, "place"), Span(6, 7, "place")),
            )
        ],
    ),
    (
        "spans",
        {"tokens": ["iPhone", "在", "深圳", "made", "by"], "tags": ["O", "O", "U-LOC", "B-X", "L-X"]},
        [LabeledSpans(text="iPhone在深圳made by", spans=(Span(7, 9, "LOC"), Span(9, 16, "X")))],
    ),
    (
        "spans",
        {"text": "去上海", "entities": [{"start": 1, "end": 3, "label": "place", "text": "上海"}]},
        [LabeledSpans(text="去上海", spans=(Span(1, 3, "place"),))],
    ),
    ("spans", {"text": "abc", "label": [[1, 2, "x"]]}, [LabeledSpans(text="abc", spans=(Span(1, 2, "x"),))]),
    (
        "spans",
        {"text": "王维与王维", "label": {"name": {"王维": [[3, 4], [0, 1]]}, "book": {}}},
        [LabeledSpans(text="王维与王维", spans=(Span(0, 2, "name"), Span(3, 5, "name")))],
    ),
    (
        "questions",
        {"id": "1", "context": "an ink", "question": "q", "answers": {"text": ["ink"], "answer_start": [3]}},
        [Question(id="1", question="q", context="an ink", answers=(Answer("ink", 3),))],
    ),
    (
        "questions",
        {"context": "墨", "question": "q", "answers": {"text": [], "answer_start": []}},
        [Question(id="a.jsonl:7", question="q", context="墨", answers=())],
    ),
    (
        "questions",
        {
            "title": "t",
            "paragraphs": [
                {
                    "context": "墨在砚",
                    "qas": [
                        {"id": "x", "question": "q", "answers": [{"text": "砚", "answer_start": 2}]},
                        {"id": "y", "question": "r", "answers": [], "is_impossible": True},
                    ],
                }
            ],
        },
        [
            Question(id="x", question="q", context="墨在砚", answers=(Answer("砚", 2),)),
            Question(id="y", question="r", context="墨在砚", answers=()),
        ],
    ),
    (
        "questions",
        {"context": "an ink", "qas": [{"question": "q", "answer": "ink"}]},
        [Question(id="a.jsonl:7 question 1", question="q", context="an ink", answers=(Answer("ink", 3),))],
    ),
    (
        "questions",
        {
            "context": "墨",
            "question": "q",
            "answers": [{"text": "黑", "answer_start": -1}, {"text": "墨", "answer_start": 0}],
        },
        [Question(id="a.jsonl:7", question="q", context="墨", answers=(Answer("墨", 0), Answer("黑", -1)))],
    ),
    ("pairs", {"source": "ink", "target": "墨"}, [Pair(source_text="ink", target_text="墨")]),
    ("pairs", {"dialogue": "a", "summary": "b", "topic": "c"}, [Pair(source_text="a", target_text="b")]),
    ("pairs", {"content": "a", "title": "b"}, [Pair(source_text="a", target_text="b")]),
    (
        "preferences",
        {"prompt": "a", "chosen": "b", "rejected": "c"},
        [Preference(prompt="a", chosen="b", rejected="c")],
    ),
    (
        "preferences",
        {"prompt": [user("a")], "chosen": [assistant("b")], "rejected": "c"},
        [Preference(prompt=[user("a")], chosen=[assistant("b")], rejected=[assistant("c")])],
    ),
    (
        "preferences",
        {"prompt": "a", "chosen": [user("a"), assistant("b")], "rejected": [user("a"), assistant("c")]},
        [Preference(prompt=[user("a")], chosen=[assistant("b")], rejected=[assistant("c")])],
    ),
    (
        "preferences",
        {"instruction": "a", "input": "x", "output": "b", "rejected": "c"},
        [Preference(prompt=[user("a\nx")], chosen=[assistant("b")], rejected=[assistant("c")])],
    ),
    (
        "preferences",
        {
            "conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "a"}],
            "chosen": {"from": "gpt", "value": "b"},
            "rejected": {"from": "gpt", "value": "c"},
        },
        [Preference(prompt=[system("s"), user("a")], chosen=[assistant("b")], rejected=[assistant("c")])],
    ),
    ("judged", {"prompt": "a", "completion": "b", "label": "0"}, [Judged(prompt="a", completion="b", desirable=False)]),
    (
        "judged",
        {"messages": MESSAGES, "label": True},
        [Judged(prompt=MESSAGES[:1], completion=MESSAGES[1:], desirable=True)],
    ),
    (
        "judged",
        {"instruction": "a", "output": "b", "kto_tag": False},
        [Judged(prompt=[user("a")], completion=[assistant("b")], desirable=False)],
    ),
    (
        "problems",
        {"question": "1+1?", "answer": 2, "level": 1, "none": None},
        [Problem(prompt="1+1?", answer="2", facts={"level": 1})],
    ),
    ("problems", {"messages": [user("写")], "tests": ["x"]}, [Problem(prompt=[user("写")], facts={"tests": ["x"]})]),
]


@pytest.mark.parametrize(("name", "values", "expected"), LAYOUTS, ids=[f"{n}{i}" for i, (n, *_) in enumerate(LAYOUTS)])
def test_layout(name: str, values: dict[str, Any], expected: list[Example]) -> None:
    assert format_named(name).recognizes(values)
    assert read(name, **values) == expected


@pytest.mark.parametrize(("name", "values", "expected"), LAYOUTS, ids=[f"{n}{i}" for i, (n, *_) in enumerate(LAYOUTS)])
def test_what_a_format_writes_it_reads_back_as_the_same(
    name: str, values: dict[str, Any], expected: list[Example]
) -> None:
    chosen = format_named(name)
    for example in expected:
        row = json.loads(json.dumps(chosen.to_row(example), ensure_ascii=False))
        assert chosen.recognizes(row)
        assert set(row) <= {*chosen.columns, *getattr(example, "facts", {})}
        assert read(name, **row) == [example]


def test_every_format_is_among_the_layouts_and_keeps_its_contract() -> None:
    assert {name for name, *_ in LAYOUTS} >= set(names("formats"))
    for chosen in all_formats():
        assert not chosen.recognizes(["nothing"])
        assert {column for wanted in chosen.wants for column in wanted} <= set(chosen.columns)
        assert all(chosen.recognizes(wanted) for wanted in chosen.wants)


def test_an_example_knows_its_place_and_source() -> None:
    for name, values, _ in LAYOUTS:
        chosen = format_named(name)
        for part in chosen.unfold(Row(values, "a.jsonl:7", "web")):
            example = chosen.parse(part)
            assert example.where.startswith("a.jsonl:7")
            assert example.source == "web"


FAULTS: list[tuple[str, dict[str, Any], str]] = [
    ("text", {"text": " \n"}, "`text` is empty"),
    ("text", {"text": 3}, "`text` is a number, not a text"),
    ("chat", {"messages": [user("a")]}, "ends with user, expected assistant"),
    ("chat", {"messages": [assistant("a")]}, r"message 1 \(assistant\) begins the conversation"),
    ("chat", {"messages": [user("a"), user("b")]}, r"message 2 \(user\) follows user, expected assistant"),
    ("chat", {"messages": [user("a"), system("s"), assistant("b")]}, r"message 2 \(system\) follows user"),
    ("chat", {"messages": [user("a"), {"role": "tool", "content": "b"}]}, r"message 2 \(tool\) follows user"),
    ("chat", {"messages": [user("a"), assistant("")]}, r"message 2 \(assistant\) is empty"),
    ("chat", {"messages": [{"role": "usr", "content": "a"}]}, "unknown role 'usr'.*\n.*did you mean 'user'"),
    ("chat", {"messages": [{"content": "a"}]}, "message 1 has no `role`"),
    ("chat", {"messages": [user(3)]}, "its content is a number"),  # type: ignore[arg-type]
    ("chat", {"messages": []}, "`messages` is an empty list"),
    ("chat", {"messages": "hi"}, "`messages` is a text, not messages"),
    ("chat", {"messages": [user("a"), {"from": "function_call", "value": "{"}]}, "message 2 is malformed JSON"),
    ("chat", {"messages": [user("a"), {"from": "function_call", "value": "{}"}]}, "calls no function by name"),
    ("chat", {"messages": MESSAGES, "tools": "3"}, "`tools` is not a list"),
    ("chat", {"instruction": "a", "output": None}, r"has no `output` \(it has instruction\)"),
    ("chat", {"instruction": "a", "output": "b", "history": ["x"]}, "`history` holds a text"),
    ("completion", {"prompt": "a", "completion": ""}, "`completion` is empty"),
    ("completion", {"prompt": [user("a")], "completion": "b"}, "`prompt` is a list"),
    ("labels", {"text": "a", "label": None}, "has no `label`"),
    ("labels", {"text": "a", "label": " "}, "the label is empty"),
    ("labels", {"text": "a", "label": float("nan")}, "the label is nan"),
    ("labels", {"text": "a", "label": {"x": 1}}, "the label is an object"),
    ("spans", {"tokens": ["a", "b"], "tags": ["O"]}, "2 tokens and 1 tags"),
    ("spans", {"tokens": ["a"], "tags": [3]}, "`tags` is not a list of texts"),
    ("spans", {"tokens": ["a"], "tags": ["PER"]}, "unknown tag 'PER'"),
    ("spans", {"text": "abc", "spans": [[0, 4, "x"]]}, r"the span 0 to 4 \(x\) is not in the text of 3"),
    ("spans", {"text": "abc", "spans": [[0, 2, "x"], [1, 3, "y"]]}, r"'ab' \(x\) and 'bc' \(y\) overlap"),
    ("spans", {"text": "abc", "spans": [{"start": 0, "label": "x"}]}, "is not a span"),
    (
        "spans",
        {"text": "去上海", "spans": [{"start": 0, "end": 2, "label": "x", "text": "上海"}]},
        "'上海' does not stand at character 0 .*\n.*begins at character 1",
    ),
    ("spans", {"text": "去上海", "label": {"x": {"上海": [[1, 3]]}}}, "does not end at character 3"),
    ("spans", {"text": "去上海", "label": {"x": [1]}}, "does not hold places"),
    (
        "questions",
        {"context": "墨在砚", "question": "q", "answers": {"text": ["砚"], "answer_start": [1]}},
        "'砚' does not stand at character 1 .*\n.*begins at character 2",
    ),
    (
        "questions",
        {"context": "ink, ink", "question": "q", "answers": {"text": ["ink"], "answer_start": [2]}},
        "does not stand at character 2 .*\n  remedy: correct or remove it",
    ),
    ("questions", {"context": "ink, ink", "question": "q", "answer": "ink"}, "is in the text 2 times"),
    ("questions", {"context": "ink", "question": "q", "answer": "pen"}, "'pen' is not in the text"),
    (
        "questions",
        {"context": "ink", "question": "q", "answers": [{"text": "x", "answer_start": -1}]},
        "no answer stands",
    ),
    ("questions", {"context": "ink", "question": "", "answers": []}, "`question` is empty"),
    ("questions", {"context": "a", "question": "q", "answers": {"text": ["a"], "answer_start": []}}, "as many `text`"),
    ("questions", {"paragraphs": [{"context": "a"}]}, "`qas` is null"),
    ("pairs", {"source": "a", "target": ""}, "`target` is empty"),
    ("preferences", {"chosen": "b", "rejected": "c"}, "has no prompt"),
    ("preferences", {"prompt": "a", "chosen": "b", "rejected": "b"}, "the same"),
    ("preferences", {"prompt": [user("a")], "chosen": [user("b")], "rejected": "c"}, "follows user"),
    ("judged", {"prompt": "a", "completion": "b", "label": "good"}, "the label 'good' is a text, not true or false"),
    ("judged", {"messages": [user("a")], "label": True}, "ends with user"),
    ("problems", {"messages": MESSAGES}, "ends with assistant"),
    ("problems", {"prompt": ""}, "`prompt` is empty"),
]


@pytest.mark.parametrize(("name", "values", "cause"), FAULTS, ids=[f"{n}{i}" for i, (n, *_) in enumerate(FAULTS)])
def test_a_fault_names_the_row_the_cause_and_the_remedy(name: str, values: dict[str, Any], cause: str) -> None:
    with pytest.raises(InputError, match=cause) as caught:
        read(name, **values)
    assert str(caught.value.where).startswith("a.jsonl:7")
    assert caught.value.remedy


def test_a_bad_question_does_not_cost_the_others_of_its_article() -> None:
    chosen = format_named("questions")
    qas = [
        {"id": i, "question": q, "answers": [{"text": "a", "answer_start": 0}]}
        for i, q in ((1, "q"), (2, ""), (3, "r"))
    ]
    parts = list(chosen.unfold(Row({"context": "a", "qas": qas}, "a.json[0]")))
    assert [part.where for part in parts] == ["a.json[0] 1", "a.json[0] 2", "a.json[0] 3"]
    assert chosen.parse(parts[2]).question == "r"
