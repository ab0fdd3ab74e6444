"""BIO tags: characters to tokens and back, and the best legal tags."""

import itertools

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from inkstone.core.errors import ConfigError
from inkstone.data.examples.offsets import begins_unit, extent, tokens_of, without_spaces
from inkstone.data.examples.records import Span
from inkstone.data.examples.tags import Tags, bio_labels
from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.train import train_characters
from inkstone.tokenizer.train_subwords import train_unigram, train_word_pieces
from tests.tiny_models import TEXTS, tiny_tokenizer

CORPUS = [*TEXTS, "文房四宝：筆、墨、紙、硯。", "Li Bai wrote in Chang'an."] * 3
TOKENIZERS = {
    "byte-level BPE": tiny_tokenizer(),
    "WordPiece": train_word_pieces(CORPUS, 300),
    "characters": train_characters(CORPUS),
    "Unigram": train_unigram(CORPUS, 150),
}
TAGS = Tags(bio_labels({"work", "place", "名"}))


def tokens(tokenizer: Tokenizer, text: str) -> list[tuple[int, int]]:
    encoding = tokenizer.encode_with_offsets(text, add_special_tokens=False)
    return without_spaces(text, encoding.offsets)


def test_labels() -> None:
    assert bio_labels(["work", "place", "work"]) == ("O", "B-place", "I-place", "B-work", "I-work")
    assert TAGS.names == ("place", "work", "名")


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("The stone is wet; the ink is black.", [("stone", "work"), ("the ink", "名"), ("black", "place")]),
        ("磨墨者先注水,然後慢慢研磨。", [("磨", "work"), ("墨者", "名"), ("研磨", "work")]),
        ("In 長安 Li Bai wrote 靜夜思 .", [("長安", "place"), ("Li Bai", "名"), ("靜夜思", "work")]),
        ("墨", [("墨", "work")]),
        ("  the ink\n", [("the ink", "work")]),
        ("墨分五色", []),
    ],
)
def test_spans_of_whole_words_come_back_exactly(name: str, text: str, named: list[tuple[str, str]]) -> None:
    offsets = tokens(TOKENIZERS[name], text)
    spans = [Span(text.index(surface), text.index(surface) + len(surface), label) for surface, label in named]
    labels, num_inexact = TAGS.encode(offsets, spans)
    assert TAGS.spans(labels, offsets) == spans
    assert num_inexact == 0
    assert [TAGS.labels[label][0] for label in labels].count("B") == len(spans)


def test_all_bytes_of_a_character_have_its_tags() -> None:
    text = "研鑿墨"
    offsets = [(0, 1), (1, 2), (1, 2), (1, 2), (2, 3)]  # the second is written in three bytes
    for span, expected in [
        (Span(1, 2, "work"), "O B I I O"),
        (Span(0, 2, "work"), "B I I I O"),
        (Span(2, 3, "work"), "O O O O B"),
    ]:
        labels, num_inexact = TAGS.encode(offsets, [span])
        assert [TAGS.labels[label][0] for label in labels] == expected.split()
        assert (TAGS.spans(labels, offsets), num_inexact) == ([span], 0)
    assert extent(offsets[1:4]) == (1, 2)
    assert text[1] == "鑿"


def test_spans_within_tokens_are_widened_and_counted() -> None:
    offsets = [(0, 4), (4, 6), (5, 8), (8, 9)]  # the second and third have bytes of character 5 in common
    assert begins_unit(offsets) == [True, True, False, True]
    spans = [Span(1, 3, "work"), Span(4, 5, "place"), Span(6, 8, "名"), Span(8, 9, "名")]
    labels, num_inexact = TAGS.encode(offsets, spans)
    assert TAGS.spans(labels, offsets) == [Span(0, 4, "work"), Span(4, 8, "place"), Span(8, 9, "名")]
    assert num_inexact == 3  # two are widened, for one no token is left
    assert TAGS.encode(offsets, [Span(3, 9, "work")])[1] == 1
    assert TAGS.encode(without_spaces(" a", [(0, 1), (1, 2)]), [Span(0, 2, "work")])[1] == 1  # a span with a space


def test_tokens_of_characters() -> None:
    offsets = [(0, 0), (0, 2), (2, 2), (2, 5), (4, 6)]
    assert tokens_of(offsets, 0, 2) == [1]
    assert tokens_of(offsets, 1, 3) == [1, 3]
    assert tokens_of(offsets, 4, 5) == [3, 4]
    assert tokens_of(offsets, 6, 9) == []


