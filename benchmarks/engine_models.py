"""The models of `engine.py`: random weights in the Hugging Face layout, and the forms that the peers read."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

MODELS: dict[str, dict[str, Any]] = {
    "15m": {
        "model_type": "llama",
        "vocab_size": 32_000,
        "hidden_size": 288,
        "intermediate_size": 768,
        "num_hidden_layers": 6,
        "num_attention_heads": 6,
        "num_key_value_heads": 6,
        "tie_word_embeddings": True,
    },
    "gpt2-124m": {"model_type": "gpt2", "vocab_size": 50_257, "n_embd": 768, "n_layer": 12, "n_head": 12},
    "smollm2-135m": {
        "model_type": "llama",
        "vocab_size": 49_152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "tie_word_embeddings": True,
        "rope_theta": 100_000.0,
    },
    "qwen2.5-0.5b": {
        "model_type": "qwen2",
        "vocab_size": 151_936,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
        "rope_theta": 1_000_000.0,
    },
}
"""Shapes, in the keys of their config.json."""
CONTEXT = 1024
_GGUF_TYPES = {"F32": 0, "Q4_0": 2, "Q8_0": 7, "BF16": 32}
"""Of `llama_ftype`."""
_GPT2_NAMES = {
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
_LLAMA_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""Of a layer's parts: as the Hugging Face layout and as GGUF calls them."""


class Shape(NamedTuple):
    """What the formats below name in their own ways."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    inner: int


def shape_of(keys: dict[str, Any]) -> Shape:
    """The shape of a config."""
    if keys["model_type"] == "gpt2":
        return Shape(keys["n_layer"], keys["n_embd"], keys["n_head"], keys["n_head"], 4 * keys["n_embd"])
    return Shape(
        keys["num_hidden_layers"],
        keys["hidden_size"],
        keys["num_attention_heads"],
        keys["num_key_value_heads"],
        keys["intermediate_size"],
    )


def make_model(name: str, folder: Path) -> Path:
    """A folder with random weights, in float32; what is there is kept."""
    out = folder / name
    if not (out / "model.safetensors").is_file():
        import torch
        import transformers

        from inkstone.data.tokenizer_outline import assumed_tokenizer

        keys = MODELS[name]
        length = "n_positions" if keys["model_type"] == "gpt2" else "max_position_embeddings"
        torch.manual_seed(0)
        config = transformers.AutoConfig.for_model(**keys, **{length: CONTEXT})
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(out)
        assumed_tokenizer(vocab_size=keys["vocab_size"]).save(out)
    return out


def make_gguf(name: str, folder: Path, kind: str) -> Path:
    """The model as GGUF, its matrices as F32, BF16, Q8_0 or Q4_0; what is there is kept."""
    whole = folder / f"{name}.F32.gguf"
    if not whole.is_file():
        _write_gguf(name, folder / name, whole)
    out = folder / f"{name}.{kind}.gguf"
    if not out.is_file():
        import llama_cpp

        params = llama_cpp.llama_model_quantize_default_params()
        params.ftype, params.nthread = _GGUF_TYPES[kind], 2
        if llama_cpp.llama_model_quantize(str(whole).encode(), str(out).encode(), params):
            raise RuntimeError(f"llama.cpp cannot make {out}")
    return out


def make_ctranslate2(name: str, folder: Path) -> Path:
    """The model for CTranslate2, in int8; what is there is kept."""
    out = folder / f"{name}.ctranslate2"
    if not out.is_dir():
        from ctranslate2.converters import TransformersConverter

        TransformersConverter(str(folder / name)).convert(str(out), quantization="int8")
        # It writes null where a tokenizer has no such token, which it then does not read.
        config = json.loads((out / "config.json").read_text())
        first = json.loads((out / "vocabulary.json").read_text())[0]
        named = {key: first if value is None and key.endswith("_token") else value for key, value in config.items()}
        (out / "config.json").write_text(json.dumps(named))
    return out


def _write_gguf(name: str, model: Path, out: Path) -> None:
    import gguf
    from safetensors.numpy import load_file

    keys = MODELS[name]
    kind, shape = keys["model_type"], shape_of(keys)
    writer = gguf.GGUFWriter(out, kind)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_vocab_size(keys["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    if kind == "gpt2":
        writer.add_layer_norm_eps(1e-5)
    else:
        writer.add_layer_norm_rms_eps(1e-6)
        writer.add_rope_freq_base(keys.get("rope_theta", 10_000.0))
        writer.add_rope_dimension_count(shape.width // shape.heads)
    tensors = load_file(model / "model.safetensors")
    for ours, values in _gguf_tensors(kind, shape, tensors):
        writer.add_tensor(ours, np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _gguf_tensors(kind: str, shape: Shape, tensors: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    if kind == "gpt2":
        names, layers = _GPT2_NAMES, "transformer.h"
        whole = {"token_embd": "transformer.wte", "position_embd": "transformer.wpe", "output_norm": "transformer.ln_f"}
    else:
        names, layers = _LLAMA_NAMES, "model.layers"
        whole = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
    for part in ("weight", "bias"):
        for ours, theirs in whole.items():
            if f"{theirs}.{part}" in tensors:
                yield f"{ours}.{part}", tensors[f"{theirs}.{part}"]
        for layer, (theirs, ours) in itertools.product(range(shape.layers), names.items()):
            values = tensors.get(f"{layers}.{layer}.{theirs}.{part}")
            if values is None:
                continue
            if kind == "gpt2" and values.ndim == 2:
                values = values.T
            elif kind == "llama" and ours in ("attn_q", "attn_k"):
                values = _in_pairs(values, shape.heads if ours == "attn_q" else shape.kv_heads)
            yield f"blk.{layer}.{ours}.{part}", values


def _in_pairs(values: np.ndarray, heads: int) -> np.ndarray:
    """Of each head, what turns together side by side, as llama.cpp has it for Llama: (H · D, C) → (H · D, C)."""
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return halves.swapaxes(1, 2).reshape(values.shape)
