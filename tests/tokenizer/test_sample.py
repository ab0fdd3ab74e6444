import random
import tracemalloc
from collections.abc import Iterator

from inkstone.tokenizer.sample import BLOCK_CHARACTERS, sample_blocks


def documents(count: int, language: str | None = None, size: int = 3000) -> list[tuple[str, str | None]]:
    return [(f"{language} {n} ".ljust(size, "x"), language) for n in range(count)]


def test_everything_that_fits_is_kept_whole() -> None:
    text = "line\n" * 10_000
    blocks = list(sample_blocks([(text, None), ("短文", "zh")], 10**6))
    assert "".join(sorted(blocks)) == text + "短文"
    assert max(map(len, blocks)) <= BLOCK_CHARACTERS


def test_budget_holds_and_order_does_not_matter() -> None:
    stream = documents(500)
    sample = list(sample_blocks(stream, 100_000, seed=3))
    assert 90_000 < sum(len(block.encode()) for block in sample) <= 100_000
    shuffled = random.Random(0).sample(stream, len(stream))
    assert list(sample_blocks(shuffled, 100_000, seed=3)) == sample
    assert list(sample_blocks(stream, 100_000, seed=4)) != sample


def test_sample_is_uniform() -> None:
    """Over many seeds every document is chosen equally often: 20 of 100 each time."""
    counts = [0] * 100
    for seed in range(300):
        for block in sample_blocks(documents(100, size=100), 2000, seed=seed):
            counts[int(block.split()[1])] += 1
    assert sum(counts) == 300 * 20
    assert min(counts) > 60 - 5 * 7  # binomial(300, 0.2): mean 60, standard deviation 6.9
    assert max(counts) < 60 + 5 * 7


def test_languages_are_balanced_on_request() -> None:
    stream = [*documents(400, "en"), *documents(40, "zh"), *documents(2, None)]
    sample = list(sample_blocks(stream, 90_000, balance=True))
    by_language = {name: sum(len(b) for b in sample if b.startswith(name)) for name in ("en", "zh", "None")}
    assert by_language == {"en": 30_000, "zh": 30_000, "None": 6_000}


def test_memory_does_not_grow_with_the_stream() -> None:
    def peak(count: int) -> int:
        def stream() -> Iterator[tuple[str, None]]:
            for n in range(count):
                yield f"{n} ".ljust(5000, "x"), None

        tracemalloc.start()
        list(sample_blocks(stream(), 200_000))
        _, high = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return high

    assert peak(5000) < 1.5 * peak(500)
