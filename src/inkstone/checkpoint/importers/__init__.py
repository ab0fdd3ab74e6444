"""Readers of other programs' model files; each is an entry point `inkstone.importers`."""

from inkstone.checkpoint.importers.base import Importer, import_model

__all__ = ["Importer", "import_model"]
