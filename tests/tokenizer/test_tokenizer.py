import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inkstone.core.errors import InputError
from inkstone.tokenizer import Tokenizer, tokenizer
from inkstone.tokenizer.train import train_bytes_bpe
from tests.tokenizer.conftest import CHINESE, ENGLISH

any_text = st.text(st.characters(exclude_categories=("Cs",)), max_size=200)
awkward_text = st.lists(
    st.sampled_from(["砚台", "。”", "\n\n", "    ", "\t", "'s", "’ll", "def f(x):", "1234567", "é", "e\u0301", "🙂",
                     "\r\n", "<|eos|>", "<|im_start|>", "\x00", "ー", "한국어", "〇", "word", " ", "_", "--"])
).map("".join)  # fmt: skip


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    return train_bytes_bpe([CHINESE, ENGLISH], 600)


@given(any_text | awkward_text)
@settings(max_examples=300, deadline=None)
def test_any_text_survives_a_round_trip(trained: Tokenizer, text: str) -> None:
    ids = trained.encode_plain(text)
    assert trained.decode(ids, skip_special_tokens=False) == text
    assert trained.decode(ids) == text  # special tokens written in a document are ordinary text
    assert b"".join(map(trained.token_bytes, ids)) == text.encode()


def test_special_tokens_come_first(bpe: Tokenizer) -> None:
    assert bpe.special_tokens == {"<|bos|>": 0, "<|eos|>": 1, "<|pad|>": 2, "<|im_start|>": 3, "<|im_end|>": 4}
    assert (bpe.bos_id, bpe.eos_id, bpe.pad_id, bpe.unk_id) == (0, 1, 2, None)
    assert bpe.vocab_size == len(bpe) == 1500


def test_encode_adds_bos_and_reads_special_tokens(bpe: Tokenizer) -> None:
    plain = bpe.encode_plain("ink")
    assert bpe.encode("ink") == [0, *plain]
    assert bpe.encode("ink<|eos|>") == [0, *plain, 1]
    assert bpe.encode_rendered("<|im_start|>ink") == [3, *plain]
    assert 1 not in bpe.encode_plain("ink<|eos|>")
    assert bpe.decode([0, *plain, 1]) == "ink"
    assert bpe.decode([0, *plain, 1], skip_special_tokens=False) == "<|bos|>ink<|eos|>"


def test_saved_tokenizer_is_the_same(bpe: Tokenizer, tmp_path: Path) -> None:
    bpe.save(tmp_path)
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        loaded = Tokenizer.load(path)
        assert loaded.encode(CHINESE + ENGLISH) == bpe.encode(CHINESE + ENGLISH)
        assert (loaded.special, loaded.special_tokens, loaded.chat_template) == (
            bpe.special, bpe.special_tokens, bpe.chat_template)  # fmt: skip


