"""Repair of texts without loss of meaning.

Mojibake is undone with ftfy, line by line and only where it is suspected. Of Unicode's compatibility mapping (NFKC)
the harmless part alone is applied: Latin ligatures, full-width letters and digits, half-width kana, Kangxi radicals,
odd spaces. Chinese punctuation stays full-width, and x² stays x². Source code keeps its characters and its indentation.
"""

import re
import unicodedata
from collections import Counter

import ftfy
from ftfy.badness import is_bad

CHANGES = ("mojibake", "control characters", "normalized", "white space")
_ASCII_CONTROLS = bytes({*range(32), 127} - {9, 10})
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u00ad\u200b\u2060\ufeff\ufffe\uffff\ud800-\udfff]")
_TERMINAL = re.compile("\x1b\\[[0-?]*[ -/]*[@-~]")
_CONTROL_MAP = {"\x0b": "\n", "\x0c": "\n", "\x85": "\n", "\u2028": "\n", "\u2029": "\n", "\r": "\n"}
_COMPATIBLE = re.compile(
    "[\u00a0\u1680\u2000-\u200a\u202f\u205f"  # spaces
    "\ufb00-\ufb06"  # Latin ligatures
    "\uff10-\uff19\uff21-\uff3a\uff41-\uff5a"  # full-width digits and letters
    "\uff66-\uff9f"  # half-width kana, with their voicing marks
    "\u2f00-\u2fd5]+"  # Kangxi radicals
)
_SUSPECT = re.compile(
    # What the first byte of a UTF-8 sequence looks like in the encodings it is mistaken for, and any byte after it:
    # a cheap test before ftfy's thorough one.
    "[\u00ac\u00c2-\u00f4\u0100-\u017f\u0192\u0392-\u03c9\u0402-\u044f\u201a\u2030\u2206\u221a\u2248\u2500-\u256c]"
    "[\u0080-\uffff]"
)


def clean(text: str, *, code: bool, changes: Counter[str] | None = None) -> str:
    """Clean one text; `changes` counts which steps altered it."""
    counted: Counter[str] = Counter() if changes is None else changes
    ascii_only = text.isascii()
    if not ascii_only and not code:
        text = _count(text, repair_mojibake(text), "mojibake", counted)
    if _has_controls(text, ascii_only):
        text = _count(text, _without_controls(text), "control characters", counted)
    if not ascii_only and not code:
        text = _count(text, _normalized(text), "normalized", counted)
    return _count(text, _spaced(text, code), "white space", counted)


def _count(before: str, after: str, change: str, changes: Counter[str]) -> str:
    if before != after:
        changes[change] += 1
    return after


def repair_mojibake(text: str) -> str:
    """The text with each line that was decoded in a wrong encoding decoded in the right one."""
    if not _SUSPECT.search(text):
        return text
    return "\n".join(_repaired_line(line) for line in text.split("\n"))


def _repaired_line(line: str) -> str:
    return str(ftfy.fix_encoding(line)) if _SUSPECT.search(line) and is_bad(line) else line


def _has_controls(text: str, ascii_only: bool) -> bool:
    if ascii_only:
        return len(text.encode().translate(None, _ASCII_CONTROLS)) < len(text)
    return _CONTROL.search(text) is not None


def _without_controls(text: str) -> str:
    if "\x1b" in text:
        text = _TERMINAL.sub("", text)
    text = text.replace("\r\n", "\n")
    return _CONTROL.sub(
        lambda match: _CONTROL_MAP.get(match[0], "\ufffd" if "\ud800" <= match[0] <= "\udfff" else ""), text
    )


def _normalized(text: str) -> str:
    text = _COMPATIBLE.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
    return text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)


def _spaced(text: str, code: bool) -> str:
    for _ in range(4):  # most trailing white space is one or two characters: much faster than line by line
        if " \n" in text:
            text = text.replace(" \n", "\n")
    if " \n" in text or "\t\n" in text or "\u3000\n" in text:
        text = "\n".join(line.rstrip(" \t\u3000") for line in text.split("\n"))
    while not code and "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text.strip("\n").rstrip()
