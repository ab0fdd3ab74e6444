"""Repair of texts without loss of meaning.

Mojibake is undone with ftfy, line by line and only where it is suspected. Of Unicode's compatibility mapping (NFKC) only
the harmless part is applied: Latin ligatures, full-width letters and digits, half-width kana, Kangxi radicals, odd
spaces. Chinese punctuation stays full-width, and x² stays x². Source code keeps its characters and its indentation.
"""

import re
import unicodedata
from collections import Counter

import ftfy
from ftfy.badness import is_bad

CHANGES = ("mojibake", "normalized", "control characters", "white space")
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
_TRAILING = re.compile("[ \t\u3000]+(?=\n)")
_EMPTY_LINES = re.compile("\n{3,}")


def clean(text: str, *, code: bool, changes: Counter[str] | None = None) -> str:
    """Clean one text; `changes` counts which steps altered it."""
    counted: Counter[str] = Counter() if changes is None else changes
    ascii_only = text.isascii()
    if not ascii_only and not code:
        text = _count(text, _repaired(text), "mojibake", counted)
    if _CONTROL.search(text):
        text = _count(text, _without_controls(text), "control characters", counted)
    if not ascii_only and not code:
        text = _count(text, _normalized(text), "normalized", counted)
    return _count(text, _spaced(text, code), "white space", counted)


def _count(before: str, after: str, change: str, changes: Counter[str]) -> str:
    if before != after:
        changes[change] += 1
    return after


def _repaired(text: str) -> str:
    if not is_bad(text):
        return text
    return "\n".join(str(ftfy.fix_encoding(line)) if is_bad(line) else line for line in text.split("\n"))


def _without_controls(text: str) -> str:
    if "\x1b" in text:
        text = _TERMINAL.sub("", text)
    text = text.replace("\r\n", "\n")
    return _CONTROL.sub(lambda match: _CONTROL_MAP.get(match[0], "\ufffd" if "\ud800" <= match[0] <= "\udfff" else ""), text)


def _normalized(text: str) -> str:
    text = _COMPATIBLE.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
    return text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)


def _spaced(text: str, code: bool) -> str:
    if " \n" in text or "\t\n" in text or "\u3000\n" in text:
        text = _TRAILING.sub("", text)
    if not code and "\n\n\n" in text:
        text = _EMPTY_LINES.sub("\n\n", text)
    return text.strip("\n").rstrip()
