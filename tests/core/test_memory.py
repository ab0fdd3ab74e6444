"""Memory of mapped tensors that is given back."""

import sys
from pathlib import Path

import psutil
import pytest
import torch

from inkstone.checkpoint import read_safetensors, write_safetensors
from inkstone.core.memory import give_back_unchanged

SIZE = 4_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which pages were written to")
def test_maps_that_were_not_written_to_are_given_back_and_read_again(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    stored = {name: torch.randn(SIZE, generator=generator) for name in ("kept", "changed")}
    write_safetensors(tmp_path / "a.safetensors", stored)
    own = torch.randn(SIZE, generator=generator)
    before = own.clone()
    mapped = read_safetensors(tmp_path / "a.safetensors")
    mapped["changed"][SIZE // 2] = 7.0
    assert float(mapped["kept"].sum() + mapped["changed"].sum()) != 0  # all is read
    process = psutil.Process()
    resident = process.memory_info().rss
    assert give_back_unchanged([*mapped.values(), own]) == pytest.approx(SIZE * 4, abs=1 << 14)
    assert resident - process.memory_info().rss == pytest.approx(SIZE * 4, rel=0.1)
    assert torch.equal(mapped["kept"], stored["kept"])
    stored["changed"][SIZE // 2] = 7.0
    assert torch.equal(mapped["changed"], stored["changed"])
    assert torch.equal(own, before)
    assert give_back_unchanged([torch.empty(0), torch.zeros(2)]) == 0
