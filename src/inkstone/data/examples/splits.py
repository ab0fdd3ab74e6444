"""Names of splits, and what is held out."""

import re

from inkstone.data.split import as_fraction, is_held_out

SPLITS = ("train", "valid", "test")
_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "validation", "val", "dev"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_FIRST_WORD = re.compile(r"[a-z]+")


def split_of(name: str) -> str | None:
    """The split that a file's name begins with (`train-00001.jsonl.gz`, `dev.tsv`); None for other names."""
    word = _FIRST_WORD.match(name.lower())
    return _NAMES.get(word[0]) if word else None


def is_for_test(key: str, fraction: float) -> bool:
    """Whether examples with this group's key are held out for a test: of 1/20, where SHA-1 of it modulo 20 is 0."""
    return is_held_out(key, as_fraction(fraction))


def is_for_validation(key: str, fraction: float) -> bool:
    """Whether examples with this group's key are held out for validation.

    A word is put before the key, so that this share is independent of the one that is held out for a test.
    """
    return is_held_out(f"valid:{key}", as_fraction(fraction))
