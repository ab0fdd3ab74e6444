"""Windows over long contexts, against those of `transformers`."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from inkstone.core.errors import InputError
from inkstone.data.examples.windows import QuestionInContext
from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.pairs import with_separated_pairs
from tests.data.examples.test_tags import TOKENIZERS

QUESTIONS = {
    "What is black?": "The stone is wet; the ink is black, and the brush begins to write. " * 2,
    "墨分幾色？": "磨墨者先注水,然後慢慢研磨。筆走龍蛇,墨分五色。" * 2,
}
NAMES = [name for name in TOKENIZERS if name != "Unigram"]


def asked(name: str, question: str, max_length: int, *, truncate: bool = False) -> tuple[Tokenizer, QuestionInContext]:
    tokenizer = with_separated_pairs(TOKENIZERS[name])
    return tokenizer, QuestionInContext(tokenizer, question, QUESTIONS[question], max_length, truncate=truncate)


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("name", NAMES)
def test_windows_are_those_of_transformers(tmp_path: Path, name: str, question: str) -> None:
    """Their tokenizers cut the second text into windows; offsets but for spaces."""
    tokenizer, whole = asked(name, question, 1000)
    tokenizer.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    context = QUESTIONS[question]
    num_tokens = len(whole.windows(0)[0].input_ids)
    num_question = num_tokens - len(whole.offsets)
    for max_length, overlap in [(num_tokens, 3), (2 * num_question + 9, 0), (2 * num_question + 9, 5)]:
        windows = QuestionInContext(tokenizer, question, context, max_length).windows(overlap)
        expected = theirs(
            question,
            context,
            truncation="only_second",
            max_length=max_length,
            stride=overlap,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_token_type_ids=True,
        )
        assert [window.input_ids for window in windows] == expected.input_ids
        assert [window.token_type_ids for window in windows] == expected.token_type_ids
        for number, window in enumerate(windows):
            of_context = [index for index, text in enumerate(expected.sequence_ids(number)) if text == 1]
            assert window.first == of_context[0]
            for index, (start, end) in zip(of_context, window.offsets, strict=True):
                their_start, their_end = expected.offset_mapping[number][index]
                assert context[start:end] == context[their_start:their_end].strip()


@pytest.mark.parametrize("overlap", [0, 1, 7, 1000])
@pytest.mark.parametrize("max_length", [24, 31, 50, 500])
def test_windows_hold_all_of_the_context(max_length: int, overlap: int) -> None:
    _, question = asked("byte-level BPE", "墨分幾色？", max_length, truncate=True)
    windows = question.windows(overlap)
    seen = set[int]()
    for index, window in enumerate(windows):
        assert len(window.input_ids) <= max_length
        assert len(window.offsets) == question.room or index == len(windows) - 1
        assert window.offsets == question.offsets[window.start : window.start + question.room]
        seen.update(range(window.start, window.start + len(window.offsets)))
        if index:
            assert window.start == windows[index - 1].start + question.room - min(overlap, question.room // 2)
    assert seen == set(range(len(question.offsets)))
    assert windows[-1].start == 0 or windows[-2].start + question.room < len(question.offsets)


def test_places() -> None:
    _, question = asked("WordPiece", "What is black?", 20)
    context = QUESTIONS["What is black?"]
    start = context.index("begins to")
    first, last = question.tokens_of(start, start + len("begins to"))
    for window in question.windows(4):
        place = window.place(first, last)
        inside = window.start <= first and last < window.start + len(window.offsets)
        assert (place is not None) == inside
        if place is not None:
            begin, end = (window.offsets[index - window.first] for index in place)
            assert context[begin[0] : end[1]] == "begins to"
    with pytest.raises(InputError, match="characters 3 to 4 of the context have no tokens"):
        question.tokens_of(3, 4)


def test_long_questions() -> None:
    tokenizer = with_separated_pairs(TOKENIZERS["characters"])
    with pytest.raises(InputError, match="the question has 12 tokens, and may have 9"):
        QuestionInContext(tokenizer, "墨分五色。" * 2 + "墨分", "墨分五色", 20)
    question = QuestionInContext(tokenizer, "墨分五色。" * 2 + "墨分", "墨分五色", 20, truncate=True)
    assert question.num_cut == 3
    (window,) = question.windows(4)
    assert tokenizer.decode(window.input_ids, skip_special_tokens=False) == "<|bos|>墨分五色。墨分五色<|eos|>墨分五色"
    with pytest.raises(InputError, match="no question fits into windows of 3 tokens"):
        QuestionInContext(tokenizer, "墨", "墨分五色", 3, truncate=True)


@pytest.mark.parametrize(("question", "context", "missing"), [("", "墨", "question"), ("墨", "", "context")])
def test_empty_texts(question: str, context: str, missing: str) -> None:
    with pytest.raises(InputError, match=f"the {missing} has no tokens"):
        QuestionInContext(TOKENIZERS["WordPiece"], question, context, 20)
