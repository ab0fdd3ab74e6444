"""SentencePiece models as tokenizers of the `tokenizers` library: the same pieces, and the same ids for a text.

SentencePiece normalizes a text (its charsmap, then white space), puts ``▁`` for every space, and finds the pieces: by
merging the pair that makes the best piece (BPE), or as the most probable sequence (Unigram, Kudo 2018). Unlike it, the
`tokenizers` library takes special tokens out of a text first, and treats what lies between them as texts of their own.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

from inkstone.core.errors import InputError
from inkstone.tokenizer.segment import is_panic
from inkstone.tokenizer.sentencepiece import BPE, UNIGRAM, Piece, PieceType, SentencePieceModel

SPACE = "▁"
_BYTE_NAME_START = "<(?=0x[0-9A-F]{2}>)"
"""Cut here, what looks like the name of a byte in a text is not taken for that byte."""


@dataclass(frozen=True, slots=True)
class Affixes:
    """Entries that a family of models puts before and after the pieces of its SentencePiece model."""

    before: Sequence[str] = ()
    skipped: int = 0
    """Pieces at the start of the model that `before` stands for."""
    after: Sequence[str] = ()


def convert_sentencepiece(
    model: SentencePieceModel, affixes: Affixes | None = None, *, prefix_after_special: bool = True
) -> tokenizers.Tokenizer:
    """The tokenizer of a SentencePiece model, without a post-processor.

    Args:
        model: what `read_sentencepiece` read.
        affixes: special tokens that the model does not have.
        prefix_after_special: text after a special token begins with ``▁``, as SentencePiece itself does with
            every text it gets; False is what `transformers` calls ``legacy: false``.

    Raises:
        InputError: the model is of a kind that has no such form.
    """
    if model.model_type not in (UNIGRAM, BPE):
        raise InputError("a SentencePiece model of words or characters", remedy="only Unigram and BPE can be read")
    if model.whitespace_as_suffix or not model.escape_whitespaces:
        raise InputError(
            "a SentencePiece model that marks spaces in an unusual way",
            remedy="convert it with `transformers` (AutoTokenizer, save_pretrained) and give the new folder",
        )
    pieces = _with_affixes(model.pieces, affixes or Affixes())
    if len({piece.text for piece in pieces}) < len(pieces):
        raise InputError("a SentencePiece model with one piece twice", remedy="copy it again")
    if all(piece.type != PieceType.UNKNOWN for piece in pieces):
        raise InputError("a SentencePiece model without an unknown piece", remedy="copy it again")
    try:
        backend = tokenizers.Tokenizer(_subword_model(model, pieces))
        normalizer = _normalizer(model, prefix=prefix_after_special)
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        raise InputError(f"a damaged SentencePiece model: {error}", remedy="copy it again") from error
    backend.normalizer = normalizer
    backend.pre_tokenizer = _pre_tokenizer(model, pieces, prefix=not prefix_after_special)
    strip = [decoders.Strip(" ", 1, 0)] if model.add_dummy_prefix else []
    backend.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    special = [piece.text for piece in pieces if piece.type in (PieceType.CONTROL, PieceType.UNKNOWN)]
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return backend


def _with_affixes(pieces: Sequence[Piece], affixes: Affixes) -> list[Piece]:
    before = [Piece(text, 0.0, PieceType.UNKNOWN if text == "<unk>" else PieceType.CONTROL) for text in affixes.before]
    after = [Piece(text, 0.0, PieceType.CONTROL) for text in affixes.after]
    return [*before, *pieces[affixes.skipped :], *after]


def _subword_model(model: SentencePieceModel, pieces: Sequence[Piece]) -> models.Model:
    unknown = next(n for n, piece in enumerate(pieces) if piece.type == PieceType.UNKNOWN)
    has_symbols = any(piece.type == PieceType.USER_DEFINED for piece in pieces)
    if model.model_type == BPE:
        vocab = {piece.text: n for n, piece in enumerate(pieces)}
        return models.BPE(
            vocab=vocab,
            merges=_merges(pieces, vocab),
            unk_token=pieces[unknown].text,
            fuse_unk=True,
            byte_fallback=model.byte_fallback,
            ignore_merges=has_symbols,
        )
    lowest = min((piece.score for piece in pieces if piece.type == PieceType.NORMAL), default=0.0)
    scores = {PieceType.USER_DEFINED: 0.0, PieceType.UNUSED: 2 * lowest - 100}
    vocab_scores = [(piece.text, scores.get(PieceType(piece.type), piece.score)) for piece in pieces]
    return models.Unigram(vocab_scores, unk_id=unknown, byte_fallback=model.byte_fallback)


def _merges(pieces: Sequence[Piece], vocab: dict[str, int]) -> list[tuple[str, str]]:
    """Every way to make a piece of two others, the piece of the highest score first.

    SentencePiece merges the pair that makes the best piece; a merge list says the same by its order.
    """
    found: list[tuple[float, tuple[str, str]]] = []
    for piece in pieces:
        if piece.type != PieceType.NORMAL:
            continue
        splits = [(piece.text[:at], piece.text[at:]) for at in range(1, len(piece.text))]
        known = [pair for pair in splits if pair[0] in vocab and pair[1] in vocab]
        known.sort(key=lambda pair: (vocab[pair[0]], vocab[pair[1]]))
        found.extend((-piece.score, pair) for pair in known)
    found.sort(key=lambda entry: entry[0])
    return [pair for _, pair in found]


def _normalizer(model: SentencePieceModel, *, prefix: bool) -> normalizers.Normalizer:
    steps: list[normalizers.Normalizer] = []
    if model.charsmap:
        steps.append(normalizers.Precompiled(model.charsmap))
    if model.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex(rf"\A +|[ {SPACE}]+\z"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    if model.add_dummy_prefix and prefix:
        steps.append(normalizers.Prepend(SPACE))
    return normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE)])


def _pre_tokenizer(
    model: SentencePieceModel, pieces: Sequence[Piece], *, prefix: bool
) -> pre_tokenizers.PreTokenizer | None:
    """What may be separated before pieces are found without another result: user-defined symbols, and words."""
    steps: list[pre_tokenizers.PreTokenizer] = []
    if model.add_dummy_prefix and prefix:
        steps.append(pre_tokenizers.Metaspace(SPACE, prepend_scheme="first", split=False))
    if model.model_type == UNIGRAM and model.byte_fallback:
        steps.append(pre_tokenizers.Split(Regex(_BYTE_NAME_START), "merged_with_previous"))
    symbols = sorted((p.text for p in pieces if p.type == PieceType.USER_DEFINED), key=len, reverse=True)
    if symbols:
        steps.append(pre_tokenizers.Split(Regex("|".join(map(re.escape, symbols))), "isolated"))
    elif any(piece.text == SPACE for piece in pieces) and all(SPACE not in piece.text[1:] for piece in pieces):
        steps.append(pre_tokenizers.Split(SPACE, "merged_with_next"))
    return pre_tokenizers.Sequence(steps) if steps else None
