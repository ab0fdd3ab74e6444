"""Loading: one copy in memory, whatever the dtype; hostile headers, JSON and configs refused with a reason."""

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from inkstone.checkpoint import load_checkpoint, load_decoder, load_model, read_safetensors, save_checkpoint
from inkstone.checkpoint.load import read_outline
from inkstone.checkpoint.safetensors_file import open_safetensors
from inkstone.checkpoint.save import stop_ids
from inkstone.checkpoint.weights import write_safetensors
from inkstone.core.errors import CheckpointError
from inkstone.nn.models.llama import LlamaForCausalLM
from tests.tiny_models import tiny_config, tiny_model, tiny_tokenizer

MEASURE = """
import sys
from pathlib import Path
import torch
from inkstone.checkpoint import load_model
from inkstone.core.device import resolve_dtype

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024

load_model(sys.argv[1], "cpu", sys.argv[3])  # what is imported late
before = peak()
model = load_model(sys.argv[2], "cpu", sys.argv[3])
assert {parameter.dtype for parameter in model.parameters()} == {resolve_dtype(sys.argv[3])}
for parameter in model.parameters():
    parameter.view(-1)[::256].float().sum()  # touches every page
size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
print((peak() - before) / size)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory as Linux tells it")
@pytest.mark.parametrize(
    ("stored", "wanted"),
    [(torch.float32, "float32"), (torch.float32, "bfloat16"), (torch.bfloat16, "float32"), (torch.float16, "float16")],
    ids=lambda value: str(value).removeprefix("torch."),
)
def test_loading_holds_one_copy(tmp_path: Path, saved: Path, stored: torch.dtype, wanted: str) -> None:
    sizes = {"vocab_size": 40_000, "hidden_size": 1024, "num_hidden_layers": 1, "intermediate_size": 2048}
    config = tiny_config(**sizes, head_dim=64)
    with torch.device("meta"):
        names = {name: value.shape for name, value in LlamaForCausalLM(config).state_dict().items()}
    names.pop("lm_head.weight")
    weights = {name: torch.zeros(shape, dtype=stored) for name, shape in names.items()}
    assert sum(value.numel() * 4 for value in weights.values()) > 190e6
    shutil.copytree(saved, tmp_path / "large")
    config_file = tmp_path / "large" / "config.json"
    config_file.write_text(json.dumps(json.loads(config_file.read_text()) | sizes | {"head_dim": 64}))
    write_safetensors(tmp_path / "large" / "model.safetensors", weights)
    arguments = [sys.executable, "-c", MEASURE, str(saved), str(tmp_path / "large"), wanted]
    result = subprocess.run(arguments, check=True, capture_output=True, text=True)
    assert 0.9 < float(result.stdout) < 1.15


def test_weights_survive_a_replaced_and_a_removed_file(folder: Path) -> None:
    model = load_model(folder, "cpu")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    save_checkpoint(folder, tiny_model(seed=1), tiny_tokenizer())
    shutil.rmtree(folder)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_changing_the_weights_leaves_the_file(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    first, second = load_model(folder, "cpu"), load_model(folder, "cpu")
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.add_(1)
    assert (folder / "model.safetensors").read_bytes() == data
    assert all(torch.equal(a, b) for a, b in zip(second.parameters(), tiny_model().parameters(), strict=True))


def test_files_of_mixed_dtypes_become_one(folder: Path) -> None:
    tensors = {name: value.clone() for name, value in read_safetensors(folder / "model.safetensors").items()}
    tensors = {name: value if "norm" in name else value.half() for name, value in tensors.items()}
    save_file(tensors, folder / "model.safetensors")
    (dtype,) = {parameter.dtype for parameter in load_model(folder, "cpu").parameters()}
    assert dtype in (torch.float16, torch.float32)


def test_unaligned_values_are_read(tmp_path: Path) -> None:
    """The format does not ask for alignment; nor for the library's padding of the header."""
    values = torch.arange(5, dtype=torch.float32)
    header = b'{"x":{"dtype":"F32","shape":[5],"data_offsets":[0,20]}}'
    header += b" " * ((-len(header) - 7) % 8)
    (tmp_path / "x").write_bytes(struct.pack("<Q", len(header)) + header + values.numpy().tobytes())
    assert torch.equal(read_safetensors(tmp_path / "x")["x"], values)
    with open_safetensors(tmp_path / "x") as file:
        assert file.tensors["x"].begin % 4
        assert torch.equal(file.read_into("x", torch.empty(5, dtype=torch.float64)), values.double())


