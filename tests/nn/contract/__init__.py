"""What every model of a kind must do, whatever its family: plain functions that take a model, for each family's tests.

    @pytest.mark.parametrize("check", contract.DECODER)
    def test_contract(check: contract.Check[Decoder]) -> None:
        check(a_tiny_random_model())

Models are in evaluation mode, float32, with random parameters, `vocab_size` ≥ 320 (that of `tiny_tokenizer`) and a
context of at least 16 tokens.
"""

from tests.nn.contract.decoders import DECODER
from tests.nn.contract.encoder_decoders import ENCODER_DECODER
from tests.nn.contract.encoders import ENCODER, encoder_padding_changes_nothing
from tests.nn.contract.shared import (
    LENGTHS,
    MODEL,
    Check,
    gradient_reaches_every_parameter,
    padding_mask,
    random_ids,
    saved_and_loaded_is_identical,
)

__all__ = [
    "DECODER",
    "ENCODER",
    "ENCODER_DECODER",
    "LENGTHS",
    "MODEL",
    "Check",
    "encoder_padding_changes_nothing",
    "gradient_reaches_every_parameter",
    "padding_mask",
    "random_ids",
    "saved_and_loaded_is_identical",
]
