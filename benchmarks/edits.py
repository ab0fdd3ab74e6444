"""Examples of editing for `lookup.py`: a passage of a corpus comes back with one of its words replaced.

    python benchmarks/edits.py CORPUS OUT [--train 6000] [--test 200]

Passages of the corpus's `train` split make the training examples, those of its `valid` split the others. Then

    inkstone finetune --model MODEL --data OUT --out TAUGHT --method pairs --steps 250
    python benchmarks/lookup.py TAUGHT OUT
"""

import argparse
import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path

PASSAGE_WORDS = 45


def main() -> None:
    """Write the examples."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("corpus")
    parser.add_argument("out", type=Path)
    parser.add_argument("--train", type=int, default=6000)
    parser.add_argument("--test", type=int, default=200)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True)
    held_out = edits(arguments.corpus, "valid")
    write(arguments.out / "train.jsonl", itertools.islice(edits(arguments.corpus, "train"), arguments.train))
    write(arguments.out / "valid.jsonl", itertools.islice(held_out, 100))
    write(arguments.out / "test.jsonl", itertools.islice(held_out, arguments.test))


def write(path: Path, rows: Iterator[dict[str, str]]) -> None:
    """One row a line."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def edits(corpus: str, split: str) -> Iterator[dict[str, str]]:
    """Passages in words, each with a word to replace by another of a passage nearby."""
    from inkstone.data.corpus import Corpus

    draw = random.Random(0)
    other = "stone"
    for text in Corpus(corpus).texts(split):  # type: ignore[arg-type]
        words = text.split()
        # Not every passage of a long book, so that there are many books.
        for start in range(0, min(len(words), 100 * PASSAGE_WORDS) - PASSAGE_WORDS, 2 * PASSAGE_WORDS):
            passage = words[start : start + PASSAGE_WORDS]
            plain = [word for word in passage if word.isalpha() and word.isascii()]
            if len(plain) < PASSAGE_WORDS // 2:
                continue
            word = draw.choice(plain)
            edited = [other if each == word else each for each in passage]
            yield {"source": f"Replace {word} by {other}: {' '.join(passage)}", "target": " ".join(edited)}
            other = draw.choice(plain)


if __name__ == "__main__":
    main()
