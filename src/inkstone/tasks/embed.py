"""One vector for each text, so that texts of like meaning have vectors of like direction."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from inkstone.core.config import suggestion
from inkstone.core.errors import ConfigError, InputError
from inkstone.tasks.lengths import rows_to_cut

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from inkstone.checkpoint.sentence import SentenceConfig
    from inkstone.nn.models.base import Model
    from inkstone.tokenizer import Tokenizer


def embed(
    model: "Model",
    tokenizer: "Tokenizer",
    texts: Sequence[str],
    *,
    config: "SentenceConfig | None" = None,
    prompt_name: str | None = None,
    truncate: bool = False,
) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    """A vector for each text, computed in batches of texts of like length.

    Args:
        model: an encoder or a decoder.
        tokenizer: the model's own.
        texts: at most the model's context long each, or its `max_seq_length`.
        config: pooling, normalization and prompts; by default the mean over tokens of an encoder, the last token
            of a decoder, and no more.
        prompt_name: the prompt of `config` to put before every text, by default its `default_prompt_name`.
        truncate: keep the beginning of a text that is too long, and warn of how many there were.

    Returns:
        (N, C), float32, in the order of the texts.

    Raises:
        InputError: a text has no tokens, or is too long and `truncate` is not given; or the model cannot do it.
        ConfigError: no prompt has that name.
    """
    import numpy as np

    from inkstone.engine.encode import encode
    from inkstone.nn.pooling import pool, unit_length

    config = config or default_config(model)
    prompt = _prompt(config, prompt_name)
    limit = min(_context(model), config.max_seq_length or _context(model))
    token_ids = _encode(tokenizer, [prompt + text for text in texts], limit, truncate=truncate)

    reader: Any = model

    def compute(input_ids: "Tensor", mask: "Tensor", _: list[int]) -> "Tensor":
        vectors = pool(reader.hidden_states(input_ids, attention_mask=mask), mask, config.pooling)
        return unit_length(vectors) if config.normalize else vectors

    vectors = encode(token_ids, compute, model.device, tokenizer.pad_id or 0)
    return np.stack(vectors) if vectors else np.empty((0, reader.config.hidden_size), dtype=np.float32)


def default_config(model: "Model") -> "SentenceConfig":
    """How texts are embedded by a model that does not say so itself: an encoder's mean, a decoder's last token."""
    from inkstone.checkpoint.sentence import SentenceConfig
    from inkstone.nn.models.base import Decoder

    return SentenceConfig(pooling="lasttoken" if isinstance(model, Decoder) else "mean")


def _context(model: "Model") -> int:
    from inkstone.nn.models.base import Decoder, Encoder

    if not isinstance(model, Encoder | Decoder):
        raise InputError(
            f"a {type(model).__name__} gives no vectors for texts", remedy="use an encoder, such as a bert model"
        )
    return model.context


def _prompt(config: "SentenceConfig", name: str | None) -> str:
    name = config.default_prompt_name if name is None else name
    if name is None:
        return ""
    if name not in config.prompts:
        raise ConfigError(f"no prompt is called {name!r}", where="prompt_name", remedy=suggestion(name, config.prompts))
    return config.prompts[name]


def _encode(tokenizer: "Tokenizer", texts: Sequence[str], limit: int, *, truncate: bool) -> list[list[int]]:
    from inkstone.tokenizer.encoding import cut_to_length

    token_ids = [tokenizer.encode(text) for text in texts]
    for row in rows_to_cut(list(map(len, token_ids)), limit, truncate=truncate, stacklevel=4):
        token_ids[row] = cut_to_length(tokenizer.encode_with_offsets(texts[row]), limit, "right").ids
    if not all(token_ids):
        row = next(row for row, ids in enumerate(token_ids) if not ids)
        raise InputError(f"texts[{row}] has no tokens", where="texts", remedy="leave out empty texts")
    return token_ids
