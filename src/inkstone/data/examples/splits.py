"""Names of splits."""

import re

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