def test_long_text_is_tokenized_in_pieces_with_the_same_ids(
    bpe: Tokenizer, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "".join(texts) + ("\n\n“Ink”, he said。 砚台\n   \n1,234 don't " * 300)
    whole = bpe.encode_plain(text)
    for limit in (2, 3, 64, 1000):
        monkeypatch.setattr(tokenizer, "LONG_TEXT", limit)
        assert len(bpe._cut(text)) > len(text) // limit / 20
        assert bpe.encode_plain(text) == whole


def test_batch_equals_one_by_one(bpe: Tokenizer, texts: list[str]) -> None:
    assert bpe.encode_plain_batch([*texts, ""]) == [bpe.encode_plain(text) for text in [*texts, ""]]


def test_lone_surrogate_is_refused(bpe: Tokenizer) -> None:
    for encode in (bpe.encode, bpe.encode_plain):
        with pytest.raises(InputError, match=r"character 2 is a lone surrogate \(U\+D800\)"):
            encode("in\ud800k")


def test_truncation_and_padding_of_a_loaded_file_are_switched_off(bpe: Tokenizer, tmp_path: Path) -> None:
    bpe.save(tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    content["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    assert Tokenizer.load(tmp_path).encode(ENGLISH) == bpe.encode(ENGLISH)


@pytest.mark.parametrize("content", ["", "{", '{"version": "1.0"}', "[1, 2]"])
def test_damaged_tokenizer_file_is_one_clear_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"tokenizer\.json: not a tokenizer(.|\n)*remedy"):
        Tokenizer.load(tmp_path)


def test_missing_tokenizer_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tokenizer\.json: no such file(.|\n)*remedy"):
        Tokenizer.load(tmp_path)


def test_unknown_id_is_refused(bpe: Tokenizer) -> None:
    with pytest.raises(InputError, match="id 1500 is not in the vocabulary of 1500"):
        bpe.token_bytes(1500)


def test_bos_and_eos_stand_once(bpe: Tokenizer, tmp_path: Path) -> None:
    """A prompt that begins with the text of bos (a rendered chat, say) gets no second one; eos likewise."""
    bpe.save(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    for changed, before, after in (
        ({}, [0], []),
        ({"add_bos_token": True, "add_eos_token": True}, [0], [1]),
        ({"add_bos_token": False}, [], []),
        ({"add_eos_token": True}, [], [1]),
    ):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({**config, **changed}), encoding="utf-8")
        tokenizer = Tokenizer.load(tmp_path)
        words = tokenizer.encode_plain("ink")
        assert tokenizer.encode("ink") == [*before, *words, *after]
        assert tokenizer.encode("<|bos|>ink<|eos|>") == [0, *words, 1]
        assert tokenizer.encode_with_offsets("<|bos|>ink<|eos|>").ids == [0, *words, 1]
        assert tokenizer.encode_rendered("<|bos|>ink") == [0, *words]
        assert tokenizer.encode("<|bos|><|bos|>ink")[:3] == [0, 0, words[0]]


def test_offsets_are_characters_of_the_text(bpe: Tokenizer) -> None:
    text = "An ink砚台🙂, é e\u0301 한국어\n"
    encoding = bpe.encode_with_offsets(text)
    assert encoding.ids == bpe.encode(text)
    assert encoding.offsets[0] == (0, 0)
    assert encoding.sequence_ids == [None, *[0] * (len(encoding) - 1)]
    covered = [text[start:end].encode() for start, end in encoding.offsets[1:]]
    for token_id, whole in zip(encoding.ids[1:], covered, strict=True):
        assert bpe.token_bytes(token_id) in whole  # several tokens may share the bytes of one character
    spans = sorted(set(encoding.offsets[1:]))
    assert "".join(text[start:end] for start, end in spans) == text


def test_batches_are_padded_on_either_side(bpe: Tokenizer) -> None:
    batch = bpe.encode_batch(["ink", "ink and stone"], pad_to_multiple_of=4)
    short, long = bpe.encode("ink"), bpe.encode("ink and stone")
    width = -(-len(long) // 4) * 4
    assert batch.input_ids == [row + [2] * (width - len(row)) for row in (short, long)]
    assert [sum(mask) for mask in batch.attention_mask] == [len(short), len(long)]
    left = bpe.encode_batch(["ink", "ink and stone"], padding_side="left")
    padding = len(long) - len(short)
    assert left.input_ids == [[2] * padding + short, long]
    assert left.attention_mask[0] == [0] * padding + [1] * len(short)
    assert bpe.encode_batch([]).input_ids == []
    with pytest.raises(InputError, match="no pad token"):
        Tokenizer(bpe.backend).encode_batch(["ink", "ink and stone"])
    with pytest.raises(InputError, match="2 texts and 1 pairs"):
        bpe.encode_batch(["a", "b"], ["c"])
    with pytest.raises(InputError, match="truncation without a length"):
        bpe.encode_batch(["a"], truncation=True)
