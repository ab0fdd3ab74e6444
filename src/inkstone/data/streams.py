"""Bytes of a file, decompressed while they are read."""

import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from inkstone.core.errors import InputError

COMPRESSIONS = (".gz", ".zst")
CHUNK_BYTES = 1 << 20


def plain_suffix(path: Path) -> str:
    """The suffix in lower case with a compression's own suffix taken off: `books.jsonl.gz` is `.jsonl`."""
    name = path.name.lower()
    for compression in COMPRESSIONS:
        name = name.removesuffix(compression)
    return Path(name).suffix


def byte_chunks(path: Path, advance: Callable[[int], None] | None = None) -> Iterator[bytes]:
    """The decompressed content in chunks of about a mebibyte.

    `advance` is told the bytes of the file used so far. Raises InputError when the file cannot be opened or its
    compressed data are damaged.
    """
    offset = 0
    with _opened(path) as raw:
        chunks = _decompressed(path, raw)
        while True:
            try:
                chunk = next(chunks, None)
            except (OSError, EOFError, zlib.error) as error:
                raise InputError(
                    f"compressed data are damaged or cut short after {offset} decompressed bytes ({error})",
                    where=path,
                    remedy="copy or download the file again",
                ) from error
            if chunk is None:
                return
            offset += len(chunk)
            if advance is not None:
                advance(raw.tell())
            yield chunk


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        cause = f"cannot be opened ({error.strerror})"
        raise InputError(cause, where=path, remedy="check the path and its permissions") from error


def _decompressed(path: Path, raw: BinaryIO) -> Iterator[bytes]:
    compression = path.suffix.lower()
    if compression == ".gz":
        with gzip.GzipFile(fileobj=raw) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk
    elif compression == ".zst":
        yield from _zstd_frames(raw)
    else:
        while chunk := raw.read(CHUNK_BYTES):
            yield chunk


def _zstd_frames(raw: BinaryIO) -> Iterator[bytes]:
    import pyarrow as pa

    with pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            yield bytes(chunk)
