"""Texts that are longer than what is read of them."""

import warnings
from collections.abc import Sequence

from inkstone.core.errors import InputError


def rows_to_cut(lengths: Sequence[int], most: int, *, truncate: bool, stacklevel: int) -> list[int]:
    """The texts that are longer than `most` tokens; a warning says how many there are.

    Args:
        lengths: of all texts, in tokens.
        most: that are read of each.
        truncate: whether texts may be cut.
        stacklevel: of the warning, as the caller would give it.

    Raises:
        InputError: there are some, and `truncate` is not given.
    """
    rows = [row for row, length in enumerate(lengths) if length > most]
    if rows and not truncate:
        raise InputError(
            f"{len(rows)} of {len(lengths)} texts are longer than {most:,} tokens, which is all that is read; "
            f"texts[{rows[0]}] has {lengths[rows[0]]:,}",
            where="texts",
            remedy="split them, or give truncate=True to keep their beginnings",
        )
    if rows:
        message = f"{len(rows)} of {len(lengths)} texts were cut to {most:,} tokens"
        warnings.warn(message, stacklevel=stacklevel + 1)
    return rows
