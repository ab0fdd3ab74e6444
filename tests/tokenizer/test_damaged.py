"""Damaged and hostile tokenizer files: our errors, nothing else, and no large allocation."""

import json
import random
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from inkstone.core.errors import InputError
from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.convert import convert_sentencepiece
from inkstone.tokenizer.sentencepiece import parse_sentencepiece

TEXT = "An ink 砚台 🙂 é ﬁ <0x41>"


def _field(number: int, value: bytes) -> bytes:
    size, length = b"", len(value)
    while length >= 0x80:
        size, length = size + bytes([length & 0x7F | 0x80]), length >> 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + value


def _piece(text: str, score: float, kind: int) -> bytes:
    return _field(1, _field(1, text.encode()) + b"\x15" + struct.pack("<f", score) + bytes([0x18, kind]))


def small_model(kind: int) -> bytes:
    pieces = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3), ("▁", -1.0, 1), ("▁in", -3.0, 1), ("in", -2.0, 1)]
    pieces += [(letter, -4.0 - n, 1) for n, letter in enumerate("iAnk砚台é")]
    return b"".join(_piece(*piece) for piece in pieces) + _field(2, bytes([0x18, kind])) + _field(3, b"")


def mutations(data: bytes, count: int) -> Iterator[bytes]:
    source = random.Random(1)
    for _ in range(count):
        how = source.randrange(4)
        at = source.randrange(len(data))
        if how == 0:
            yield data[:at]
        elif how == 1:
            yield data[:at] + source.randbytes(source.randint(1, 8)) + data[at + source.randint(0, 8) :]
        elif how == 2:
            yield data[:at] + bytes([data[at] ^ 1 << source.randrange(8)]) + data[at + 1 :]
        else:
            yield source.randbytes(source.randint(0, 80))


def survives(make: Callable[[], Any]) -> bool:
    """Whether it makes a tokenizer that encodes; False for our error; anything else fails the test."""
    try:
        make()
    except InputError:
        return False
    return True


@pytest.mark.parametrize("kind", [1, 2])
def test_mutated_sentencepiece_models(kind: int) -> None:
    data = small_model(kind)
    assert convert_sentencepiece(parse_sentencepiece(data)).encode("in").tokens[-1] == "▁in"

    def make(mutated: bytes) -> Callable[[], Any]:
        return lambda: Tokenizer(convert_sentencepiece(parse_sentencepiece(mutated))).encode(TEXT)

    tracemalloc.start()
    results = [survives(make(mutated)) for mutated in mutations(data, 4000)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0 < sum(results) < len(results)
    assert peak < 20_000_000


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # a length of 2**64 - 1
        b"\x0a" + b"\xff" * 500,  # a length that does not end
        b"\x0b\x0a\x01a",  # groups
        _piece("a", 0.0, 9),  # a type that does not exist
        _piece("a", float("nan"), 1),
        _piece("x" * 100_000, 0.0, 1),
        _piece("a", 0.0, 1) * 2,
        small_model(3),  # words
        small_model(1) + _field(3, _field(2, b"\xff\xff\xff\xff")),  # charsmap
        small_model(1) + _field(3, _field(2, b"\x04\x00\x00\x00")),
        b"\x0a\x00",
        b"\x12\x00",
        b"",
    ],
)
def test_hostile_sentencepiece_models(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "tokenizer.model").write_bytes(data)
    with pytest.raises(InputError, match=r"tokenizer\.model: (.|\n)*remedy"):
        Tokenizer.load(tmp_path)


def test_mutated_charsmaps(tmp_path: Path) -> None:
    spm = pytest.importorskip("sentencepiece")
    (tmp_path / "t.txt").write_text(TEXT * 20, "utf-8")
    spm.SentencePieceTrainer.train(
        input=str(tmp_path / "t.txt"), model_prefix=str(tmp_path / "tokenizer"), vocab_size=40, minloglevel=2,
        hard_vocab_limit=False,
    )  # fmt: skip
    model = parse_sentencepiece((tmp_path / "tokenizer.model").read_bytes())
    source, charsmap = random.Random(2), model.charsmap
    for _ in range(60):
        damaged = bytearray(charsmap)
        for _ in range(200):
            damaged[source.randrange(len(damaged))] = source.randrange(256)
        model.charsmap = bytes(damaged[: source.choice([len(damaged), source.randrange(len(damaged))])])
        survives(lambda: Tokenizer(convert_sentencepiece(model)).encode(TEXT + "ｆｕｌｌ①㍿"))