def test_an_outline_has_shapes_but_no_values(folder: Path) -> None:
    outline = read_outline(folder)
    assert all(parameter.is_meta for parameter in outline.model.parameters() if parameter.dim() > 1)
    assert outline.model.num_parameters() == tiny_model().num_parameters()


def test_the_config_names_the_architecture(folder: Path) -> None:
    edit(folder / "config.json", architectures=["LlamaForChess"])
    with pytest.raises(CheckpointError, match=r"'LlamaForChess' is not supported\n.*LlamaForCausalLM"):
        load_model(folder)
    for value in (None, [], ["LlamaModel"]):
        edit(folder / "config.json", architectures=value)
        assert isinstance(load_model(folder), LlamaForCausalLM)


def test_a_bare_backbone_of_a_tied_model_is_a_decoder(folder: Path) -> None:
    tensors = read_safetensors(folder / "model.safetensors")
    save_file({name.removeprefix("model."): value.clone() for name, value in tensors.items()}, folder / "new")
    (folder / "new").rename(folder / "model.safetensors")
    edit(folder / "config.json", architectures=["LlamaModel"])
    ids = torch.arange(30).unsqueeze(0)
    assert torch.equal(load_model(folder, "cpu")(ids), tiny_model()(ids))


def test_an_encoder_does_not_continue_text(tmp_path: Path) -> None:
    from transformers import BertConfig, BertForMaskedLM

    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 40}
    BertForMaskedLM(BertConfig(vocab_size=320, **shape)).save_pretrained(tmp_path)
    tiny_tokenizer().save(tmp_path)
    assert load_checkpoint(tmp_path)[0].config.model_type == "bert"
    with pytest.raises(CheckpointError, match=r"bert model .* does not continue text"):
        load_decoder(tmp_path)


def test_generation_settings_are_kept(folder: Path, tmp_path: Path) -> None:
    settings = {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "do_sample": False, "eos_token_id": [1, 7]}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    model, tokenizer = load_checkpoint(folder)
    assert stop_ids(tokenizer, model) == [1, 4, 7]
    save_checkpoint(tmp_path / "again", model, tokenizer, generation={"top_k": 5})
    written = json.loads((tmp_path / "again" / "generation_config.json").read_text())
    assert written.items() >= (settings | {"top_k": 5, "eos_token_id": [1, 4, 7]}).items()


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


HEADERS: dict[str, tuple[object, str]] = {
    "outside the file": ({"x": entry(offsets=(8, 16))}, "leaves a gap"),
    "longer than the file": ({"x": entry(shape=(4,), offsets=(0, 16))}, "truncated"),
    "shorter than the file": ({"x": entry(shape=(1,), offsets=(0, 4))}, "damaged: .* bytes instead of"),
    "overlapping": ({"x": entry(), "y": entry(offsets=(4, 12))}, "overlaps"),
    "twice the same place": ({"x": entry(), "y": entry()}, "overlaps"),
    "a gap": ({"x": entry(shape=(1,), offsets=(0, 4)), "y": entry(shape=(), offsets=(5, 9))}, "leaves a gap"),
    "sizes that do not fit": ({"x": entry(shape=(3,))}, "8 bytes, which is not what F32"),
    "backwards": ({"x": entry(offsets=(8, 0))}, "data_offsets"),
    "three offsets": ({"x": entry(offsets=(0, 4, 8))}, "data_offsets"),
    "negative size": ({"x": entry(shape=(-2, -1))}, "has the shape"),
    "huge size": ({"x": entry(shape=(10**30,))}, "has the shape"),
    "sizes whose product overflows": ({"x": entry(shape=(2**40, 2**40))}, "not what F32"),
    "a thousand dimensions": ({"x": entry(shape=[1] * 1000)}, "has the shape"),
    "a truth value as size": ({"x": entry(shape=[True, 2])}, "has the shape"),
    "unknown dtype": ({"x": entry(dtype="F33")}, "the dtype 'F33'"),
    "dtype of another kind": ({"x": entry(dtype=["F32"])}, "the dtype"),
    "no offsets": ({"x": {"dtype": "F32", "shape": [2]}}, "not dtype, shape and data_offsets"),
    "no entry": ({"x": 5}, "not dtype, shape and data_offsets"),
    "list": ([], "expected a JSON object"),
    "metadata of another kind": ({"__metadata__": {"a": 1}, "x": entry()}, "__metadata__"),
    "same key twice": (b'{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"x":{}}', "'x' is given twice"),
    "not UTF-8": (b'{"\xff":1}', "not UTF-8"),
    "NaN": (b'{"x":NaN}', "NaN is no JSON number"),
    "endless number": (b'{"x":' + b"1" * 5000 + b"}", "malformed JSON"),
    "deep": (b"[" * 100_000, "nested too deeply"),
    "control characters in a name": ({"\x1b[31mred": entry(shape=(3,))}, r"\\x1b\[31mred"),
}


