"""A real trained Llama, converted from llama2.c's format, says what llama2.c's own test expects of it."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from inkstone.nn.models.llama import LlamaConfig, LlamaForCausalLM
from inkstone.nn.sampling_params import SamplingParams
from tests.engine.generating import generate

# github.com/karpathy/llama2.c, test_all.py: stories260K, temperature 0, 256 steps.
EXPECTED = """Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, \
she saw a big, red ball. She wanted to play with it, but it was too high.
Lily's mom said, "Lily, let's go to the park." Lily was sad and didn't know what to do. She said, "I want to play with \
your ball, but I can't find it."
Lily was sad and didn't know what to do. She said, "I'm sorry, Lily. I didn't know what to do."
Lily didn't want to help her mom, so she said, "I'm sorry, mom. I didn't know what to do." Her mom said, \
"Don't worry, Lily. We can help you."""


def read_model(path: Path) -> LlamaForCausalLM:
    with open(path, "rb") as file:
        size, hidden, layers, heads, kv_heads, vocab_size, context = struct.unpack("7i", file.read(28))
        values = torch.from_numpy(np.fromfile(file, np.float32))
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=hidden,
        head_dim=size // heads,
        max_position_embeddings=context,
    )
    model = LlamaForCausalLM(config)
    used = 0

    def take(*shape: int) -> Tensor:
        nonlocal used
        start, used = used, used + int(np.prod(shape))
        return values[start:used].view(shape)

    kv_size = size // heads * kv_heads
    weights = {"model.embed_tokens.weight": take(vocab_size, size)}
    for name, *shape in (
        ("input_layernorm", size),
        ("self_attn.q_proj", size, size),
        ("self_attn.k_proj", kv_size, size),
        ("self_attn.v_proj", kv_size, size),
        ("self_attn.o_proj", size, size),
        ("post_attention_layernorm", size),
        ("mlp.gate_proj", hidden, size),
        ("mlp.down_proj", size, hidden),
        ("mlp.up_proj", hidden, size),
    ):
        for layer, weight in enumerate(take(layers, *shape)):
            # llama2.c turns neighboring components of a head together, Hugging Face's layout the two halves.
            if name.endswith(("q_proj", "k_proj")):
                weight = weight.view(-1, size // heads // 2, 2, size).transpose(1, 2).reshape(shape)
            weights[f"model.layers.{layer}.{name}.weight"] = weight
    weights["model.norm.weight"] = take(size)
    model.load_state_dict(weights | {"lm_head.weight": weights["model.embed_tokens.weight"]})
    return model.eval()


def read_tokens(path: Path, vocab_size: int) -> list[bytes]:
    tokens = []
    with open(path, "rb") as file:
        file.read(4)
        for _ in range(vocab_size):
            _, length = struct.unpack("fi", file.read(8))
            tokens.append(file.read(length))
    return tokens


def test_a_real_model_tells_its_story(shared_data: Callable[[str], Path]) -> None:
    model = read_model(shared_data("weights/stories260K/stories260K.bin"))
    tokens = read_tokens(shared_data("weights/stories260K/tok512.bin"), model.config.vocab_size)
    params = SamplingParams(temperature=0, max_new_tokens=256)
    (completion,) = generate(
        model, [1], params, decode=lambda ids: b"".join(tokens[each] for each in ids if each > 2).decode()
    )
    text = completion.text.replace("<0x0A>", "\n")
    assert text.lstrip() == EXPECTED
