"""xz (LZMA2) as a baseline: how many bits a general-purpose compressor needs for the same bytes."""

import lzma
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

_SMALLEST_DICTIONARY = 1 << 20


@dataclass(frozen=True, slots=True)
class XzSizes:
    """Bits per byte of held-out text."""

    alone: float
    """The text compressed by itself."""
    primed: float
    """What the text adds to the size of training text compressed together with it."""
    train_bytes: int

    @property
    def best(self) -> float:
        """The stricter baseline: the smaller of the two."""
        return min(self.alone, self.primed)


def measure_xz(valid: bytes, train: bytes) -> XzSizes:
    """Compress `valid` alone and after `train`, at xz's strongest preset (9e).

    The dictionary covers both texts, so everything in `train` is in reach; there is no container, so no header counts.
    """
    with ThreadPoolExecutor(2) as pool:  # lzma releases the interpreter lock
        both, first, alone = pool.map(compressed_size, [train + valid, train, valid])
    num_bytes = len(valid)
    return XzSizes(8 * alone / num_bytes, 8 * (both - first) / num_bytes, len(train))


def compressed_size(data: bytes) -> int:
    """Bytes of `data` as a raw LZMA2 stream, preset 9e with a dictionary as large as `data`."""
    dictionary = max(_SMALLEST_DICTIONARY, len(data))
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": dictionary}]
    return len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=filters))
