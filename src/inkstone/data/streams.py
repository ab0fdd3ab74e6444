"""Bytes of a file, decompressed while they are read."""

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, cast

from inkstone.core.errors import InputError

COMPRESSIONS = (".gz", ".zst")
CHUNK_BYTES = 1 << 20


def plain_suffix(path: Path) -> str:
    """The suffix in lower case with a compression's own suffix taken off: `books.jsonl.gz` is `.jsonl`."""
    name = path.name.lower()
    for compression in COMPRESSIONS:
        name = name.removesuffix(compression)
    return Path(name).suffix


def open_bytes(path: Path) -> tuple[IO[bytes], Callable[[], int]]:
    """Open `path` through its decompressor; also a function telling how many bytes of the file are used."""
    try:
        raw = path.open("rb")
    except OSError as error:
        raise InputError(
            f"cannot be opened ({error.strerror})", where=path, remedy="check the path and its permissions"
        ) from error
    if path.suffix.lower() == ".gz":
        return cast(IO[bytes], gzip.GzipFile(fileobj=raw)), raw.tell
    if path.suffix.lower() == ".zst":
        import pyarrow as pa

        return cast(
            IO[bytes], _ZstdStream(pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd"), raw)
        ), raw.tell
    return raw, raw.tell


class _ZstdStream(io.RawIOBase):
    """pyarrow's decompressed stream as an ordinary binary file that also closes the file below it."""

    def __init__(self, stream: IO[bytes], raw: IO[bytes]) -> None:
        self._stream = stream
        self._raw = raw

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        return bytes(self._stream.read() if size < 0 else self._stream.read(size))

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
            self._raw.close()
        super().close()


def byte_chunks(path: Path, advance: Callable[[int], None] | None = None) -> Iterator[bytes]:
    """The decompressed content in chunks of about a mebibyte.

    `advance` is told the bytes of the file used so far. Raises InputError when the compressed data are damaged.
    """
    stream, position = open_bytes(path)
    offset = 0
    with stream:
        while True:
            try:
                chunk = stream.read(CHUNK_BYTES)
            except (OSError, EOFError, zlib.error) as error:
                raise InputError(
                    f"compressed data are damaged or cut short after {offset} decompressed bytes ({error})",
                    where=path,
                    remedy="copy or download the file again",
                ) from error
            if not chunk:
                return
            offset += len(chunk)
            if advance is not None:
                advance(position())
            yield chunk
