"""What the tasks of models with a head have in common: texts in, the head's logits out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from inkstone.core.errors import InputError
from inkstone.tasks.lengths import rows_to_cut

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from inkstone.nn.heads import HeadedModel, HeadKind
    from inkstone.nn.models.base import Model
    from inkstone.tokenizer import Tokenizer
    from inkstone.tokenizer.encoding import Encoding

_TAUGHT_BY = {"sequence": "classify, regress or reward", "token": "tokens", "span": "span"}


def with_head_of(model: "Model", kind: "HeadKind") -> "HeadedModel":
    """The model, where it has such a head.

    Raises:
        InputError: it has not.
    """
    from inkstone.nn.heads import HeadedModel

    if isinstance(model, HeadedModel) and model.head_config.kind == kind:
        return model
    has = f"a {model.head_config.kind} head" if isinstance(model, HeadedModel) else "no head"
    raise InputError(
        f"this needs a model with a {kind} head, and this one ({model.config.model_type}) has {has}",
        where="model",
        remedy=f"teach it: the stage finetune with the method {_TAUGHT_BY[kind]}",
    )


def encode_texts(
    tokenizer: "Tokenizer",
    texts: Sequence[str],
    pairs: Sequence[str] | None,
    max_length: int,
    *,
    truncate: bool,
) -> "list[Encoding]":
    """Texts, or pairs of texts, as the model was taught to read them.

    Raises:
        InputError: one has no tokens, or is too long and `truncate` is not given.
    """
    from inkstone.tokenizer.encoding import cut_to_length

    _check_lists(texts, pairs)
    encodings = [
        tokenizer.encode_with_offsets(text, None if pairs is None else pairs[row]) for row, text in enumerate(texts)
    ]
    empty = next((row for row, encoding in enumerate(encodings) if 0 not in encoding.sequence_ids), None)
    if empty is not None:
        raise InputError(f"texts[{empty}] has no tokens", where="texts", remedy="leave out empty texts")
    for row in rows_to_cut(list(map(len, encodings)), max_length, truncate=truncate, stacklevel=5):
        encodings[row] = cut_to_length(encodings[row], max_length, "right")
    return encodings


def read_texts(
    model: "HeadedModel", tokenizer: "Tokenizer", texts: Sequence[str], pairs: Sequence[str] | None, *, truncate: bool
) -> "list[tuple[Encoding, NDArray[np.float32]]]":
    """Texts, or pairs of texts, each with the head's logits for it: see `encode_texts` and `logits_of`."""
    encodings = encode_texts(tokenizer, texts, pairs, model.context, truncate=truncate)
    input_ids, token_type_ids = [each.ids for each in encodings], [each.token_type_ids for each in encodings]
    return list(zip(encodings, logits_of(model, input_ids, token_type_ids, tokenizer.pad_id), strict=True))


def _check_lists(texts: Sequence[str], pairs: Sequence[str] | None) -> None:
    if isinstance(texts, str) or isinstance(pairs, str):
        raise InputError("a single text", where="texts", remedy="give a list of texts: [text]")
    if pairs is not None and len(pairs) != len(texts):
        raise InputError(f"{len(texts)} texts and {len(pairs)} pairs", where="pairs", remedy="give one for each text")


def logits_of(
    model: "HeadedModel", rows: Sequence[Sequence[int]], token_type_ids: Sequence[Sequence[int]], pad_id: int | None
) -> "list[NDArray[np.float32]]":
    """The head's logits for each row of token ids, in their order: (labels,) of a text, (T, labels) of its tokens."""
    from inkstone.data.layout import fill
    from inkstone.engine.encode import encode

    def compute(input_ids: "Tensor", mask: "Tensor", batch: list[int]) -> "Tensor":
        types = fill([token_type_ids[row] for row in batch], 0, "right") if model.reads_token_types else None
        logits: Tensor = model(input_ids, mask, None if types is None else types.to(model.device))
        return logits

    return encode(rows, compute, model.device, pad_id or 0)
