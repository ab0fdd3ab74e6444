"""An engine for a model: what computes it here, and how much it remembers."""

from typing import cast

import psutil
import torch

from inkstone.core.errors import ConfigError
from inkstone.core.progress import size
from inkstone.engine.completions import Decode
from inkstone.engine.config import EngineConfig
from inkstone.engine.engine import Engine
from inkstone.engine.native_runner import NativeRunner
from inkstone.engine.runner import Runner
from inkstone.engine.speculate import PromptLookup
from inkstone.engine.torch_runner import RecurrentRunner, TorchRunner, matrix_bytes
from inkstone.nn.kernels import decoder_step
from inkstone.nn.kernels.decoder_step import KeptFormat, WeightFormat
from inkstone.nn.layers.cache import KVCache
from inkstone.nn.layers.experts import SparseMLP
from inkstone.nn.models.base import Decoder, EncoderDecoder
from inkstone.nn.models.lstm import LstmForCausalLM
from inkstone.nn.rebuild import model_like

_MOST_OF_MEMORY = 0.25
_TORCH_BLOCK_SIZE = 16
_LEAST_BYTES_OF_A_THREAD = 1 << 20
_KEPT_BYTES: dict[KeptFormat, int] = {"float32": 4, "float16": 2, "int8": 1}
"""Of a key's or value's number; the scales of int8 are a few percent more."""


_DEFAULTS = EngineConfig()


def open_engine(
    model: Decoder | EncoderDecoder,
    config: EngineConfig = _DEFAULTS,
    *,
    stop_ids: tuple[int, ...] = (),
    decode: Decode | None = None,
    packed: bool = True,
) -> Engine:
    """An engine that computes a model as it is now.

    Args:
        model: in evaluation mode; weights that change later need not be seen.
        config: how to compute.
        stop_ids: tokens that end a completion.
        decode: token ids → text.
        packed: copy the weights into the form that is computed fastest, if there is one; not worth it for few tokens.

    Raises:
        ConfigError: the model cannot be computed in that way here, or memory does not suffice.
    """
    if config.speculate == "prompt" and isinstance(model, LstmForCausalLM):
        raise ConfigError("a recurrent state cannot take a guess back", where="speculate", remedy="leave it off")
    return Engine(
        new_runner(model, config) if packed else torch_runner(model, config),
        stop_ids=stop_ids,
        decode=decode,
        max_running=config.max_running,
        max_step_tokens=config.max_step_tokens,
        prefix_reuse=config.prefix_reuse,
        drafter=PromptLookup() if config.speculate == "prompt" else None,
    )


def new_runner(model: Decoder | EncoderDecoder, config: EngineConfig = _DEFAULTS) -> Runner:
    """What computes a model here: native steps where there are any for it, otherwise PyTorch."""
    weights = _weight_format(model, config)
    reason = no_native_step(model)
    if weights is not None and reason is None:
        assert isinstance(model, Decoder)
        exact = weights == "float32" or (config.quant == "auto" and model.dtype == torch.float32)
        kept: KeptFormat = "float32" if exact else "float16"
        if config.kv_cache == "int8":
            kept = "int8"
        num_blocks = _num_blocks(model, config, decoder_step.BLOCK_SIZE, _KEPT_BYTES[kept])
        # Threads meet a few times in every layer, which costs more than it saves where there is little to do.
        busy = max(1, matrix_bytes(model) // _LEAST_BYTES_OF_A_THREAD)
        threads = config.threads or min(torch.get_num_threads(), busy)
        calibrated = config.threads is None and threads > 1
        return NativeRunner(model, weights, num_blocks, threads, kept=kept, calibrated=calibrated)
    return torch_runner(model, config)


def torch_runner(model: Decoder | EncoderDecoder, config: EngineConfig = _DEFAULTS) -> Runner:
    """What computes a model by PyTorch alone, its weights where they are."""
    _refuse_formats(model, config)
    if isinstance(model, LstmForCausalLM):
        return RecurrentRunner(model, config.max_running)
    return TorchRunner(model, _num_blocks(model, config, _TORCH_BLOCK_SIZE, model.dtype.itemsize), _TORCH_BLOCK_SIZE)


def no_native_step(model: Decoder | EncoderDecoder) -> str | None:
    """Why PyTorch has to compute a model; None where native steps do."""
    if model.device.type != "cpu":
        return f"the model is on {model.device.type}"
    if torch.is_autocast_enabled("cpu"):
        return "products are rounded by autocast"
    if not isinstance(model, Decoder):
        return f"{model.config.model_type} models"
    return decoder_step.unavailable() or decoder_step.unsupported(model)


def _weight_format(model: Decoder | EncoderDecoder, config: EngineConfig) -> WeightFormat | None:
    """None where the model's own dtype has no native form."""
    if config.quant != "auto":
        return config.quant
    if model.dtype == torch.float32:
        return "bfloat16" if isinstance(model, Decoder) and decoder_step.is_bfloat16(model) else "float32"
    return "bfloat16" if model.dtype == torch.bfloat16 else None


def _refuse_formats(model: Decoder | EncoderDecoder, config: EngineConfig) -> None:
    own = {"quant": str(model.dtype).removeprefix("torch."), "kv_cache": "auto"}
    for key, dtype in own.items():
        if (wanted := getattr(config, key)) not in ("auto", dtype):
            raise ConfigError(
                f"{wanted} is computed by native steps only, and there are none here: {no_native_step(model)}",
                where=key,
                remedy="leave it at auto",
            )


def _num_blocks(model: Decoder | EncoderDecoder, config: EngineConfig, block_size: int, value_bytes: int) -> int:
    per_block = kv_values_per_token(model) * value_bytes * block_size
    most = config.max_running * -(-model.context // block_size)
    if config.kv_memory_gb is None:
        num_blocks = min(most, int(_MOST_OF_MEMORY * _free_bytes(model.device)) // per_block)
    else:
        num_blocks = int(config.kv_memory_gb * 1e9) // per_block
    if num_blocks < 1:
        raise ConfigError(
            f"one block of keys and values takes {size(per_block)}", where="kv_memory_gb", remedy="give more"
        )
    return num_blocks


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


@torch.inference_mode()
def kv_values_per_token(model: Decoder | EncoderDecoder) -> int:
    """Keys and values that every token adds, over all layers: what a cache holds after one."""
    if not any(isinstance(module, SparseMLP) for module in model.modules()):  # they look at values
        with torch.device("meta"):
            model = cast(Decoder | EncoderDecoder, model_like(model, model.config))
    token, cache = torch.zeros(1, 1, dtype=torch.long, device=model.device), model.new_cache(1)
    if isinstance(model, Decoder):
        model.hidden_states(token, cache=cache)
    else:
        model.decode(token, model.encode(token), cache=cache)
    assert isinstance(cache, KVCache)
    return cache.values_per_position
