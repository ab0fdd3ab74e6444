"""How many threads a native step takes: measured once for a machine and a shape, and kept in the user's cache."""

import hashlib
import os
import time
from contextlib import suppress
from itertools import accumulate

import torch

from inkstone.core.errors import InkstoneError
from inkstone.core.files import read_json, user_cache, write_json
from inkstone.nn.kernels.decoder_step import BLOCK_SIZE, NativeDecoder

_ROWS = (1, 4, 16, 64)
"""Tokens of the steps that are measured: single ones of so many sequences, and at last a piece of a prompt."""
_REPEATS = 5
_BUSY = 0.5
"""Programs that run, for each thread, from which on what is measured says little and would be kept for long."""
_AS_GOOD = 1.05
"""More threads are taken only where they are faster by more than this: others may need them."""


def threads_by_rows(decoder: NativeDecoder) -> dict[int, int]:
    """Rows of a step → threads that are best from so many on; all threads while the machine has other work to do.

    Args:
        decoder: whose blocks hold nothing yet.
    """
    path = user_cache("threads") / f"{hashlib.sha256(decoder.kind.encode()).hexdigest()[:16]}.json"
    with suppress(InkstoneError, ValueError, TypeError, AttributeError):
        kept = {int(rows): int(threads) for rows, threads in read_json(path).items()}
        if 1 in kept and all(1 <= threads <= decoder.num_threads for threads in kept.values()):
            return kept
    if os.getloadavg()[0] > _BUSY * decoder.num_threads:
        return {1: decoder.num_threads}
    most = min(decoder.num_blocks, decoder.context)
    measured = {rows: _fewest(_seconds(decoder, rows)) for rows in _ROWS if rows <= most}
    with suppress(InkstoneError, OSError):  # a home that cannot be written to: measured again next time
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, measured)
    return measured


def _seconds(decoder: NativeDecoder, rows: int) -> dict[int, float]:
    """Threads → seconds of a step with so many rows, the best of some."""
    lengths = [rows] if rows == _ROWS[-1] else [1] * rows
    first_row = [0, *accumulate(lengths)]
    first_block = [0, *accumulate(-(-length // BLOCK_SIZE) for length in lengths)]
    tables = range(1, first_block[-1] + 1)
    values = ([0] * rows, first_row, [0] * len(lengths), first_block, tables, [end - 1 for end in first_row[1:]])
    arguments = [torch.tensor(each, dtype=torch.int64) for each in values]
    numbers = {1 << power for power in range(decoder.num_threads.bit_length())} | {decoder.num_threads}
    seconds = dict.fromkeys(sorted(numbers), float("inf"))
    for _ in range(_REPEATS):
        for number in seconds:
            began = time.perf_counter()
            decoder.step(*arguments, num_threads=number)
            seconds[number] = min(seconds[number], time.perf_counter() - began)
    return seconds


def _fewest(seconds: dict[int, float]) -> int:
    """Of the numbers of threads that are about as good as the best."""
    return min(number for number, each in seconds.items() if each <= _AS_GOOD * min(seconds.values()))
