"""From a stream of tokens to a stream of text that never takes a word back."""

from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[int]], str]
"""Token ids → text; bytes that are no whole character become U+FFFD."""

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"
_LONGEST_CHARACTER = 4
_PROMPT_TAIL = 8


class TextStream:
    """Text of one growing completion, in pieces.

    A piece never ends inside a UTF-8 character, what was given out never changes, and a stop string is never given
    out, not even in part, wherever the borders of tokens fall.
    """

    def __init__(self, decode: Decode, prompt_ids: Sequence[int] = (), stop: Sequence[str] = ()) -> None:
        """Start after `prompt_ids`, which some tokenizers need to know whether the first word has a space before."""
        self.stopped = False
        """Whether a stop string was found."""
        self._decode = decode
        self._scanner = StopScanner(stop)
        self._context = list(prompt_ids[-_PROMPT_TAIL:])
        self._fresh: list[int] = []
        self._before = decode(self._context)
        self._given = ""

    def push(self, token: int) -> str:
        """Take one more token; returns the text that is now certain, perhaps none."""
        if self.stopped:
            return ""
        self._fresh.append(token)
        text = self._fresh_text()
        piece = text[len(self._given) : _settled(text)]
        self._given += piece
        if piece and self._given == text:
            self._context, self._fresh = self._fresh, []
            self._before, self._given = self._decode(self._context), ""
        certain = self._scanner.push(piece)
        self.stopped = self._scanner.found is not None
        return certain

    def _fresh_text(self) -> str:
        """The text of the tokens since the context.

        Where a tokenizer writes bytes as tokens, an unfinished character spoils those before it, for as long as a
        character has bytes; then the bytes are not going to be one, and the context is given up.
        """
        text = self._decode(self._context + self._fresh)
        if text.startswith(self._before + self._given):
            return text[len(self._before) :]
        if len(self._fresh) < _LONGEST_CHARACTER:
            return self._given
        self._context, self._before = [], ""
        return self._decode(self._fresh)

    def finish(self) -> str:
        """The text held back so far; bytes of a character that never became whole are left out."""
        return "" if self.stopped else self._scanner.finish()


class StopScanner:
    """Passes text on up to the stop string that is complete first, whatever pieces the text comes in."""

    def __init__(self, stop: Sequence[str]) -> None:
        self.found: str | None = None
        self._stop = tuple(stop)
        self._held = ""

    def push(self, piece: str) -> str:
        """Take more text; returns what is certain to come before any stop string."""
        text = self._held + piece
        hits = [(start + len(stop), start, stop) for stop in self._stop if (start := text.find(stop)) >= 0]
        if hits:
            _, start, self.found = min(hits)
            self._held = ""
            return text[:start]
        held = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def finish(self) -> str:
        """The text held back because it could have been the start of a stop string."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)


def _settled(text: str) -> int:
    """Length of `text` without an unfinished character at its end."""
    start = len(text)
    while start > 0 and len(text) - start < _LONGEST_CHARACTER and text[start - 1] == _UNFINISHED:
        start -= 1
    return start
