"""Model folders in the Hugging Face layout: written, read back, fetched from the hub."""

from inkstone.checkpoint.load import load_checkpoint, load_decoder, load_model
from inkstone.checkpoint.safetensors_file import read_safetensors
from inkstone.checkpoint.save import save_checkpoint
from inkstone.checkpoint.weights import write_safetensors

__all__ = [
    "load_checkpoint",
    "load_decoder",
    "load_model",
    "read_safetensors",
    "save_checkpoint",
    "write_safetensors",
]
