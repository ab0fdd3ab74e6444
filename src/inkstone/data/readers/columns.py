"""Records with named columns: which of them is the text, and what becomes of the others."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from inkstone.core.config import nearest
from inkstone.core.errors import InputError
from inkstone.core.records import Document
from inkstone.data.readers.base import Reading, ReadOptions, Source
from inkstone.data.tables import ID_LIKE, TEXT_NAMES


@dataclass(frozen=True)
class Columns:
    """The columns of one file that make up the text."""

    text: tuple[str, ...]

    @classmethod
    def choose(cls, options: ReadOptions, names: Iterable[str], lengths: Mapping[str, float], where: str) -> "Columns":
        """Pick the text columns of a file with columns `names`.

        `lengths` are the mean characters of those columns that hold strings, over the first records. Raises InputError,
        naming the columns, when none is configured that is there and none can be meant.
        """
        names = list(names)
        for joined in options.column_lists():
            if all(name in names for name in joined):
                return cls(joined)
        lengths = {name: length for name, length in lengths.items() if name.lower() not in ID_LIKE}
        longest = sorted(lengths, key=lambda name: -lengths[name])
        if options.text_column is not None:
            if options.text_column in names:
                return cls((options.text_column,))
            closest = nearest(options.text_column, names)
            raise _no_text(
                f"there is no column {options.text_column!r}", names, where, [closest] if closest else longest
            )
        for name in TEXT_NAMES:
            if name in names:
                return cls((name,))
        if len(longest) == 1 or (longest and _stands_out(*(lengths[name] for name in longest[:2]))):
            return cls((longest[0],))
        raise _no_text("it is not clear which column holds the text", names, where, longest)

    def document(self, row: Mapping[str, Any], source: Source, number: int, reading: Reading) -> Iterator[Document]:
        """The document of record `number`, counted from 1; nothing when its text is empty or the record malformed."""
        texts = [row.get(name) for name in self.text]
        where = f"{source.file}:{number}"
        if missing := [name for name in self.text if name not in row]:
            reading.malformed(
                f"the record has no {missing[0]!r} (it has {', '.join(row) or 'nothing'})", where, "complete it"
            )
            return
        for name, text in zip(self.text, texts, strict=True):
            if text is not None and not isinstance(text, str):
                reading.malformed(f"{name!r} is not a string but {type(text).__name__}", where, "make it a string")
                return
        text = "\n".join(text for text in texts if text)
        if not text or text.isspace():
            reading.counts["empty"] += 1
            return
        options = reading.options
        own_id, lang = row.get(options.id_column), row.get(options.lang_column)
        special = {*self.text, options.id_column, options.lang_column}
        meta = {name: value for name, value in row.items() if name not in special and value is not None}
        yield from reading.cut(
            Document(
                text,
                f"{source.name}:{number}" if own_id in (None, "") else str(own_id),
                source.name,
                str(lang) if lang else options.lang,
                meta,
            )
        )


def _stands_out(first: float, second: float) -> bool:
    """Whether texts of the first mean length, beside others of the second, can only be the ones meant."""
    return first >= 20 and first >= 5 * second


def _no_text(cause: str, names: list[str], where: str, likely: list[str]) -> InputError:
    example = next(iter([*likely, *names]), "text")
    return InputError(
        f"{cause}; the columns are: {', '.join(names) or '(none)'}",
        where=where,
        remedy=f"name the column with `text_column: {example}`, or several to join with `columns: [a, b]`",
    )
