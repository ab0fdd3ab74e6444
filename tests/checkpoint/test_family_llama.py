"""The Llama family: the contract of decoders."""

import pytest

from inkstone.nn.models.base import Decoder
from tests.nn import contract
from tests.tiny_models import SHAPES, tiny_model


@pytest.mark.parametrize("shape", ["grouped-query", "qk_norm and bias, untied"])
@pytest.mark.parametrize("check", contract.DECODER)
def test_contract(check: contract.Check[Decoder], shape: str) -> None:
    check(tiny_model(**SHAPES[shape]))