def test_mutated_tokenizer_json(bpe: Tokenizer, tmp_path: Path) -> None:
    small = {"version": "1.0", "added_tokens": [{"id": 2, "content": "<s>", "single_word": False, "lstrip": False,
             "rstrip": False, "normalized": False, "special": True}], "normalizer": {"type": "NFC"},
             "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
             "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
             {"Sequence": {"id": "A", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}},
             {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": {"<s>": {"id": "<s>", "ids": [2],
             "tokens": ["<s>"]}}}, "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True,
             "use_regex": True}, "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "<s>": 2, "ab": 3},
             "merges": [["a", "b"]], "unk_token": None, "byte_fallback": False},
             "truncation": None, "padding": None}  # fmt: skip
    data = json.dumps(small).encode()
    path = tmp_path / "tokenizer.json"
    path.write_bytes(data)
    assert Tokenizer.load(path).encode("abc") == [2, 3]
    results = []
    for mutated in mutations(data, 2000):
        path.write_bytes(mutated)
        results.append(survives(lambda: Tokenizer.load(path).encode(TEXT)))
    assert 0 < sum(results) < len(results)


MALFORMED: dict[str, dict[str, str | bytes]] = {
    "config is a list": {"tokenizer_config.json": "[]"},
    "config is cut": {"tokenizer_config.json": '{"a": '},
    "config is not text": {"tokenizer_config.json": b"\xff\xfe"},
    "template is not text": {"chat_template.jinja": b"\xff"},
    "decoder is a list": {"tokenizer_config.json": '{"added_tokens_decoder": [1]}'},
    "decoder's key": {"tokenizer_config.json": '{"added_tokens_decoder": {"x": {"content": "a"}}}'},
    "decoder's entry": {"tokenizer_config.json": '{"added_tokens_decoder": {"5": {}}}'},
    "gap": {"tokenizer_config.json": '{"added_tokens_decoder": {"99999": {"content": "<|new|>"}}}'},
    "huge id": {"tokenizer_config.json": '{"added_tokens_decoder": {"99999999999": {"content": "<|new|>"}}}'},
    "added tokens": {"added_tokens.json": '{"<|new|>": "one"}'},
    "added tokens with a gap": {"added_tokens.json": '{"<|new|>": 77777}'},
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_files_beside_tokenizer_json(bpe: Tokenizer, tmp_path: Path, name: str) -> None:
    bpe.save(tmp_path)
    for file, content in MALFORMED[name].items():
        (tmp_path / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError):
        Tokenizer.load(tmp_path)


FOLDERS: dict[str, dict[str, str | bytes]] = {
    "vocab.txt without special tokens": {"vocab.txt": "a\nb\n"},
    "vocab.txt of bytes": {"vocab.txt": b"\xff\xff"},
    "empty vocab.txt": {"vocab.txt": ""},
    "merges without vocabulary": {"vocab.json": "{}", "merges.txt": "a b\n"},
    "vocab.json of lists": {"vocab.json": "[1]", "merges.txt": ""},
    "merges of words": {"vocab.json": '{"a</w>": 0, "b": 1}', "merges.txt": ""},
    "marian alone": {"source.spm": small_model(1), "target.spm": small_model(1)},
    "marian with a gap": {
        "source.spm": small_model(1), "target.spm": small_model(1),
        "vocab.json": '{"</s>": 0, "<unk>": 1, "<pad>": 7}'},
    "marian without pad": {
        "source.spm": small_model(1), "target.spm": small_model(1), "vocab.json": '{"</s>": 0, "<unk>": 1}'},
    "marian with damaged pieces": {
        "source.spm": b"x", "target.spm": small_model(1), "vocab.json": '{"</s>": 0, "<unk>": 1, "<pad>": 2}'},
    "sentencepiece of another family": {
        "spiece.model": small_model(1), "tokenizer_config.json": '{"tokenizer_class": "AlbertTokenizer"}'},
    "sentinels without end": {
        "spiece.model": small_model(1),
        "tokenizer_config.json": '{"tokenizer_class": "T5Tokenizer", "extra_ids": 1e9}'},
    "nothing": {},
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS)
def test_malformed_folders(tmp_path: Path, name: str) -> None:
    for file, content in FOLDERS[name].items():
        (tmp_path / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError):
        Tokenizer.load(tmp_path)
