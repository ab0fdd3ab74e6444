"""Model folders: saved and read back unchanged, and refused with one clear error when something is wrong."""

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from inkstone.checkpoint import load_checkpoint, load_model, read_safetensors, save_checkpoint, write_safetensors
from inkstone.core.errors import CheckpointError, ResourceError
from inkstone.core.manifest import write_manifest
from inkstone.nn.models.llama import LlamaForCausalLM
from tests.tiny_models import SHAPES, TEXTS, tiny_model, tiny_tokenizer


def same_weights(first: LlamaForCausalLM, second: LlamaForCausalLM) -> bool:
    theirs = second.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in first.state_dict().items())


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
def test_what_is_saved_is_what_is_loaded(tmp_path: Path, changes: dict[str, object]) -> None:
    model, tokenizer = tiny_model(**changes), tiny_tokenizer()
    save_checkpoint(tmp_path, model, tokenizer)
    loaded, loaded_tokenizer = load_checkpoint(tmp_path, device="cpu")
    assert loaded.config == model.config
    assert same_weights(model, loaded)
    assert not loaded.training
    input_ids = torch.arange(64).unsqueeze(0)
    with torch.inference_mode():
        assert torch.equal(model(input_ids), loaded(input_ids))
    for text in TEXTS:
        assert loaded_tokenizer.encode(text) == tokenizer.encode(text)
    tied = loaded.lm_head.weight is loaded.model.embed_tokens.weight
    assert tied == model.config.tie_word_embeddings


def test_a_loaded_model_is_its_own_and_can_be_trained(folder: Path) -> None:
    model, _ = load_checkpoint(folder, device="cpu")
    shutil.rmtree(folder)
    logits = model(torch.arange(20).unsqueeze(0))
    logits.square().mean().backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert not same_weights(model, tiny_model())
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_compiled_model_is_saved_under_plain_names(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, torch.compile(tiny_model(), backend="eager"), tiny_tokenizer())
    assert same_weights(load_model(tmp_path), tiny_model())


def test_files_of_a_folder(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    expected = {"config.json", "generation_config.json", "model.safetensors", "README.md", "tokenizer.json"}
    assert expected | {"tokenizer_config.json"} <= names
    assert not any(name.startswith(".") or name.endswith((".bin", ".pt", ".pkl")) for name in names)
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118


def test_model_card_says_what_is_known(tmp_path: Path) -> None:
    training = {"steps": 300, "data": {"corpus": "runs/a|b/prepare", "tokens": 12_345}}
    save_checkpoint(tmp_path, tiny_model(), tiny_tokenizer(), training=training)
    card = (tmp_path / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert f"{tiny_model().config.num_parameters():,}" in card
    assert "| steps | 300 |" in card
    assert "| data.corpus | runs/a\\|b/prepare |" in card


def test_dtypes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, tiny_model(), tiny_tokenizer(), dtype=torch.bfloat16)
    stored = load_file(tmp_path / "model.safetensors")["model.norm.weight"]
    assert stored.dtype == torch.bfloat16
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16), ("fp16", torch.float16)):
        model = load_model(tmp_path, device="cpu", dtype=name)
        assert {parameter.dtype for parameter in model.parameters()} == {dtype}
        torch.testing.assert_close(model.model.norm.weight.detach(), stored.to(dtype), rtol=0, atol=0)
    for has_bf16, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr("inkstone.core.device.has_bf16", lambda device, has_bf16=has_bf16: has_bf16)
        assert load_model(tmp_path, device="cpu").lm_head.weight.dtype == dtype


