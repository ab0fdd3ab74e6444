"""Web pages: their visible text, laid out by inscriptis."""

import itertools
import re
from collections.abc import Iterator
from typing import ClassVar

from inkstone.core.errors import InputError
from inkstone.core.records import Document
from inkstone.data.encoding import BOMS
from inkstone.data.readers.base import Reading, Source
from inkstone.data.streams import byte_chunks

MAX_PAGE_CHARS = 50_000_000
_CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w-]+)", re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_BROKEN_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")


class HtmlReader:
    """One page is one document. A page is parsed whole, so its size is limited."""

    suffixes: ClassVar[frozenset[str]] = frozenset({".html", ".htm", ".xhtml"})
    scheme: ClassVar[str] = ""

    def read(self, source: Source, reading: Reading) -> Iterator[Document]:
        """Yield the page."""
        texts: list[str] = []
        length = 0
        for text in reading.text(source, _declared_encoding(source)):
            texts.append(text)
            length += len(text)
            if length > MAX_PAGE_CHARS:
                cause = f"the page is longer than {MAX_PAGE_CHARS:,} characters"
                reading.problem(
                    InputError(cause, where=source.file, remedy="split it into pages, or set `on_error: skip`")
                )
                return
        html = _BROKEN_DECLARATION.sub("", "".join(texts))
        text = visible_text(html)
        if not text.strip():
            reading.counts["empty"] += 1
            return
        title = _TITLE.search(html)
        meta = {"title": " ".join(title[1].split())} if title else {}
        yield from reading.cut(Document(text, source.name, source.name, reading.options.lang, meta))


def visible_text(html: str) -> str:
    """What a browser would show of `html` as plain text; empty for a page without content."""
    if not html.strip():
        return ""
    from inscriptis import get_text
    from inscriptis.css_profiles import CSS_PROFILES
    from inscriptis.model.config import ParserConfig

    try:
        return str(get_text(html, ParserConfig(css=CSS_PROFILES["strict"])))
    except (ValueError, RecursionError):
        return ""


def _declared_encoding(source: Source) -> str | None:
    """The charset that the page declares, where Python knows it and no byte order mark overrules it."""
    import codecs

    head = next(iter(itertools.islice(byte_chunks(source.file), 1)), b"")[:4096]
    match = _CHARSET.search(head)
    if match is None or any(head.startswith(mark) for mark, _ in BOMS):
        return None
    name = match[1].decode("ascii").lower()
    try:
        known = codecs.lookup(
            {"gb2312": "gb18030", "gbk": "gb18030", "iso-8859-1": "cp1252", "shift_jis": "cp932"}.get(name, name)
        ).name
        head.decode(known, "ignore")
    except LookupError:
        return None
    return None if known in ("utf-8", "ascii") or known.startswith("utf-16") else known
