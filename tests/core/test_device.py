"""Devices, formats and seeds."""

import random

import numpy as np
import pytest
import torch

from inkstone.core import device
from inkstone.core.errors import ConfigError


def test_cpu_is_always_there() -> None:
    assert device.resolve_device("cpu") == torch.device("cpu")
    assert device.resolve_device().type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize("name", ["gpu", "cuda:99"])
def test_unavailable_device(name: str) -> None:
    with pytest.raises(ConfigError, match="device: "):
        device.resolve_device(name)


@pytest.mark.parametrize(
    ("flags", "expected"), [({"amx_bf16"}, "bfloat16"), ({"avx512_bf16"}, "float32"), ({"avx2"}, "float32")]
)
def test_auto_dtype_follows_the_hardware(flags: set[str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "cpu_features", lambda: frozenset(flags))
    assert device.resolve_dtype("auto", "cpu") == getattr(torch, expected)
    assert device.resolve_dtype("fp32", "cpu") == torch.float32


def test_unknown_dtype() -> None:
    with pytest.raises(ConfigError, match="unknown dtype 'int3'"):
        device.resolve_dtype("int3")


def test_seed_covers_every_stream() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    device.seed_everything(5)
    first = draw()
    device.seed_everything(5)
    assert draw() == first
    device.seed_everything(6)
    assert not set(draw()) & set(first)


def test_memory_is_in_bytes() -> None:
    before = device.peak_rss_bytes()
    assert 10e6 < before < device.total_memory_bytes()
    block = np.ones(int(50e6), dtype=np.uint8)
    assert device.peak_rss_bytes() >= before
    assert block.sum() == 50e6
