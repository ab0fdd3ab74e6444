"""The check over an `ExampleSet`, with encodings made here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from inkstone.core.errors import InputError
from inkstone.core.progress import set_quiet
from inkstone.data.check import CheckReport, examine
from inkstone.data.check.findings import KEPT
from inkstone.data.examples.encoded import SpanSequence, TaggedSequence, TokenSequence, TooLongError
from inkstone.data.examples.read import ExampleSet
from inkstone.data.examples.records import Answer, Completion, Example, PlainText, Question, Text
from inkstone.tokenizer import Tokenizer
from tests.data.check.test_streams import ids
from tests.tiny_models import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
STOP = TOKENIZER.special_tokens["<|im_end|>"]


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    set_quiet(True)
    yield
    set_quiet(False)


def encode(example: Example) -> list[TokenSequence]:
    """A prompt, a completion that is learned, and the stop token."""
    assert isinstance(example, Completion)
    prompt, completion = (TOKENIZER.encode_rendered(text) for text in (example.prompt, example.completion))
    return [TokenSequence.of([*prompt, *completion, STOP], [0] * len(prompt) + [1] * (len(completion) + 1))]


def cut(sequence: TokenSequence, length: int) -> TokenSequence:
    return TokenSequence(sequence.input_ids[:length], sequence.labels[:length])


def rows(*texts: tuple[str, str], split: str = "train") -> list[Example]:
    return [Completion(prompt=one, completion=two, where=f"{split}:{n}") for n, (one, two) in enumerate(texts, 1)]


def report_of(
    train: Sequence[Example],
    encoder: Callable[[Example], Sequence[Any]] | None = encode,
    faults: Sequence[InputError] = (),
    tokenizer: Tokenizer = TOKENIZER,
    valid: Sequence[Example] = (),
    **options: Any,
) -> CheckReport[Any]:
    data = ExampleSet("completion", {"valid": list(valid), "train": list(train)}, list(faults))
    options = {"max_length": 1000, "stop_ids": (STOP,), **options}
    return examine(data, encoder, tokenizer=tokenizer, **options)


def places(report: CheckReport[Any]) -> dict[str, list[str]]:
    return {finding.fault.name: [place.where for place in finding.places] for finding in report.findings}


def test_sound_rows_are_encoded_in_their_order_and_counted() -> None:
    examples = rows(("ink: ", "black"), ("墨:", "黑"))
    report = report_of(examples, valid=rows(("brush: ", "soft"), split="valid"))
    assert places(report) == {}
    assert report.refusal("data", "command") is None
    encoded = [encode(example)[0] for example in examples]
    assert [each.input_ids.tolist() for each in report.encoded("train")] == [e.input_ids.tolist() for e in encoded]
    assert list(report.splits) == ["train", "valid"]
    train = report.splits["train"].to_json()
    assert train["examples"] == train["encodings"] == train["answers"] == train["answers_with_stop_token"] == 2
    assert train["tokens"] == sum(each.length for each in encoded)
    assert train["trained_tokens"] == sum(each.num_targets for each in encoded)
    assert report.counts() == {"examples": 2, "cut": 0, "dropped": 0}
    assert [where for _, where in report.first("train", 1)] == ["train:1"]


def test_what_is_too_long_is_refused_unless_it_may_be_cut() -> None:
    examples = rows(("a", "b"), ("How long? ", "very " * 20))
    length = encode(examples[1])[0].length
    refused = report_of(examples, max_length=12, cut=cut)
    assert places(refused) == {"too long": ["train:2"]}
    assert refused.findings.of("error")[0].places[0].what == f"{length} tokens, and 12 are allowed"
    assert places(report_of(examples, max_length=12, truncate=True)) == {"too long": ["train:2"]}
    assert places(report_of(examples, max_length=length)) == {}
    allowed = report_of(examples, max_length=12, cut=cut, truncate=True)
    assert places(allowed) == {"cut": ["train:2"]}
    assert [each.length for each in allowed.encoded("train")] == [3, 12]
    assert allowed.counts() == {"examples": 2, "cut": 1, "dropped": 0}
    summary = allowed.splits["train"].length_summary()
    assert summary is not None
    assert summary.longest == length


def test_rows_that_a_cut_leaves_nothing_of_are_left_out_and_counted() -> None:
    report = report_of(rows(("word " * 30, "lost"), ("a", "b")), max_length=12, cut=cut, truncate=True)
    assert places(report) == {"left out, too long": ["train:1"]}
    assert report.num_errors == 0
    assert report.counts() == {"examples": 2, "cut": 0, "dropped": 1}
    assert len(report.encoded("train")) == 1


def test_rows_that_cannot_be_cut_are_left_out_where_truncation_is_allowed() -> None:
    def encode(example: Example) -> list[TokenSequence]:
        if example.where == "train:1":
            raise TooLongError("an answer has 99 tokens", where="train:1")
        return [TokenSequence.of([5, STOP], [0, 1])]

    allowed = report_of(rows(("a", "b"), ("c", "d")), encode, truncate=True)
    assert places(allowed) == {"left out, too long": ["train:1"]}
    assert allowed.counts()["dropped"] == 1
    assert places(report_of(rows(("a", "b"), ("c", "d")), encode)) == {"cannot be encoded": ["train:1"]}


def test_training_examples_of_which_nothing_is_left_are_an_error() -> None:
    report = report_of(rows(("word " * 30, "lost")), max_length=12, cut=cut, truncate=True)
    assert set(places(report)) == {"left out, too long", "no training examples"}


def test_rows_without_a_trained_token_or_without_tokens_are_errors() -> None:
    def nothing(example: Example) -> list[TokenSequence]:
        return [TokenSequence.of([5, 6], [0, 0])] if example.where == "train:1" else []

    report = report_of(rows(("a", "b"), ("c", "d")), nothing)
    assert places(report) == {"no trained token": ["train:1", "train:2"]}
    assert report.splits["train"].num_dropped == 1
    refusal = report.refusal("data", "inkstone check data")
    assert refusal is not None
    assert str(refusal) == (
        "data: 2 errors: train:1: nothing is learned; train:2: it has no tokens\n"
        "  remedy: give it an answer, or remove the row; see all: inkstone check data"
    )


def test_answers_without_a_stop_token_are_found_but_texts_need_none() -> None:
    def endless(example: Example) -> list[TokenSequence]:
        return [cut(sequence, sequence.length - 1) for sequence in encode(example)]

    report = report_of(rows(("a", "bc")), endless)
    assert places(report) == {"stop token not trained": ["train:1"]}
    text = PlainText(text="ink", where="train:1")
    assert places(report_of([text], lambda _: [TokenSequence.of([5, 6, 7], [0, 1, 1])])) == {}


def test_what_cannot_be_encoded_is_collected() -> None:
    def refuse(example: Example) -> list[TokenSequence]:
        if example.where == "train:2":
            raise InputError("of the wrong kind", where=example.where, remedy="change it")
        return encode(example)

    malformed = InputError("unclosed", where="train:9", remedy="close it")
    report = report_of(rows(("a", "b"), ("c", "d")), refuse, [malformed])
    assert places(report) == {"malformed row": ["train:9"], "cannot be encoded": ["train:2"]}
    assert report.counts()["dropped"] == 1
    said = [place.what for finding in report.findings for place in finding.places]
    assert said == ["unclosed: close it", "of the wrong kind: change it"]


def test_spans_that_tokens_cannot_say_and_cut_questions_are_found() -> None:
    zeros = ids([0] * 4)
    tagged = TaggedSequence(ids([5, 6, 7, 8]), zeros, num_inexact=2)
    assert places(report_of(rows(("a", "b")), lambda _: [tagged])) == {"span that tokens cannot say": ["train:1"]}
    answer = SpanSequence(ids([5, 6, 7, 8]), zeros, 1, 2, is_inexact=True, num_cut=3)
    assert places(report_of(rows(("a", "b")), lambda _: [answer])) == {
        "span that tokens cannot say": ["train:1"],
        "cut": ["train:1"],
    }


def test_rows_are_compared_within_their_split() -> None:
    same = rows(("a", "b"), ("a", "b"), ("a", "c"))
    assert places(report_of(same)) == {"duplicate row": ["train:2"], "conflicting rows": ["train:3"]}
    report = report_of(rows(("a", "b")), valid=rows(("x", "y"), ("a", "b"), split="valid"))
    assert places(report) == {"evaluation row also in train": ["valid:2"]}


def test_rows_of_one_place_are_compared_too() -> None:
    answers = (Answer("ink", 4),)
    asked = Question(id="a", question="What?", context="The ink is black.", answers=answers, where="squad.json[0] a")
    assert set(places(report_of([asked, asked], None))) == {"duplicate id", "duplicate row"}
    nowhere = Completion(prompt="a", completion="b")
    assert set(places(report_of([nowhere], valid=[nowhere]))) == {"evaluation row also in train"}


def test_a_kind_of_a_plug_in_is_looked_at() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Riddle(Example):
        riddle: str

        def texts(self) -> list[Text]:
            return [Text("riddle", self.riddle)]

    report = report_of([Riddle(riddle="墨\ufffd")], None, valid=[Riddle(riddle="墨\ufffd")])
    assert set(places(report)) == {"replacement character", "evaluation row also in train"}


def test_a_column_with_one_value_is_found_where_there_are_rows_enough() -> None:
    def column(count: int) -> list[Example]:
        return rows(*[(f"number {n}", "always") for n in range(count)])

    assert places(report_of(column(10))) == {"one value in every row": ["train"]}
    assert places(report_of(column(9))) == {}
    assert places(report_of(rows(*[("", f"text {n}") for n in range(10)]))) == {}


def test_no_examples_are_an_error_even_if_nothing_can_be_encoded() -> None:
    malformed = InputError("unclosed", where="train:1")
    report = report_of([], None, [malformed])
    assert places(report) == {"malformed row": ["train:1"], "no training examples": [""]}
    refusal = report.refusal("data", "command")
    assert refusal is not None
    assert "train:1: unclosed; there are no training examples" in str(refusal)


def test_many_faults_are_all_counted_but_not_all_kept() -> None:
    faults = [InputError("broken", where=f"train:{n}") for n in range(KEPT + 5)]
    report = report_of(rows(("a", "b")), faults=faults)
    (finding,) = report.findings
    assert (finding.count, len(finding.places)) == (KEPT + 5, KEPT)
    refusal = report.refusal("data", "command")
    assert refusal is not None
    assert refusal.cause == "1,005 errors: train:0: broken; train:1: broken; train:2: broken; and 1,002 more"
