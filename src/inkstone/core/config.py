"""Base of every configuration: frozen, fully checked, and helpful about misspelled keys."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails

from inkstone.core.errors import ConfigError


class Config(BaseModel):
    """Base class of configurations.

    Fields are documented by the string literal below them; the command line shows it as the flag's help.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, protected_namespaces=()
    )

    @model_validator(mode="before")
    @classmethod
    def _read_mappings(cls, data: Any) -> Any:
        """Read mappings that are given as text, as on a command line: `{source: en, target: zh}`, in YAML or JSON."""
        if not isinstance(data, dict):
            return data
        return {
            name: read_mapping(value) if isinstance(value, str) and _is_mapping(cls, name) else value
            for name, value in data.items()
        }

    @model_validator(mode="before")
    @classmethod
    def _complete_groups(cls, data: Any) -> Any:
        """Take the keys that a group of settings leaves out from the field's default, not from the group's class."""
        if not isinstance(data, dict):
            return data
        defaults = {
            name: field.default for name, field in cls.model_fields.items() if isinstance(field.default, Config)
        }
        return data | {
            name: default.model_dump(exclude_unset=True) | data[name]
            for name, default in defaults.items()
            if isinstance(data.get(name), dict)
        }


def _is_mapping(cls: type[BaseModel], name: str) -> bool:
    field = cls.model_fields.get(name)
    return field is not None and get_origin(field.annotation) is Mapping


def read_mapping(text: str) -> Any:
    """The mapping that `text` is in YAML or JSON; `text` itself where it is none."""
    import yaml

    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return value if isinstance(value, dict) else text


C = TypeVar("C", bound=Config)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, or None when nothing is similar."""
    by_lower = {other.lower(): other for other in known}
    matches = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return by_lower[matches[0]] if matches else None


def suggestion(name: str, known: Iterable[str]) -> str:
    """A remedy for an unknown name: the nearest known one and the list of all."""
    names = sorted(known)
    closest = nearest(name, names)
    listing = f"known: {', '.join(names)}" if names else "none is known here"
    return f"did you mean {closest!r}? ({listing})" if closest else listing


def parse_config(cls: type[C], data: Mapping[str, Any], *, where: str) -> C:
    """Validate `data` as `cls`.

    Raises:
        ConfigError: names the dotted key, the cause and, for an unknown key, the nearest known one.
    """
    try:
        return cls.model_validate(dict(data))
    except ValidationError as error:
        raise explained(error, where=where, cls=cls) from None


def explained(error: ValidationError, *, where: str, cls: type[BaseModel] | None = None) -> ConfigError:
    """The same error in the words of this package.

    Args:
        error: pydantic's.
        where: what was configured.
        cls: of what it was validated as, to name the known key that is nearest to an unknown one.
    """
    details = error.errors(include_url=False)
    causes = [
        f"{'.'.join(map(str, detail['loc']))}: {_cause(detail)}" if detail["loc"] else _cause(detail)
        for detail in details
    ]
    remedies = [remedy for detail in details if cls is not None and (remedy := _remedy(cls, detail))]
    return ConfigError("; ".join(causes), where=where, remedy="; ".join(remedies) or None)


def _cause(detail: ErrorDetails) -> str:
    if detail["type"] == "extra_forbidden":
        return "unknown key"
    if detail["type"] == "missing":
        return "required, but not given"
    message = detail["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    value = detail["input"]
    return f"{message}, got {value!r}" if isinstance(value, str | int | float | bool | list) else message


def _remedy(cls: type[BaseModel], detail: ErrorDetails) -> str | None:
    if detail["type"] != "extra_forbidden":
        return None
    *parents, key = detail["loc"]
    model: type[BaseModel] | None = cls
    for parent in parents:
        model = _submodel(model, str(parent)) if model else None
    return suggestion(str(key), model.model_fields) if model else None


def _submodel(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    if key not in model.model_fields:
        return model
    pending: list[Any] = [model.model_fields[key].annotation]
    while pending:
        annotation = pending.pop()
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return annotation
        pending.extend(get_args(annotation))
    return None
