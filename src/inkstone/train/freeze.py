"""Leaving parts of a model as they were."""

import re
from collections.abc import Iterable

from inkstone.core.config import nearest
from inkstone.core.errors import ConfigError
from inkstone.nn.depth import parameter_depths
from inkstone.nn.models.base import Model
from inkstone.train.config_teach import FreezeConfig

_MOST_NAMES = 12


def freeze(model: Model, config: FreezeConfig) -> int:
    """Train no more what `config` names.

    Returns:
        Number of values that are frozen.

    Raises:
        ConfigError: there are not so many blocks, a pattern fits no parameter, or nothing is left to train.
    """
    num_blocks = len(list(model.blocks))
    if config.blocks > num_blocks:
        raise ConfigError(
            f"the model has {num_blocks} blocks, not {config.blocks}",
            where="freeze.blocks",
            remedy=f"give at most {num_blocks}",
        )
    parameters = dict(model.named_parameters(remove_duplicate=False))
    frozen = {name for pattern in config.names for name in _matching(pattern, parameters)}
    if config.blocks:
        frozen |= {name for name, depth in parameter_depths(model).items() if depth <= config.blocks}
    for name in frozen:
        parameters[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise ConfigError("nothing is left to train", where="freeze", remedy="freeze fewer blocks or names")
    return sum(parameter.numel() for parameter in model.parameters() if not parameter.requires_grad)


def _matching(pattern: str, names: Iterable[str]) -> list[str]:
    """Names in which a regular expression is found."""
    names = list(names)
    found = [name for name in names if re.search(pattern, name)]
    if not found:
        kinds = sorted({re.sub(r"\.\d+\.", ".0.", name) for name in names})
        parts = {part for name in names for part in name.split(".") if not part.isdecimal()}
        closest = nearest(pattern, [*kinds, *sorted(parts)])
        listing = ", ".join(kinds[:_MOST_NAMES]) + (" …" if len(kinds) > _MOST_NAMES else "")
        raise ConfigError(
            f"no parameter's name contains {pattern!r}",
            where="freeze.names",
            remedy=f"did you mean {closest!r}? ({listing})" if closest else f"names are: {listing}",
        )
    return found
