"""`inkstone convert`: llama2.c's models become folders and come back byte by byte; the contract of importers."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import inkstone
from inkstone.checkpoint import load_checkpoint, load_model
from inkstone.checkpoint.importers import Importer, import_model
from inkstone.checkpoint.importers.llama2c import read_model, write_model
from inkstone.checkpoint.importers.llama2c_tokenizer import read_tokenizer, read_vocabulary, write_vocabulary
from inkstone.cli import main
from inkstone.core.errors import InkstoneError, InputError
from inkstone.core.registry import lookup, names
from tests.tiny_models import tiny_model

STORIES = "weights/stories260K"


@pytest.fixture
def stories(shared_data: Callable[[str], Path]) -> Path:
    return shared_data(STORIES)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny random model in llama2.c's layout: bytes, letters and a few merges."""
    pieces = [b"<unk>", b"\n<s>\n", b"\n</s>\n", *(f"<0x{byte:02X}>".encode() for byte in range(256))]
    pieces += [bytes([byte]) for byte in b" abcdefgh"] + [b"ab", b"abc", b"bc", b" a", "墨".encode()]
    scores = [0.0] * (len(pieces) - 5) + [-1.0, -2.0, -3.0, -4.0, -5.0]
    path = tmp_path / "llama2c"
    path.mkdir()
    with open(path / "tok.bin", "wb") as file:
        file.write(struct.pack("<i", 8))
        for piece, score in zip(pieces, scores, strict=True):
            file.write(struct.pack("<fi", score, len(piece)) + piece)
    write_model(path / "tiny.bin", tiny_model(vocab_size=len(pieces), num_key_value_heads=2))
    return path


def encode_as_llama2c(vocabulary: list[tuple[bytes, float]], text: str) -> list[int]:
    """`encode` of llama2.c's run.c: bos, a space before the text, characters or bytes, then the best pair each time."""
    ids = {piece: token_id for token_id, (piece, _) in enumerate(vocabulary)}
    tokens = [ids[b" "]] if text else []
    for character in text:
        piece = character.encode()
        tokens += [ids[piece]] if piece in ids else [byte + 3 for byte in piece]
    while True:
        best, where = -1e10, None
        for at in range(len(tokens) - 1):
            merged = ids.get(vocabulary[tokens[at]][0] + vocabulary[tokens[at + 1]][0])
            if merged is not None and vocabulary[merged][1] > best:
                best, where = vocabulary[merged][1], (at, merged)
        if where is None:
            return [1, *tokens]
        tokens[where[0] : where[0] + 2] = [where[1]]


