"""A corpus as token ids on disk, read back memory-mapped."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inkstone.core.errors import InputError
from inkstone.core.files import StrPath, atomic_folder, read_json, write_json
from inkstone.core.progress import progress
from inkstone.tokenizer import Tokenizer

_TOKENS, _ENDS, _META = "tokens.bin", "ends.bin", "tokens.json"
_BATCH_DOCUMENTS = 1024
END_BYTES = 8
"""On disk, of where a document ends."""


class TokenStore:
    """All documents of a split as one run of token ids, and where each document ends.

    A document is `bos`, its tokens, `eos`, as far as the tokenizer has these.
    """

    def __init__(self, folder: StrPath) -> None:
        folder = Path(folder)
        meta = read_json(folder / _META)
        self.num_bytes: int = meta["num_bytes"]
        """UTF-8 bytes of the text."""
        self.tokens: NDArray[np.integer] = np.memmap(folder / _TOKENS, dtype=meta["dtype"], mode="r")
        self.ends: NDArray[np.int64] = np.fromfile(folder / _ENDS, dtype=np.int64)

    @property
    def num_tokens(self) -> int:
        """Token ids of all documents, special tokens included."""
        return int(self.tokens.shape[0])

    @property
    def num_documents(self) -> int:
        """Documents held."""
        return int(self.ends.shape[0])


def tokenize(texts: Iterable[str], tokenizer: Tokenizer, folder: StrPath, *, total: int | None = None) -> TokenStore:
    """Write the token ids of `texts` to `folder`, in constant memory; a store already there is reused.

    Args:
        texts: one string a document.
        tokenizer: encodes them.
        folder: appears complete or not at all.
        total: number of documents, for the progress bar.

    Raises:
        InputError: there is no text.
        ResourceError: the disk is full.
    """
    if not (Path(folder) / _META).is_file():
        with atomic_folder(folder) as temporary:
            _write(texts, tokenizer, temporary, total)
    return TokenStore(folder)


def _write(texts: Iterable[str], tokenizer: Tokenizer, folder: Path, total: int | None) -> None:
    dtype = token_dtype(tokenizer)
    end = num_bytes = 0
    with (
        open(folder / _TOKENS, "wb") as tokens_file,
        open(folder / _ENDS, "wb") as ends_file,
        progress("tokenize", total=total, unit="document") as bar,
    ):
        for batch in batched_texts(texts):
            ends = []
            for ids in tokenizer.encode_plain_batch(batch):
                document = np.asarray(framed(ids, tokenizer), dtype=dtype)
                document.tofile(tokens_file)
                end += document.shape[0]
                ends.append(end)
            np.asarray(ends, dtype=np.int64).tofile(ends_file)
            num_bytes += sum(len(text.encode()) for text in batch)
            bar.update(len(batch))
    if end == 0:
        raise InputError("there is no text to train on", remedy="collect more text, or relax the filters")
    write_json(folder / _META, {"dtype": dtype.name, "num_bytes": num_bytes})


def token_dtype(tokenizer: Tokenizer) -> np.dtype[np.unsignedinteger]:
    """The smallest that holds every id."""
    return np.dtype(np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32)


def framed(ids: list[int], tokenizer: Tokenizer) -> list[int]:
    """The ids of a text as those of a document."""
    start = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    end = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
    return start + ids + end


def batched_texts(texts: Iterable[str]) -> Iterator[list[str]]:
    """Texts in lists short enough that a list of long documents still fits in memory."""
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if len(batch) == _BATCH_DOCUMENTS or size > 1 << 22:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
