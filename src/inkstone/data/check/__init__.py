"""The data check: what is wrong with examples, found before anything is trained on them."""

from inkstone.data.check.examine import examine
from inkstone.data.check.report import CheckedSplit, CheckReport

__all__ = ["CheckReport", "CheckedSplit", "examine"]
