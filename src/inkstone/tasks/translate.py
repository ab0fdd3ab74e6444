"""Translate and summarize: what a model was taught by pairs of texts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

from inkstone.tasks.targets import write_targets

if TYPE_CHECKING:
    from inkstone.nn.models.base import Model
    from inkstone.tokenizer import Tokenizer


@overload
def translate(model: "Model", tokenizer: "Tokenizer", texts: str, *, truncate: bool = False, **search: Any) -> str: ...
@overload
def translate(
    model: "Model", tokenizer: "Tokenizer", texts: Sequence[str], *, truncate: bool = False, **search: Any
) -> list[str]: ...
def translate(
    model: "Model", tokenizer: "Tokenizer", texts: str | Sequence[str], *, truncate: bool = False, **search: Any
) -> str | list[str]:
    """The translation of a text, or of each of several; a model taught summaries summarizes in the same way.

    Arguments and errors are those of `write_targets`.
    """
    if isinstance(texts, str):
        return write_targets(model, tokenizer, [texts], truncate=truncate, **search)[0]
    return write_targets(model, tokenizer, texts, truncate=truncate, **search)