def mixed_lines(shared_data: Callable[[str], Path], count: int) -> list[str]:
    texts = [
        shared_data("english/tinyshakespeare.txt").read_text("utf-8").splitlines()[: count // 2],
        shared_data("english/wikitext2_raw_valid.txt").read_text("utf-8").splitlines()[: count // 8],
        shared_data("chinese/clue_small_sample.txt").read_text("utf-8").splitlines()[: count // 4],
        [
            json.loads(line)["code"]
            for line in shared_data("code/mbpp.jsonl").read_text("utf-8").splitlines()[: count // 8]
        ],
    ]
    emoji = ["😀 🖋️ ✍🏽", "a    b", "......", "aaaaaaaaaa", "▁x▁", "\t\n", " ", "ends with space "]
    return [line[:150] for text in texts for line in text][: count - len(emoji)] + emoji


def test_its_tokenizer_encodes_as_llama2c_does(shared_data: Callable[[str], Path], stories: Path) -> None:
    vocabulary = list(read_vocabulary(stories / "tok512.bin", 512).pieces)
    tokenizer = read_tokenizer(stories / "tok512.bin", 512)
    lines = mixed_lines(shared_data, 2000)
    assert len(lines) > 1700
    for line in lines:
        assert tokenizer.encode(line) == encode_as_llama2c(vocabulary, line), line
        assert tokenizer.decode(tokenizer.encode(line)) == line


def test_a_real_model_goes_there_and_back(stories: Path, tmp_path: Path) -> None:
    assert main(["convert", str(stories), "--out", str(tmp_path / "model")]) == 0
    model, tokenizer = load_checkpoint(tmp_path / "model", device="cpu")
    write_model(tmp_path / "back.bin", model)
    assert (tmp_path / "back.bin").read_bytes() == (stories / "stories260K.bin").read_bytes()
    write_vocabulary(tmp_path / "tok.bin", read_vocabulary(stories / "tok512.bin", tokenizer.vocab_size))
    assert (tmp_path / "tok.bin").read_bytes() == (stories / "tok512.bin").read_bytes()
    text = inkstone.load(tmp_path / "model").generate("Once upon a time", temperature=0, max_new_tokens=80)
    assert text.startswith(", there was a little girl named Lily. She loved to play outside in the park.")


def test_transformers_reads_what_was_converted(folder: Path, tmp_path: Path) -> None:
    assert main(["convert", str(folder), "--out", str(tmp_path / "model"), "--dtype", "float16"]) == 0
    ours, tokenizer = load_checkpoint(tmp_path / "model", device="cpu", dtype="float32")
    oracle = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    theirs = AutoTokenizer.from_pretrained(tmp_path / "model")
    for text in ("abc abc", "hab 墨 zz", ""):
        assert theirs(text).input_ids == tokenizer.encode(text)
        assert theirs.decode(theirs(text).input_ids, skip_special_tokens=True) == text
    ids = torch.tensor([tokenizer.encode("abc 墨 def")])
    with torch.inference_mode():
        torch.testing.assert_close(ours(ids), oracle(ids).logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("tied", [True, False])
def test_weights_are_written_as_they_were_read(tmp_path: Path, tied: bool) -> None:
    model = tiny_model(tie_word_embeddings=tied, num_key_value_heads=2)
    write_model(tmp_path / "one.bin", model)
    again = read_model(tmp_path / "one.bin")
    write_model(tmp_path / "two.bin", again)
    assert (tmp_path / "one.bin").read_bytes() == (tmp_path / "two.bin").read_bytes()
    ids = torch.arange(40).unsqueeze(0)
    with torch.inference_mode():
        assert torch.equal(model(ids), again(ids))


def test_what_llama2c_cannot_hold_is_refused(tmp_path: Path) -> None:
    for changes in ({"attention_bias": True}, {"head_dim": 16}):
        with pytest.raises(InputError, match=r"settings that llama2\.c does not"):
            write_model(tmp_path / "model.bin", tiny_model(**changes))


def test_a_model_folder_is_written_anew_in_another_dtype_and_in_shards(folder: Path, tmp_path: Path) -> None:
    assert main(["convert", str(folder), "--out", str(tmp_path / "one")]) == 0
    arguments = ["--out", str(tmp_path / "two"), "--dtype", "bfloat16", "--max-shard-size", "20KB"]
    assert main(["convert", str(tmp_path / "one"), *arguments]) == 0
    assert (tmp_path / "two" / "model.safetensors.index.json").is_file()
    wide, narrow = load_model(tmp_path / "one", "cpu"), load_model(tmp_path / "two", "cpu", "bfloat16")
    for first, second in zip(wide.parameters(), narrow.parameters(), strict=True):
        assert torch.equal(first.bfloat16(), second)
    manifest = json.loads((tmp_path / "two" / "manifest.json").read_text())
    assert manifest["stage"] == "convert"


def test_damaged_files_are_one_clear_error(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights, tokens = (folder / "tiny.bin").read_bytes(), (folder / "tok.bin").read_bytes()
    damages = {
        "no importer knows": [(weights[:-4], tokens), (weights[:20], tokens), (b"\xff" * 28 + weights[28:], tokens)],
        "tok.bin": [(weights, tokens[:-1]), (weights, tokens[:50]), (weights, tokens + tokens[4:]), (weights, b"")],
    }
    for message, cases in damages.items():
        for number, (bad_weights, bad_tokens) in enumerate(cases):
            (folder / "tiny.bin").write_bytes(bad_weights)
            (folder / "tok.bin").write_bytes(bad_tokens)
            assert main(["convert", str(folder), "--out", str(tmp_path / f"out{number}")]) == 2
            assert message in capsys.readouterr().err
    assert main(["convert", str(tmp_path / "nothing"), "--out", str(tmp_path / "out")]) == 2


def test_a_model_that_is_not_converted_yet_says_how(folder: Path) -> None:
    with pytest.raises(InkstoneError, match="a model of another program") as caught:
        load_model(folder)
    assert "inkstone convert" in str(caught.value)


def test_a_file_names_one_of_several_models(folder: Path) -> None:
    shutil.copy(folder / "tiny.bin", folder / "other.bin")
    with pytest.raises(InputError, match="no importer knows"):
        import_model(folder)
    assert import_model(folder / "tiny.bin")[2] == "llama2c"


@pytest.mark.parametrize("name", names("importers"))
def test_contract_of_importers(name: str, folder: Path, tmp_path: Path) -> None:
    importer = lookup("importers", name)
    assert isinstance(importer, Importer)
    assert importer.name == name
    assert importer.layout
    for path in (tmp_path / "nothing", tmp_path, Path(__file__)):
        assert importer.recognizes(path) is False
        with pytest.raises(InkstoneError):
            importer.read(path)
