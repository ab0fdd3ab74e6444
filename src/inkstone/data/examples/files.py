"""Which files hold the examples of each split."""

from pathlib import Path

from inkstone.core.errors import InputError
from inkstone.data.examples.hub import PREFIX, dataset_files
from inkstone.data.examples.rows import SUFFIXES, existing
from inkstone.data.examples.splits import SPLITS, split_of
from inkstone.data.streams import plain_suffix


def files_by_split(path: str) -> dict[str, list[str]]:
    """The files behind a path, by the splits they are named after.

    A path is a file, two parallel files (`train.en|train.zh`), a folder (of which the files with such names count) or a
    hub data set. Other names than those of splits stand for training.

    Raises:
        InputError: there is no such path, or no file of a known kind behind it.
    """
    if path.startswith(PREFIX):
        files = {str(file.path): file.split or "train" for file in dataset_files(path)}
    elif "|" in path or not Path(path).is_dir():
        first, *_ = [existing(part.strip()) for part in path.split("|")]
        files = {path: split_of(first.name) or "train"}
    else:
        found = [file for file in sorted(Path(path).iterdir()) if file.is_file() and plain_suffix(file) in SUFFIXES]
        files = {str(file): split for file in found if (split := split_of(file.name)) is not None}
        if not files:
            there = ", ".join(file.name for file in found[:8]) or "no file of examples"
            raise InputError(
                f"the folder has no file named after a split; it holds {there}",
                where=path,
                remedy="name files train, valid and test (train.jsonl, train-1.parquet, dev.tsv …), or give one file",
            )
    return {split: names for split in SPLITS if (names := [name for name, of in files.items() if of == split])}