@given(st.text(alphabet="aé 墨研\n鑿.x", min_size=1, max_size=12), st.data())
def test_any_span_comes_back_or_is_counted(text: str, data: st.DataObject) -> None:
    """What comes back holds all of the span, and every token is in it or outside as a whole."""
    offsets = tokens(TOKENIZERS["byte-level BPE"], text)
    start = data.draw(st.integers(0, len(text) - 1))
    span = Span(start, data.draw(st.integers(start + 1, len(text))), "work")
    labels, num_inexact = TAGS.encode(offsets, [span])
    found = TAGS.spans(labels, offsets)
    surface = text[span.start : span.end]
    if surface.strip() == "":
        assert found == []
        assert num_inexact == 1
        return
    assert num_inexact == (found != [span])
    assert len(found) == 1
    assert text[found[0].start : found[0].end].find(surface.strip()) >= 0
    best = TAGS.best(np.eye(len(TAGS.labels))[labels], offsets)
    assert best.tolist() == labels.tolist()  # what is taught is legal


def legal(path: tuple[int, ...], begins: list[bool], labels: tuple[str, ...]) -> bool:
    """Written from the definition: I- needs its own name before it; within a unit nothing begins or ends."""
    for index, tag in enumerate(path):
        before = labels[path[index - 1]] if index else "O"
        label = labels[tag]
        goes_on = before[2:] == label[2:] and before != "O" and label[0] == "I"
        if label[0] == "I" and not goes_on:
            return False
        if not begins[index] and not (goes_on or before == label == "O"):
            return False
    return True


@pytest.mark.parametrize("seed", range(8))
def test_best_tags_are_those_of_trying_all(seed: int) -> None:
    random = np.random.default_rng(seed)
    tags = Tags(bio_labels({"a", "b"}))
    offsets = [(0, 2), (2, 3), (2, 3), (4, 5), (5, 7)] if seed % 2 else [(n, n + 1) for n in range(5)]
    begins = begins_unit(offsets)
    scores = random.normal(0, 1, (5, 5)) * [0.5, 1, 2, 1, 2]  # inside tags are tempting
    paths = [path for path in itertools.product(range(5), repeat=5) if legal(path, begins, tags.labels)]
    expected = max(paths, key=lambda path: sum(scores[index, tag] for index, tag in enumerate(path)))
    assert tags.best(scores, offsets).tolist() == list(expected)
    assert not legal(tuple(scores.argmax(1)), begins, tags.labels) or tuple(scores.argmax(1)) == expected


def test_no_tokens() -> None:
    assert TAGS.best(np.zeros((0, 7)), []).tolist() == []
    assert TAGS.spans([], []) == []


def test_labels_of_other_models() -> None:
    """Without B- and I-, or without B-: neighbors of one name are one span."""
    offsets = [(n, n + 1) for n in range(5)]
    plain = Tags(["PER", "O", "LOC"])
    assert plain.spans([0, 0, 2, 1, 0], offsets) == [Span(0, 2, "PER"), Span(2, 3, "LOC"), Span(4, 5, "PER")]
    assert plain.encode(offsets, [Span(1, 3, "LOC")])[0].tolist() == [1, 2, 2, 1, 1]
    inside_only = Tags(["O", "I-PER"])
    assert inside_only.best(np.array([[0.0, 1]] * 2 + [[1, 0]] * 3), offsets).tolist() == [1, 1, 0, 0, 0]
    for labels in (["A", "B"], ["O", "B-x", "I-x", "E-x", "S-x"]):
        with pytest.raises(ConfigError, match="no BIO tags"):
            Tags(labels)


def test_wordpiece_of_lower_case_finds_original_characters() -> None:
    backend = TOKENIZERS["WordPiece"].backend
    assert isinstance(backend, tokenizers.Tokenizer)
    lower = train_word_pieces(CORPUS, 300, lower_case=True)
    text = "LI BAI  wrote"
    labels, num_inexact = TAGS.encode(tokens(lower, text), [Span(0, 6, "名")])
    assert TAGS.spans(labels, tokens(lower, text)) == [Span(0, 6, "名")]
    assert num_inexact == 0
