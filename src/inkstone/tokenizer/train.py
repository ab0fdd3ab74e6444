"""Training a tokenizer from a stream of texts: byte-level BPE, or one token per character."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from inkstone.core.errors import InputError
from inkstone.tokenizer.chat import CHATML
from inkstone.tokenizer.pretokenize import build_pre_tokenizer
from inkstone.tokenizer.special import BOS, DEFAULT_SPECIAL_TOKENS, EOS, PAD, UNK
from inkstone.tokenizer.tokenizer import Tokenizer

NUM_BYTES = 256


def train_bytes_bpe(
    texts: Iterable[str],
    vocab_size: int,
    *,
    special_tokens: Sequence[str] = DEFAULT_SPECIAL_TOKENS,
    max_token_bytes: int = 32,
    min_frequency: int = 2,
    on_trained: Callable[[int], None] | None = None,
) -> Tokenizer:
    """Learn byte-level BPE (Sennrich et al. 2016, on bytes as in GPT-2) from `texts`; every text can be written.

    Special tokens come first, then the 256 bytes, then merges. Memory grows with the number of different
    pre-tokens: bound the texts with `sample_blocks`.

    Args:
        texts: read once.
        vocab_size: of all tokens; fewer result when the texts have no more pairs seen `min_frequency` times.
        special_tokens: get the first ids.
        max_token_bytes: no merge makes a longer token.
        min_frequency: a pair seen less often is not merged.
        on_trained: called with the bytes of each text after the trainer has read it.

    Raises:
        InputError: no text at all, or `vocab_size` has no room for the bytes and special tokens.
    """
    smallest = NUM_BYTES + len(special_tokens)
    if vocab_size < smallest:
        raise InputError(
            f"a vocabulary of {vocab_size} has no room for {NUM_BYTES} bytes and {len(special_tokens)} special tokens",
            remedy=f"set vocab_size to {smallest} or more (4,096 and up are useful)",
        )
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = build_pre_tokenizer()
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=list(special_tokens),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=max_token_bytes,
        show_progress=False,
    )
    backend.train_from_iterator(not_empty(texts, on_trained), trainer=trainer)
    return _finish(backend)


def train_characters(
    texts: Iterable[str],
    *,
    special_tokens: Sequence[str] = DEFAULT_SPECIAL_TOKENS,
    on_trained: Callable[[int], None] | None = None,
) -> Tokenizer:
    """One token for every different character of `texts`, by code point, after the special tokens and ``<|unk|>``.

    A character that `texts` does not have becomes ``<|unk|>``: such text does not survive a round trip.
    """
    characters: set[str] = set()
    for text in not_empty(texts, on_trained):
        characters.update(text)
    specials = [*special_tokens, UNK]
    vocab = {token: token_id for token_id, token in enumerate([*specials, *sorted(characters)])}
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token=UNK))
    backend.pre_tokenizer = pre_tokenizers.Split("\n", "merged_with_previous")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens(specials)
    return _finish(backend)


def _finish(backend: tokenizers.Tokenizer) -> Tokenizer:
    """Let the post-processor add bos, and name the parts that the special tokens play."""
    present = {
        token: token_id for token in (BOS, EOS, PAD, UNK) if (token_id := backend.token_to_id(token)) is not None
    }
    if BOS in present:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, present[BOS])]
        )
    bos, eos, pad, unk = (token if token in present else None for token in (BOS, EOS, PAD, UNK))
    return Tokenizer.from_tokenizers(backend, bos=bos, eos=eos, pad=pad, unk=unk, chat_template=CHATML)


def not_empty(texts: Iterable[str], on_trained: Callable[[int], None] | None) -> Iterator[str]:
    """The texts that have a character, reporting each after it was read.

    Raises:
        InputError: none has.
    """
    seen = False
    for text in texts:
        if not text:
            continue
        seen = True
        yield text
        if on_trained is not None:
            on_trained(len(text.encode()))
    if not seen:
        raise InputError(
            "there is no text to train a tokenizer on", remedy="check the corpus: is its train split empty?"
        )
