"""What is shown of encodings: every token, and whether it is learned."""

import numpy as np
import pytest
from numpy.typing import NDArray

from inkstone.data.check.streams import Piece, marked, rendered, runs, stretches
from inkstone.data.examples.encoded import (
    JudgedSequence,
    LabeledSequence,
    SequencePair,
    SourceTarget,
    SpanSequence,
    TaggedSequence,
    TokenSequence,
)
from inkstone.nn.layers.loss import IGNORED
from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.train_subwords import train_word_pieces
from tests.tiny_models import TEXTS, tiny_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return tiny_tokenizer()


def ids(values: list[int]) -> NDArray[np.int64]:
    return np.asarray(values, dtype=np.int64)


def sequence(tokenizer: Tokenizer, *parts: tuple[str, bool]) -> TokenSequence:
    encoded = [(token, learned) for text, learned in parts for token in tokenizer.encode_rendered(text)]
    return TokenSequence.of([token for token, _ in encoded], [learned for _, learned in encoded])


def test_every_turn_that_is_learned_is_marked(tokenizer: Tokenizer) -> None:
    parts = [
        ("<|bos|>user: Hi.\n", False),
        ("Hello!<|im_end|>", True),
        ("\nuser: 墨是什麼?\n", False),
        ("煙。<|im_end|>", True),
    ]
    shown = rendered(sequence(tokenizer, *parts), tokenizer)
    assert marked(shown) == "<|bos|>user: Hi.\n⟦Hello!<|im_end|>⟧\nuser: 墨是什麼?\n⟦煙。<|im_end|>⟧"
    (part,) = shown
    assert [trained for trained, _, _ in stretches(part.pieces)] == [False, True, False, True]


def test_there_is_a_piece_for_every_token_and_no_character_is_broken(tokenizer: Tokenizer) -> None:
    text = "磨墨 😀 ink"
    encoding = sequence(tokenizer, (text, True))
    ((_, pieces),) = rendered(encoding, tokenizer)
    assert len(pieces) == encoding.length
    assert "".join(piece.text for piece in pieces) == text
    assert not pieces[0].trained
    assert all(piece.trained for piece in pieces[1:])


def test_both_sides_of_a_preference_and_the_judgment_are_named(tokenizer: Tokenizer) -> None:
    chosen, rejected = (sequence(tokenizer, ("Q: ", False), (text, True)) for text in ("yes", "no"))
    assert marked(rendered(SequencePair(chosen, rejected), tokenizer)) == "chosen: Q: ⟦yes⟧\nrejected: Q: ⟦no⟧"
    assert marked(rendered(JudgedSequence(chosen, False), tokenizer)) == "undesirable: Q: ⟦yes⟧"


def test_a_target_is_learned_and_its_source_is_not(tokenizer: Tokenizer) -> None:
    encoding = SourceTarget(ids(tokenizer.encode("ink")), ids([*tokenizer.encode_rendered("墨"), 1]))
    assert marked(rendered(encoding, tokenizer)) == "source: <|bos|>ink\ntarget: ⟦墨<|eos|>⟧"


@pytest.fixture(scope="module")
def pieces() -> Tokenizer:
    return train_word_pieces([*TEXTS] * 3, 300)


def test_heads_show_classes_tags_and_places(pieces: Tokenizer) -> None:
    encoding = pieces.encode_with_offsets("the stone 墨")
    words, zeros = ids(encoding.ids), ids([0] * len(encoding))
    labels = ("bad", "good")
    assert marked(rendered(LabeledSequence(words, zeros, zeros, 1), pieces, labels)).startswith(
        "target good: [CLS] the"
    )
    assert marked(rendered(LabeledSequence(words, zeros, zeros, 2.5), pieces)).startswith("target 2.5: [CLS]")
    both = LabeledSequence(words, zeros, zeros, np.asarray([1.0, 1.0]))
    assert marked(rendered(both, pieces, labels)).startswith("target bad, good: ")
    tags = np.where(np.asarray(encoding.sequence_ids, dtype=object) == 0, 0, IGNORED).astype(np.int64)
    tags[1], tags[-2] = 1, 2
    shown = marked(rendered(TaggedSequence(words, tags), pieces, ("O", "B-x", "B-y")))
    assert shown == "[CLS]⟦ the|B-x⟧⟦ stone|O⟧⟦ 墨|B-y⟧ [SEP]"
    last = len(words) - 2
    assert (
        marked(rendered(SpanSequence(words, zeros, last, last), pieces))
        == f"tokens {last} to {last}: [CLS] the stone⟦ 墨⟧ [SEP]"
    )
    assert marked(rendered(SpanSequence(words, zeros, 0, 0), pieces)) == "no answer here: [CLS] the stone 墨 [SEP]"


def test_runs_are_where_flags_are_set() -> None:
    flags = np.asarray([True, True, False, True, False, False, True])
    assert list(runs(flags)) == [slice(0, 2), slice(3, 4), slice(6, 7)]
    assert list(runs(np.zeros(3, dtype=bool))) == []
    assert list(runs(np.zeros(0, dtype=bool))) == []


def test_neighbors_with_one_tag_are_joined() -> None:
    tagged = [Piece("a", True, "x"), Piece("b", True, "x"), Piece("c", True, "y"), Piece("d", False)]
    assert [(tag, len(group)) for _, tag, group in stretches(tagged)] == [("x", 2), ("y", 1), ("", 1)]
