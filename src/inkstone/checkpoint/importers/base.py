"""What an importer is, and how the right one is found."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from inkstone.checkpoint.load import load_checkpoint
from inkstone.checkpoint.save import CONFIG
from inkstone.core.errors import InputError
from inkstone.core.registry import lookup, names
from inkstone.nn.models.base import Model
from inkstone.tokenizer import Tokenizer


@dataclass(frozen=True)
class Importer:
    """Reads models of another layout than Hugging Face's; found as the entry point `inkstone.importers` of its name."""

    name: str
    layout: str
    """What it reads, in words."""
    recognizes: Callable[[Path], bool]
    """Whether a path holds such a model; looks at names and first bytes only, and raises nothing."""
    read: Callable[[Path], tuple[Model, Tokenizer]]
    """The model, on the CPU, and its tokenizer; raises InkstoneError on damaged files."""


def import_model(path: Path) -> tuple[Model, Tokenizer, str]:
    """The model and tokenizer at `path`, and the name of the importer that read them.

    A folder in the Hugging Face layout is read too, under the name `huggingface`.

    Raises:
        InputError: no importer knows what lies there.
        InkstoneError: from the importer, on damaged files.
    """
    if not path.exists():
        raise InputError("no such file or folder", where=path, remedy="check the path")
    if (path / CONFIG).is_file():
        return *load_checkpoint(path, device="cpu"), "huggingface"
    importers: list[Importer] = [lookup("importers", name) for name in names("importers")]
    for importer in importers:
        if importer.recognizes(path):
            return *importer.read(path), importer.name
    layouts = "; ".join(importer.layout for importer in importers)
    raise InputError("no importer knows this layout", where=path, remedy=f"give a model folder, or one of: {layouts}")
