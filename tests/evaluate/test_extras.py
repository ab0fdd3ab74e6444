"""What is missing is named with the extra that brings it."""

import sys

import pytest

from inkstone.core.errors import ConfigError
from inkstone.evaluate.extras import need
from inkstone.evaluate.metrics.base import metric_named


def test_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(ConfigError, match=r'sacrebleu(.|\n)*pip install "inkstone\[evaluate\]"'):
        metric_named("bleu").count(["a"], ["a"])


def test_what_is_there() -> None:
    assert need("json").loads("1") == 1
