"""The corpus on disk: Parquet shards of documents, and the card that tells what became of every document."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from inkstone.core.errors import InputError
from inkstone.core.files import StrPath, atomic_folder, read_json
from inkstone.core.records import Document

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

T = TypeVar("T")
Split = Literal["train", "valid"]
SPLITS: tuple[Split, ...] = ("train", "valid")
COLUMNS = ("id", "text", "source", "lang", "meta")
ROW_GROUP_CHARS = 4_000_000
ROW_GROUP_DOCUMENTS = 10_000
SHARD_BYTES = 256_000_000
BATCH_ROWS = 64
_SAMPLED_GROUPS = 8


def schema() -> "pa.Schema":
    """Arrow schema of documents; `meta` is a JSON object as a string."""
    import pyarrow as pa

    return pa.schema([pa.field(name, pa.string(), nullable=name == "lang") for name in COLUMNS])


def to_table(documents: Sequence[Document]) -> "pa.Table":
    """Documents as an Arrow table."""
    import pyarrow as pa

    columns = [
        [document.id for document in documents],
        [document.text for document in documents],
        [document.source for document in documents],
        [document.lang for document in documents],
        [json.dumps(dict(d.meta), ensure_ascii=False, default=str) if d.meta else "{}" for d in documents],
    ]
    return pa.table([pa.array(column, pa.string()) for column in columns], schema=schema())


def text_bytes(table: "pa.Table") -> int:
    """UTF-8 bytes of the texts in a table."""
    import pyarrow.compute as pc

    return int(pc.sum(pc.binary_length(table["text"])).as_py() or 0)


class ShardWriter:
    """Writes documents in order into `00000.parquet`, `00001.parquet` … in a folder; holds one row group in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.num_documents = 0
        self.num_bytes = 0
        """UTF-8 bytes of text."""
        self._held: list[Document] = []
        self._held_chars = 0
        self._shards = 0
        self._shard_bytes = 0
        self._writer: pq.ParquetWriter | None = None

    def write(self, document: Document) -> None:
        """Add one document."""
        self._held.append(document)
        self._held_chars += len(document.text)
        if self._held_chars >= ROW_GROUP_CHARS or len(self._held) >= ROW_GROUP_DOCUMENTS:
            self._flush()

    def _flush(self) -> None:
        if self._held:
            table = to_table(self._held)
            self._held, self._held_chars = [], 0
            self._write_table(table)

    def _write_table(self, table: "pa.Table") -> None:
        if self._writer is None:
            self._open()
        assert self._writer is not None
        self._writer.write_table(table, row_group_size=max(table.num_rows, 1))
        num_bytes = text_bytes(table)
        self.num_documents += table.num_rows
        self.num_bytes += num_bytes
        self._shard_bytes += num_bytes
        if self._shard_bytes >= SHARD_BYTES:
            self._close_shard()

    def _open(self) -> None:
        import pyarrow.parquet as pq

        self._writer = pq.ParquetWriter(
            self.folder / f"{self._shards:05d}.parquet",
            schema(),
            compression="zstd",
            compression_level=1,
            use_dictionary=["source", "lang"],
            write_statistics=False,
        )
        self._shards += 1

    def _close_shard(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            self._shard_bytes = 0
            writer.close()

    def close(self) -> None:
        """Write what is held. A folder without documents gets one empty shard."""
        self._flush()
        if self._shards == 0:
            self._open()
        self._close_shard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        elif self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()


class CorpusWriter:
    """Writes a corpus: `train/` and `valid/` appear when the block ends without an error.

    The card is the caller's, written after it.
    """

    def __init__(self, path: StrPath) -> None:
        self.path = Path(path)
        self.shards: dict[Split, ShardWriter] = {}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            for split in SPLITS:
                folder = stack.enter_context(atomic_folder(self.path / split))
                self.shards[split] = stack.enter_context(ShardWriter(folder))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def write(self, document: Document, split: Split) -> None:
        """Add one document to a split."""
        self.shards[split].write(document)


class Corpus:
    """A corpus that `prepare` wrote. Reading streams: one row group is in memory at a time."""

    def __init__(self, path: StrPath) -> None:
        """Open the corpus at `path`; raises InputError when that is none."""
        self.path = Path(path)
        if not (self.path / "card.json").is_file() or not (self.path / "train").is_dir():
            raise InputError(
                "is not a corpus (no card.json, no train/)", where=self.path, remedy="make one with `inkstone prepare`"
            )
        self.card: Mapping[str, Any] = read_json(self.path / "card.json")

    def documents(self, split: Split) -> Iterator[Document]:
        """The split's documents, always in the same order."""
        return read_documents(self.path / split)

    def texts(self, split: Split) -> Iterator[str]:
        """The split's texts, always in the same order."""
        for batch in read_batches(self.path / split, ["text"]):
            yield from batch.column(0).to_pylist()

    def sample(self, split: Split, num_bytes: int) -> list[str]:
        """Texts from all over a split, about so many UTF-8 bytes; at least one where there is any."""
        groups = []
        for path in shard_paths(self.path / split):
            with open_shard(path) as file:
                groups += [(path, number) for number in range(file.num_row_groups)]
        chosen = _evenly(groups, _SAMPLED_GROUPS)
        share = num_bytes * len(groups) / max(1, len(chosen) * self.num_bytes(split))
        texts: list[str] = []
        for path, number in chosen:
            with open_shard(path) as file, shard_damage(path):
                column = file.read_row_group(number, columns=["text"]).column("text")
            rows = _evenly(range(len(column)), max(1, round(len(column) * share)))
            texts += column.take(rows).to_pylist()
        return texts

    def num_documents(self, split: Split) -> int:
        """How many documents the split holds."""
        return int(self.card["splits"][split]["documents"])

    def num_bytes(self, split: Split) -> int:
        """UTF-8 bytes of the split's texts."""
        return int(self.card["splits"][split]["bytes"])


def _evenly(items: Sequence[T], count: int) -> list[T]:
    """So many of the items, or all if there are no more, at equal distances."""
    count = min(count, len(items))
    return [items[(2 * number + 1) * len(items) // (2 * count)] for number in range(count)]


def read_documents(folder: Path) -> Iterator[Document]:
    """Documents of a folder of shards, in order. Raises InputError when a shard is damaged."""
    for batch in read_batches(folder, list(COLUMNS)):
        yield from to_documents(batch)


def to_documents(table: "pa.Table | pa.RecordBatch") -> Iterator[Document]:
    """The documents of an Arrow table with the columns of `schema`."""
    ids, texts, sources, langs, metas = (table.column(name).to_pylist() for name in COLUMNS)
    for i, text in enumerate(texts):
        yield Document(text, ids[i], sources[i], langs[i], {} if metas[i] == "{}" else json.loads(metas[i]))


def read_batches(folder: Path, columns: list[str]) -> "Iterator[pa.RecordBatch]":
    """Record batches of a few documents each, over all shards of a folder."""
    for path in shard_paths(folder):
        with open_shard(path) as file, shard_damage(path):
            yield from file.iter_batches(batch_size=BATCH_ROWS, columns=columns)


def shard_paths(folder: Path) -> list[Path]:
    """The shards of a folder, in order. Raises InputError when there is none."""
    paths = sorted(folder.glob("*.parquet"))
    if not paths:
        raise InputError("holds no Parquet files", where=folder, remedy="run the stage that writes it again")
    return paths


@contextlib.contextmanager
def open_shard(path: Path) -> "Iterator[pq.ParquetFile]":
    """Open one shard. Raises InputError when it is damaged or is no file of documents."""
    import pyarrow.parquet as pq

    with shard_damage(path):
        file = pq.ParquetFile(path)
    with file:
        if missing := [name for name in COLUMNS if name not in file.schema_arrow.names]:
            raise InputError(
                f"has no column {missing[0]!r}", where=path, remedy="give the folder that `collect` or `prepare` wrote"
            )
        yield file


@contextlib.contextmanager
def shard_damage(path: Path) -> Iterator[None]:
    """Turn what Arrow says about a damaged shard into an InputError."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        detail = str(error).splitlines()[0]
        raise InputError(f"is damaged: {detail}", where=path, remedy="run the stage that wrote it again") from error
