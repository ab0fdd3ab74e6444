"""Training the subword tokenizers of encoders and encoder–decoders: WordPiece as BERT has it, Unigram as T5 has it.

Both have an unknown token for what the training text does not contain, so that not every text survives a round trip;
byte-level BPE (`train_bytes_bpe`) can write any.
"""

from collections.abc import Callable, Iterable

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from inkstone.core.errors import InputError
from inkstone.tokenizer.convert import SPACE
from inkstone.tokenizer.tokenizer import Tokenizer
from inkstone.tokenizer.train import not_empty

BERT_SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""Ids 0 to 4 of a WordPiece tokenizer trained here."""
T5_SPECIAL_TOKENS = ("<pad>", "</s>", "<unk>")
"""Ids 0 to 2 of a Unigram tokenizer trained here, as in T5's."""
MAX_PIECE_CHARACTERS = 16


def train_word_pieces(
    texts: Iterable[str],
    vocab_size: int,
    *,
    lower_case: bool = False,
    min_frequency: int = 2,
    on_trained: Callable[[int], None] | None = None,
) -> Tokenizer:
    """Learn WordPiece (Schuster and Nakajima 2012, as in BERT): a text becomes ``[CLS] text [SEP]``.

    Words are cut at spaces and punctuation, and every Chinese character is a word of its own.

    Args:
        texts: read once.
        vocab_size: of all tokens, the special ones included.
        lower_case: lower case, without accents ("uncased").
        min_frequency: a pair seen less often is not merged.
        on_trained: called with the bytes of each text after the trainer has read it.

    Raises:
        InputError: no text at all, or a vocabulary without room for the special tokens.
    """
    _check_size(vocab_size, len(BERT_SPECIAL_TOKENS))
    backend = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lower_case)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=list(BERT_SPECIAL_TOKENS),
        show_progress=False,
    )
    backend.train_from_iterator(not_empty(texts, on_trained), trainer=trainer)
    ids = [(token, backend.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ids
    )
    return Tokenizer.from_tokenizers(
        backend, bos="[CLS]", eos="[SEP]", pad="[PAD]", unk="[UNK]", cls_token="[CLS]", sep="[SEP]", mask="[MASK]"
    )


def train_unigram(
    texts: Iterable[str], vocab_size: int, *, on_trained: Callable[[int], None] | None = None
) -> Tokenizer:
    """Learn a Unigram language model of pieces (Kudo 2018, as in SentencePiece and T5): a text becomes ``text </s>``.

    Texts are normalized (NFKC), and runs of spaces become one, as SentencePiece does.

    Args:
        texts: read once.
        vocab_size: of all tokens, the special ones included; fewer result from little text.
        on_trained: called with the bytes of each text after the trainer has read it.

    Raises:
        InputError: no text at all, or a vocabulary without room for the special tokens.
    """
    _check_size(vocab_size, len(T5_SPECIAL_TOKENS))
    backend = tokenizers.Tokenizer(models.Unigram())
    backend.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Replace(tokenizers.Regex(r"\s+"), " "),
            normalizers.Replace(tokenizers.Regex(r"\A +| +\z"), ""),
        ]
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, prepend_scheme="always")
    backend.decoder = decoders.Metaspace(SPACE, prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size,
        special_tokens=list(T5_SPECIAL_TOKENS),
        unk_token="<unk>",
        max_piece_length=MAX_PIECE_CHARACTERS,
        show_progress=False,
    )
    backend.train_from_iterator(not_empty(texts, on_trained), trainer=trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", backend.token_to_id("</s>"))]
    )
    return Tokenizer.from_tokenizers(backend, eos="</s>", pad="<pad>", unk="<unk>")


def _check_size(vocab_size: int, num_special: int) -> None:
    if vocab_size <= num_special:
        raise InputError(
            f"a vocabulary of {vocab_size} has no room for text beside {num_special} special tokens",
            remedy="set vocab_size to 4,096 or more",
        )
