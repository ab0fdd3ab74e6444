"""The engine of a loaded model, kept as long as the model and its weights stay what they are."""

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from inkstone.engine.config import EngineConfig

if TYPE_CHECKING:
    from inkstone.engine.engine import Engine
    from inkstone.nn.models.base import Decoder, EncoderDecoder
    from inkstone.tokenizer import Tokenizer

_DEFAULTS = EngineConfig()
_ATTRIBUTE = "_kept_engine"


@dataclass(slots=True)
class _Kept:
    """Lies on the model itself, so that both go together; a copy of the model begins without."""

    state: object
    engine: "Engine | None"

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Kept":
        return _Kept(None, None)


def engine_for(model: "Decoder | EncoderDecoder", tokenizer: "Tokenizer", config: EngineConfig = _DEFAULTS) -> "Engine":
    """The engine that a model had the last time, or a new one where weights, tokenizer or config have changed.

    Raises:
        ConfigError: the model cannot be computed in that way here.
    """
    from inkstone.checkpoint.save import stop_ids
    from inkstone.engine.open import open_engine

    # Every change in place counts a tensor's version up, but for one through `.data`.
    tensors = chain(model.parameters(), model.buffers())
    weights = [(each.data_ptr(), 0 if each.is_inference() else each._version) for each in tensors]
    state = config, id(tokenizer), weights
    kept = model.__dict__.get(_ATTRIBUTE)
    if isinstance(kept, _Kept) and kept.engine is not None and kept.state == state:
        return kept.engine
    stops = tuple(stop_ids(tokenizer, model))
    engine = open_engine(model, config, stop_ids=stops, decode=tokenizer.target.decode)
    model.__dict__[_ATTRIBUTE] = _Kept(state, engine)
    return engine
