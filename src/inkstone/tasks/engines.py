"""The engine of a loaded model, kept as long as the model and its weights stay what they are."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from inkstone.engine.config import EngineConfig

if TYPE_CHECKING:
    from inkstone.engine.engine import Engine
    from inkstone.engine.form import Form
    from inkstone.engine.grammar import Compiled
    from inkstone.nn.models.base import Decoder, EncoderDecoder
    from inkstone.tokenizer import Tokenizer

_DEFAULTS = EngineConfig()
_ENGINE, _GRAMMARS = "_kept_engine", "_kept_grammars"


@dataclass(slots=True)
class _Kept:
    """Lies on the model itself, so that both go together; a copy of the model begins without."""

    state: object
    value: Any

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Kept":
        return _Kept(None, None)


def _kept(model: "Decoder | EncoderDecoder", attribute: str, state: object, make: Callable[[], Any]) -> Any:
    """What the model has kept for this state, or what is made now and kept for the next time."""
    kept = model.__dict__.get(attribute)
    if isinstance(kept, _Kept) and kept.state == state:
        return kept.value
    # What is outdated goes first: both together may not fit into memory.
    del kept
    model.__dict__.pop(attribute, None)
    value = make()
    model.__dict__[attribute] = _Kept(state, value)
    return value


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
    stops = tuple(stop_ids(tokenizer, model))
    engine: Engine = _kept(
        model,
        _ENGINE,
        state,
        lambda: open_engine(model, config, stop_ids=stops, decode=tokenizer.target.decode),
    )
    return engine


def compiled_form(model: "Decoder", tokenizer: "Tokenizer", form: "Form") -> "Compiled":
    """A form that completions of a model can be held to.

    Raises:
        ConfigError: as `Grammars` and its `compile`.
    """
    from inkstone.checkpoint.save import stop_ids
    from inkstone.engine.grammar import Grammars
    from inkstone.engine.torch_runner import vocab_size_of

    grammars: Grammars = _kept(
        model,
        _GRAMMARS,
        id(tokenizer),
        lambda: Grammars(tokenizer, vocab_size_of(model), stop_ids(tokenizer, model)),
    )
    return grammars.compile(form)
