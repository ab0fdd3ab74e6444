import lzma
import random
import zlib

import pytest

from inkstone.evaluate.xz import compressed_size, measure_xz


def test_noise_costs_eight_bits_and_repetition_next_to_nothing() -> None:
    noise = random.Random(0).randbytes(100_000)
    sizes = measure_xz(noise, b"")
    assert sizes.alone == pytest.approx(8, abs=0.01)
    assert sizes.primed == pytest.approx(sizes.alone, abs=0.01)
    assert sizes.best == min(sizes.primed, sizes.alone)
    assert measure_xz(b"ink " * 10_000, b"").best < 0.05


def test_training_text_in_reach_makes_its_copy_free() -> None:
    """Two megabytes before the text, more than the smallest dictionary, are still found."""
    noise = random.Random(1).randbytes(2_000_000)
    sizes = measure_xz(noise[:50_000], noise)
    assert sizes.alone > 7.9
    assert sizes.primed < 0.1
    assert sizes.best == sizes.primed
    assert sizes.train_bytes == 2_000_000


def test_close_to_the_xz_file_without_its_header() -> None:
    text = ("".join(f"line {n * 7919 % 1000} of the text\n" for n in range(20_000))).encode()
    file = lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)
    assert len(file) - 100 < compressed_size(text) < len(file)
    assert compressed_size(text) < len(zlib.compress(text, 9))