@pytest.mark.parametrize(("header", "message"), HEADERS.values(), ids=HEADERS)
def test_hostile_headers(tmp_path: Path, header: object, message: str) -> None:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(encoded)) + encoded + bytes(8))
    with pytest.raises(CheckpointError, match=message) as caught, open_safetensors(tmp_path / "x.safetensors"):
        pass
    assert caught.value.remedy
    assert "\x1b" not in str(caught.value)


def test_a_header_of_absurd_length_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "x.safetensors", "wb") as file:
        file.write(struct.pack("<Q", 1 << 40))
        file.truncate((1 << 40) + 8)
    with pytest.raises(CheckpointError, match="a header of"), open_safetensors(tmp_path / "x.safetensors"):
        pass


ABSURD = [
    *({"num_hidden_layers": value} for value in (10**9, 10**4, 10**30)),
    *({"hidden_size": value, "head_dim": 8} for value in (10**12, 2**62, 10**30, -1)),
    *({"vocab_size": value} for value in (10**12, 10**18)),
    *({"intermediate_size": 10**15}, {"head_dim": 10**12}, {"num_attention_heads": 10**9, "num_key_value_heads": 1}),
    *({"rope_parameters": "x"}, {"num_attention_heads": []}, {"model_type": ["llama"]}),
]


@pytest.mark.parametrize("changes", ABSURD, ids=str)
def test_absurd_configs_are_refused_before_anything_is_allocated(folder: Path, changes: dict[str, Any]) -> None:
    edit(folder / "config.json", **changes)
    with pytest.raises(CheckpointError, match=str(folder)):
        load_model(folder)


UNREADABLE = {
    "pytorch_model.bin": "pickled",
    "pytorch_model-00001-of-00002.bin": "pickled",
    "model.ckpt": "pickled",
    "model-q4.gguf": "GGUF",
    "tf_model.h5": "another library",
    "flax_model.msgpack": "another library",
}


@pytest.mark.parametrize(("name", "reason"), UNREADABLE.items())
def test_other_formats_are_refused_with_a_reason_and_a_remedy(folder: Path, name: str, reason: str) -> None:
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(CheckpointError, match=reason) as caught:
        load_model(folder)
    assert caught.value.remedy
    assert name in caught.value.cause
    if reason == "pickled":
        assert "from transformers import LlamaForCausalLM" in caught.value.remedy


def test_quantized_weights_are_refused(folder: Path) -> None:
    tensors = {name: value.clone() for name, value in read_safetensors(folder / "model.safetensors").items()}
    name = "model.layers.0.mlp.up_proj.weight"
    for quantized in (tensors[name].to(torch.int8), tensors[name].to(torch.float8_e4m3fn)):
        save_file(tensors | {name: quantized}, folder / "model.safetensors")
        with pytest.raises(CheckpointError, match="quantized weights are not supported"):
            load_model(folder)


@pytest.mark.skipif(os.name != "posix", reason="symbolic links")
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "generation_config.json"])
def test_links_out_of_the_folder_are_refused(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / name).rename(tmp_path / name)
    (folder / name).symlink_to(tmp_path / name)
    with pytest.raises(CheckpointError, match="outside of the folder"):
        load_model(folder)
