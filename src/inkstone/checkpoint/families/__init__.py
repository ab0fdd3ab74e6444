"""Model families, one file each: how a Hugging Face `model_type` maps to a model of `inkstone.nn.models` and back."""

from inkstone.checkpoint.families.base import HFConfig, ModelFamily, architecture_of, family_named, value_or

__all__ = ["HFConfig", "ModelFamily", "architecture_of", "family_named", "value_or"]
