"""Pairs of texts are told apart, in `transformers` too."""

from pathlib import Path

import pytest
import tokenizers
from tokenizers import models, pre_tokenizers, processors
from transformers import AutoTokenizer

from inkstone.core.errors import InputError
from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.pairs import with_separated_pairs
from inkstone.tokenizer.train_subwords import train_unigram, train_word_pieces
from tests.tiny_models import TEXTS, tiny_tokenizer


def test_a_decoders_tokenizer_gets_a_separator(tmp_path: Path) -> None:
    plain = tiny_tokenizer()
    tokenizer = with_separated_pairs(plain)
    first, second = "the ink", "墨"
    encoding = tokenizer.encode_with_offsets(first, second)
    parts = [tokenizer.encode_plain(first), tokenizer.encode_plain(second)]
    assert encoding.ids == [plain.bos_id, *parts[0], plain.eos_id, *parts[1]]
    assert encoding.token_type_ids == [0] * (2 + len(parts[0])) + [1] * len(parts[1])
    assert encoding.sequence_ids == [None, *[0] * len(parts[0]), None, *[1] * len(parts[1])]
    for text in TEXTS:
        assert tokenizer.encode_with_offsets(text) == plain.encode_with_offsets(text)
    assert tokenizer.special == plain.special
    assert tokenizer.chat_template == plain.chat_template
    tokenizer.save(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)(first, second).input_ids == encoding.ids
    assert Tokenizer.load(tmp_path).encode_with_offsets(first, second) == encoding
    assert with_separated_pairs(tokenizer) is tokenizer


@pytest.mark.parametrize("tokenizer", [train_word_pieces([*TEXTS] * 3, 300), train_unigram([*TEXTS] * 3, 150)])
def test_tokenizers_with_a_form_of_their_own_stay(tokenizer: Tokenizer) -> None:
    assert with_separated_pairs(tokenizer) is tokenizer


def byte_level(post_processor: processors.PostProcessor | None) -> Tokenizer:
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator(TEXTS, trainer)
    if post_processor is not None:
        backend.post_processor = post_processor
    return Tokenizer.from_tokenizers(backend, eos="</s>")


def test_what_trims_offsets_stays() -> None:
    """As in Llama 3's tokenizer.json: one post-processor for offsets, one for special tokens."""
    template = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A $B </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    plain = byte_level(processors.Sequence([processors.ByteLevel(trim_offsets=True), template]))
    tokenizer = with_separated_pairs(plain)
    assert tokenizer.encode_with_offsets(" ink") == plain.encode_with_offsets(" ink")
    encoding = tokenizer.encode_with_offsets("a", "b b")
    assert [encoding.ids[0], encoding.ids[2], encoding.ids[-1]] == [0, 1, 1]
    assert encoding.offsets[3:-1] == [(0, 1), (2, 3)]


def test_nothing_to_separate_with() -> None:
    tokenizer = byte_level(None)
    assert with_separated_pairs(tokenizer).encode_with_offsets("a", "b").sequence_ids == [0, None, 1]
    bare = Tokenizer.from_tokenizers(tokenizer.backend)
    with pytest.raises(InputError, match="neither a sep nor an eos token"):
        with_separated_pairs(bare)
