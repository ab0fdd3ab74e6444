"""Plain text, Markdown and source code."""

from collections.abc import Iterator
from typing import ClassVar

from inkstone.core.records import Document
from inkstone.data.readers.base import Reading, Source, pieces

PROSE = frozenset({".txt", ".text", ".md", ".markdown", ".rst", ".raw", ".tokens", ".adoc", ".org", ".tex"})
_CODE_SUFFIXES = """
    py pyi pyx c h cc cpp cxx hh hpp hxx cs java kt kts scala go rs swift m mm js mjs cjs jsx ts tsx vue svelte
    css scss less rb php pl pm lua r jl hs ml mli ex exs erl clj lisp el scm dart f f90 f95 pas asm s sql sh bash
    zsh fish ps1 bat cmake mk toml yaml yml ini cfg proto vhd v sv tcl zig nim groovy gradle
"""
CODE = frozenset(f".{suffix}" for suffix in _CODE_SUFFIXES.split())


class TextReader:
    """One file is one document, or one per line or paragraph; never more than one piece of it in memory."""

    suffixes: ClassVar[frozenset[str]] = PROSE | CODE
    scheme: ClassVar[str] = ""

    def read(self, source: Source, reading: Reading) -> Iterator[Document]:
        """Yield the file's documents."""
        code = source.suffix in CODE
        lang = "code" if code else reading.options.lang
        texts = reading.text(source)
        if code or reading.options.split == "none":
            limit = reading.options.max_document_chars
            yield from reading.numbered(pieces(texts, limit), Document("", source.name, source.name, lang))
            return
        blocks = lines(texts) if reading.options.split == "lines" else paragraphs(lines(texts))
        for number, block in blocks:
            yield from reading.cut(Document(block, f"{source.name}:{number}", source.name, lang))


def lines(texts: Iterator[str]) -> Iterator[tuple[int, str]]:
    """Non-empty lines with their numbers, counted from 1."""
    return ((number, line) for number, line in all_lines(texts) if line and not line.isspace())


def all_lines(texts: Iterator[str]) -> Iterator[tuple[int, str]]:
    """All lines with their numbers, without line ends. Only a line feed ends one: JSON strings may hold U+2028."""
    number = 0
    parts: list[str] = []
    for text in texts:
        first, *rest = text.split("\n")
        parts.append(first)
        for piece in rest:
            number += 1
            yield number, "".join(parts)
            parts = [piece]
    if last := "".join(parts):
        yield number + 1, last


def paragraphs(numbered: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Neighboring lines joined; a gap in the numbers is an empty line."""
    held: list[str] = []
    first = last = 0
    for number, line in numbered:
        if held and number != last + 1:
            yield first, "\n".join(held)
            held = []
        if not held:
            first = number
        held.append(line)
        last = number
    if held:
        yield first, "\n".join(held)