def test_safetensors_as_the_library_reads_and_writes_them(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "z": torch.randn(3, 4, generator=generator),
        "transposed": torch.randn(3, 4, generator=generator).t(),
        "bf16": torch.randn(5, generator=generator).bfloat16(),
        "half": torch.randn(2, 1, 3, generator=generator).half(),
        "double": torch.randn(1, generator=generator).double(),
        "bytes": torch.arange(7, dtype=torch.uint8),
        "flags": torch.tensor([True, False]),
        "scalar": torch.tensor(3),
        "empty": torch.empty(0, 4),
    }
    write_safetensors(tmp_path / "ours", tensors, {"name": "墨"})
    save_file({name: value.contiguous() for name, value in tensors.items()}, tmp_path / "theirs")
    for read in (load_file(tmp_path / "ours"), read_safetensors(tmp_path / "theirs")):
        assert read.keys() == tensors.keys()
        for name, value in tensors.items():
            assert read[name].dtype == value.dtype
            assert torch.equal(read[name], value)
    with safe_open(tmp_path / "ours", "pt") as file:
        assert file.metadata() == {"format": "pt", "name": "墨"}


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = {name: value.clone() for name, value in load_file(folder / "model.safetensors").items()}
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def truncate(size: int) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        with open(folder / "model.safetensors", "r+b") as file:
            file.truncate(size)

    return damage


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated in the weights": (truncate(50_000), r"truncated: 50000 bytes instead of"),
    "truncated in the header": (truncate(100), r"truncated: the header needs"),
    "empty file": (truncate(0), r"header is damaged"),
    "not safetensors": (lambda f: (f / "model.safetensors").write_bytes(b"PK\x03\x04" * 99), r"damaged or truncated"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), r"model.safetensors is missing"),
    "pickled": (pickled, r"pickled"),
    "no config": (lambda f: (f / "config.json").unlink(), r"config.json is missing"),
    "broken config": (lambda f: (f / "config.json").write_text('{"a": '), r"malformed JSON"),
    "config of another kind": (lambda f: (f / "config.json").write_text("[]"), r"JSON object"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), r"tokenizer.json: no such file"),
    "broken tokenizer": (lambda f: (f / "tokenizer.json").write_text("{}"), r"tokenizer.json: not a tokenizer"),
    "other model type": (lambda f: edit_config(f, model_type="lama"), r"'lama' is not supported[^'\"]*\n.*'llama'"),
    "own code": (lambda f: edit_config(f, auto_map={"AutoModel": "evil.py"}), r"auto_map"),
    "rope scaling": (lambda f: edit_config(f, rope_parameters={"rope_type": "spiral", "factor": 4}), r"spiral"),
    "quantized": (lambda f: edit_config(f, quantization_config={"bits": 4}), r"quantization_config"),
    "other activation": (lambda f: edit_config(f, hidden_act="sigmoidal"), r"sigmoidal"),
    "senseless size": (lambda f: edit_config(f, num_key_value_heads=3), r"num_key_value_heads"),
    "other shape": (lambda f: edit_config(f, intermediate_size=96), r"has shape \[\d+, \d+\], config.json asks for"),
    "more layers": (lambda f: edit_config(f, num_hidden_layers=3), r"9 missing weights .*model.layers.2"),
    "fewer layers": (lambda f: edit_config(f, num_hidden_layers=1), r"9 unexpected weights .*model.layers.1"),
    "missing weight": (
        lambda f: edit_weights(f, lambda t: t.pop("model.norm.weight")),
        r"1 missing weight .*model.norm",
    ),
    "untied by config": (lambda f: edit_config(f, tie_word_embeddings=False), r"missing weight .*lm_head.weight"),
    "tied to another": (
        lambda f: edit_weights(f, lambda t: t.update({"lm_head.weight": torch.ones(320, 32)})),
        r"ties",
    ),
    "small vocabulary": (
        lambda f: save_checkpoint_with(f, vocab_size=300),
        r"tokenizer has 320 tokens, the model only 300",
    ),
}


def save_checkpoint_with(folder: Path, **changes: object) -> None:
    edit_config(folder, **changes)
    edit_weights(
        folder, lambda t: t.update({"model.embed_tokens.weight": t["model.embed_tokens.weight"][:300].clone()})
    )


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_damage_is_one_clear_error(folder: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(folder)
    assert str(folder) in str(caught.value)
    assert "remedy" in str(caught.value)


def test_a_repeated_tied_weight_and_old_tables_are_accepted(folder: Path) -> None:
    table = "model.layers.0.self_attn.rotary_emb.inv_freq"
    edit_weights(folder, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone()}))
    edit_weights(folder, lambda t: t.update({table: torch.ones(4)}))
    assert same_weights(load_model(folder), tiny_model())


def test_an_adapter_is_no_model_and_says_how_to_merge_it(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="an adapter, not a model") as caught:
        load_checkpoint(tmp_path)
    assert "inkstone merge" in str(caught.value.remedy)


def test_folders_that_are_no_model_say_what_they_are(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(CheckpointError, match="run folder") as caught:
        load_checkpoint(folder.parent)
    assert f"give {folder}" in str(caught.value)
    with pytest.raises(CheckpointError, match="a file, not a model folder"):
        load_checkpoint(folder / "config.json")
    with pytest.raises(CheckpointError, match="no such model folder"):
        load_checkpoint(tmp_path / "nothing")
    (folder / "stage.json").write_text("{}")
    with pytest.raises(CheckpointError, match="unfinished"):
        load_checkpoint(folder)


def finish_stage(folder: Path) -> None:
    write_manifest(
        folder,
        stage="pretrain",
        version=1,
        fingerprint="f",
        config={},
        inputs={},
        sources={},
        summary={},
        started="2026-01-01T00:00:00",
        duration_s=1.0,
    )


def test_folders_that_differ_from_their_manifest(folder: Path) -> None:
    finish_stage(folder)
    load_checkpoint(folder, verify=True)
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    load_checkpoint(folder)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        load_checkpoint(folder, verify=True)
    (folder / "generation_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"generation_config\.json"):
        load_checkpoint(folder)


def test_a_copy_of_the_model_files_alone_loads(folder: Path) -> None:
    (folder / "metrics.jsonl").write_text("{}")
    (folder / "checkpoints" / "last").mkdir(parents=True)
    (folder / "checkpoints" / "last" / "config.json").write_text("{}")
    finish_stage(folder)
    (folder / "metrics.jsonl").unlink()
    (folder / "README.md").write_text("edited")
    shutil.rmtree(folder / "checkpoints")
    load_checkpoint(folder, verify=True)
    (folder / "generation_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"generation_config\.json"):
        load_checkpoint(folder)


def test_a_full_disk_leaves_the_earlier_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (folder / "model.safetensors").read_bytes()

    def no_space(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(ResourceError, match="disk is full"):
        save_checkpoint(folder, tiny_model(seed=1), tiny_tokenizer())
    assert (folder / "model.safetensors").read_bytes() == before
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_a_tokenizer_with_more_tokens_than_the_model_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="tokenizer has 320 tokens, the model only 300"):
        save_checkpoint(tmp_path / "model", tiny_model(vocab_size=300), tiny_tokenizer())
    assert not (tmp_path / "model").exists()
