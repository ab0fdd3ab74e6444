"""Exact duplicates, found with bounded memory.

The 128-bit hashes seen so far live in an SQLite table on disk with a page cache of fixed size, so memory does not grow
with the corpus; the file takes about 60 bytes per document and is removed afterwards.
"""

import hashlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

CACHE_KIB = 65_536


_WHITE_SPACE = b" \t\n\r\x0b\x0c"


def text_key(data: bytes) -> bytes:
    """128-bit BLAKE2 hash of a text in UTF-8, white space left out."""
    data = data.translate(None, _WHITE_SPACE).replace(b"\xe3\x80\x80", b"")
    return hashlib.blake2b(data, digest_size=16).digest()


class SeenTexts:
    """The texts seen so far, on disk at `path` until the block ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.unlink(missing_ok=True)
        self._connection = sqlite3.connect(path, isolation_level=None)
        for setting in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{CACHE_KIB}", "locking_mode=EXCLUSIVE"):
            self._connection.execute(f"PRAGMA {setting}")
        self._connection.execute("CREATE TABLE seen (key BLOB PRIMARY KEY, id TEXT) WITHOUT ROWID")
        self._connection.execute("BEGIN")

    def first_ids(self, keys: Sequence[bytes], ids: Sequence[str]) -> list[str | None]:
        """For each text, the id of the earlier one with the same key; None for those not seen before, which now are."""
        return [self._first_id(key, document_id) for key, document_id in zip(keys, ids, strict=True)]

    def _first_id(self, key: bytes, document_id: str) -> str | None:
        added = self._connection.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (key, document_id)).rowcount
        if added:
            return None
        return str(self._connection.execute("SELECT id FROM seen WHERE key = ?", (key,)).fetchone()[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        self._path.unlink(missing_ok=True)
