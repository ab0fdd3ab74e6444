"""The recurrent family, which `transformers` does not have: the layout is the same, the keys are ours to read."""

from typing import Any

from inkstone.checkpoint.families.base import HFConfig, ModelFamily
from inkstone.core.config import parse_config
from inkstone.nn.models.lstm import LstmConfig, LstmForCausalLM


def _to_hf(config: LstmConfig) -> dict[str, Any]:
    return config.model_dump(exclude={"model_type"})


def _from_hf(hf: HFConfig) -> LstmConfig:
    keys = {name: hf[name] for name in LstmConfig.model_fields if name in hf}
    return parse_config(LstmConfig, keys, where="config.json")


LSTM = ModelFamily("lstm", _from_hf, _to_hf, {"LstmForCausalLM": LstmForCausalLM})
