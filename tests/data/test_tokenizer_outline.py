"""What stands for a tokenizer before its corpus is there."""

from collections.abc import Callable

import pytest

from inkstone.data.tokenizer_outline import assumed_tokenizer
from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.train import train_bytes_bpe, train_characters
from inkstone.tokenizer.train_subwords import train_unigram, train_word_pieces

TEXT = "An inkstone:\n墨與硯, 1234."
PIECES = ["An", " inkst", "one", ":", "\n", "墨", "與", "硯", ",", " 1", "2", "3", "4", "."]


@pytest.mark.parametrize(
    ("kind", "train", "num_tokens"),
    [
        ("bytes_bpe", lambda: train_bytes_bpe([TEXT], 300), len(PIECES)),
        ("wordpiece", lambda: train_word_pieces([TEXT], 64), len(PIECES)),
        ("unigram", lambda: train_unigram([TEXT], 64), len(PIECES)),
        ("characters", lambda: train_characters([TEXT]), len(TEXT)),
    ],
)
def test_it_has_the_special_tokens_of_its_kind_and_about_as_many_tokens_of_a_text(
    kind: str, train: Callable[[], Tokenizer], num_tokens: int
) -> None:
    assumed, trained = assumed_tokenizer(kind, 500), train()
    assert assumed.vocab_size == 500
    assert assumed.special_tokens == trained.special_tokens
    assert (assumed.special, assumed.chat_template) == (trained.special, trained.chat_template)
    assert len(assumed.encode_plain(TEXT)) == num_tokens


def test_a_vocabulary_without_room_is_left_to_the_training_to_refuse() -> None:
    assert assumed_tokenizer("bytes_bpe", 3).encode_plain("ink")
