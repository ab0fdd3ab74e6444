"""Folders as each family has them, against `transformers`: ids, pairs, masks, offsets, and what is saved again."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models, normalizers, pre_tokenizers, trainers

from inkstone.core.errors import InputError
from inkstone.tokenizer import Tokenizer
from tests.tokenizer.conftest import CHINESE, ENGLISH
from tests.tokenizer.test_unigram import train

transformers = pytest.importorskip("transformers")

TEXTS = [
    ENGLISH, CHINESE, "", " ", "a  b\n\tc", "Éa ｆｕｌｌ naïve", "砚台inkstone砚", "🙂 ☃!", "don't stop , now .",
    "[MASK] [CLS]x", "<mask> <pad>",
]  # fmt: skip
PAIRS = [("An inkstone", "砚台是什么?"), ("", "x"), ("a b c d e f", "g")]


def word_pieces() -> list[str]:
    backend = Backend(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    backend.train_from_iterator([ENGLISH, ENGLISH.lower(), CHINESE], trainer)
    vocab = backend.get_vocab()
    return sorted(vocab, key=lambda piece: vocab[piece])


def byte_pairs(folder: Path, special: list[str]) -> None:
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator([ENGLISH, CHINESE], trainer)
    backend.model.save(str(folder))


def bert(folder: Path, **config: Any) -> Any:
    (folder / "vocab.txt").write_text("\n".join(word_pieces()) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return transformers.BertTokenizer.from_pretrained(str(folder))


def roberta(folder: Path) -> Any:
    byte_pairs(folder, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    (folder / "config.json").write_text('{"model_type": "roberta"}', encoding="utf-8")
    return transformers.RobertaTokenizer.from_pretrained(str(folder))


def qwen2(folder: Path) -> Any:
    byte_pairs(folder, [])
    added = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>"]
    size = len(json.loads((folder / "vocab.json").read_text(encoding="utf-8")))
    decoder = {str(size + n): {"content": name, "special": n < 3} for n, name in enumerate(added)}
    config = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
              "add_bos_token": False, "added_tokens_decoder": decoder, "bos_token": None}  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return transformers.Qwen2Tokenizer.from_pretrained(str(folder))


def t5(folder: Path) -> Any:
    train(folder, unk_id=2, eos_id=1, pad_id=0, bos_id=-1)
    (folder / "tokenizer.model").rename(folder / "spiece.model")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "T5Tokenizer", "extra_ids": 5}', "utf-8")
    return transformers.T5Tokenizer.from_pretrained(str(folder))


def xlm_roberta(folder: Path) -> Any:
    train(folder)
    (folder / "tokenizer.model").rename(folder / "sentencepiece.bpe.model")
    (folder / "config.json").write_text('{"model_type": "xlm-roberta"}', encoding="utf-8")
    return transformers.XLMRobertaTokenizer.from_pretrained(str(folder))


FOLDERS: dict[str, Callable[[Path], Any]] = {
    "bert": bert,
    "bert with case": lambda folder: bert(folder, do_lower_case=False),
    "bert, accents kept": lambda folder: bert(folder, strip_accents=False, tokenize_chinese_chars=False),
    "roberta": roberta,
    "qwen2": qwen2,
    "t5": t5,
    "xlm-roberta": xlm_roberta,
}


@pytest.fixture(scope="module", params=FOLDERS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Any]:
    folder = tmp_path_factory.mktemp("family")
    return request.param, folder, FOLDERS[request.param](folder)


def assert_same(ours: Tokenizer, theirs: Any, *, offsets: bool = True) -> None:
    for text in TEXTS:
        ids = theirs(text).input_ids
        assert ours.encode(text) == ids, text
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True), text
        if offsets:
            expected = theirs(text, return_offsets_mapping=True)["offset_mapping"]
            assert ours.encode_with_offsets(text).offsets == expected, text
            assert ours.encode_with_offsets(text).sequence_ids == theirs(text).sequence_ids()
    for text, other in PAIRS:
        mine = ours.encode_with_offsets(text, other)
        their = theirs(text, other, return_token_type_ids=True)
        assert mine.ids == their.input_ids
        assert mine.token_type_ids == their.token_type_ids
        assert mine.sequence_ids == their.sequence_ids()
    assert len(ours) == len(theirs)
    for part in ("eos", "pad", "unk", "mask"):
        if part == "eos" and theirs.eos_token is None:  # BERT's [SEP] ends a text here
            continue
        if (part, theirs.unk_token) != ("unk", "<|endoftext|>"):  # Qwen's: a name for what byte-level BPE never needs
            assert getattr(ours, f"{part}_id") == getattr(theirs, f"{part}_token_id")


def test_ids_pairs_and_offsets(case: tuple[str, Path, Any]) -> None:
    name, folder, theirs = case
    assert_same(Tokenizer.load(folder), theirs, offsets=name not in ("t5", "xlm-roberta", "qwen2"))


def test_auto_tokenizer_reads_what_is_saved(case: tuple[str, Path, Any], tmp_path: Path) -> None:
    _, folder, _ = case
    ours = Tokenizer.load(folder)
    ours.save(tmp_path)
    if (folder / "config.json").is_file():
        (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    assert_same(ours, theirs)
    assert_same(Tokenizer.load(tmp_path), theirs)


def test_what_transformers_saves_is_read(case: tuple[str, Path, Any], tmp_path: Path) -> None:
    _, _, theirs = case
    theirs.save_pretrained(tmp_path)
    assert_same(Tokenizer.load(tmp_path), theirs)


def test_batches(case: tuple[str, Path, Any]) -> None:
    _, folder, theirs = case
    ours = Tokenizer.load(folder)
    for side in ("left", "right"):
        theirs.padding_side = side
        for pairs in (None, [other * 3 for other in TEXTS]):
            expected = theirs(
                TEXTS, pairs, padding=True, truncation=True, max_length=16, return_token_type_ids=True,
                pad_to_multiple_of=8,
            )  # fmt: skip
            batch = ours.encode_batch(
                TEXTS, pairs, max_length=16, truncation=True, padding_side=side, pad_to_multiple_of=8
            )
            assert batch.input_ids == expected.input_ids
            assert batch.attention_mask == expected.attention_mask
            assert batch.token_type_ids == expected.token_type_ids
            others: list[str | None] = [None] * len(TEXTS) if pairs is None else [*pairs]
            whole = [len(ours.encode_with_offsets(*both)) for both in zip(TEXTS, others, strict=True)]
            assert batch.num_truncated == [max(0, length - 16) for length in whole]
    theirs.padding_side = "right"


def test_too_long_is_an_error_and_never_a_silent_cut(tmp_path: Path) -> None:
    bert(tmp_path, model_max_length=8)
    ours = Tokenizer.load(tmp_path)
    assert ours.model_max_length == 8
    with pytest.raises(InputError, match=r"text 1 has \d+ tokens, more than 4(.|\n)*truncation"):
        ours.encode_batch(["a", ENGLISH], max_length=4)
    batch = ours.encode_batch(["a", ENGLISH], truncation=True)
    assert [len(row) for row in batch.input_ids] == [8, 8]
    assert batch.num_truncated == [0, len(ours.encode(ENGLISH)) - 8]
    with pytest.raises(InputError, match="no room for 2 added tokens"):
        ours.encode_batch(["a"], max_length=1, truncation=True)


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
def test_marian(tmp_path: Path) -> None:
    for name, text in (("source", ENGLISH), ("target", CHINESE)):
        train(tmp_path / name, character_coverage=1.0, vocab_size=120)
        (tmp_path / name / "tokenizer.model").rename(tmp_path / f"{name}.spm")
        del text
    from sentencepiece import SentencePieceProcessor

    pieces: dict[str, None] = {"</s>": None, "<unk>": None, ">>zh<<": None}
    for name in ("target", "source"):
        model = SentencePieceProcessor(model_file=str(tmp_path / f"{name}.spm"))
        listed = [model.id_to_piece(n) for n in range(3, model.get_piece_size())]
        pieces |= dict.fromkeys(random.Random(name).sample(listed, len(listed) - 9))
    vocab = {piece: n for n, piece in enumerate([*pieces, "<pad>"])}
    (tmp_path / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    theirs = transformers.MarianTokenizer.from_pretrained(str(tmp_path))
    ours = Tokenizer.load(tmp_path)
    texts = [*TEXTS, ">>zh<< An inkstone", "a</s>b"]
    ours.save(tmp_path / "saved")
    (tmp_path / "saved/config.json").write_text('{"model_type": "marian"}', encoding="utf-8")
    for again in (transformers.AutoTokenizer.from_pretrained(str(tmp_path / "saved")), theirs):
        for text in texts:
            assert ours.encode(text) == again(text).input_ids, text
            assert ours.target.encode(text) == again(text_target=text).input_ids, text
            ids = ours.target.encode(text)
            assert ours.decode(ids) == again.decode(ids, skip_special_tokens=True)
    assert Tokenizer.load(tmp_path / "saved").encode(ENGLISH) == ours.encode(ENGLISH)
    batch = ours.target.encode_batch(["a", CHINESE])
    assert batch.input_ids == theirs(text_target=["a", CHINESE], padding=True).input_ids
    assert (ours.eos_id, ours.pad_id, ours.unk_id, ours.vocab_size) == (0, len(vocab) - 1, 1, len(vocab))


def test_added_tokens_of_old_folders(tmp_path: Path) -> None:
    byte_pairs(tmp_path, ["<|endoftext|>"])
    size = len(json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8")))
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<|pad|>": size, "[TOOL]": size + 1}), encoding="utf-8")
    special = {"pad_token": "<|pad|>", "eos_token": {"content": "<|endoftext|>"}, "bos_token": "<|endoftext|>"}
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(special), encoding="utf-8")
    ours, theirs = Tokenizer.load(tmp_path), transformers.GPT2Tokenizer.from_pretrained(str(tmp_path))
    for text in [*TEXTS, "a<|pad|>b[TOOL] c"]:
        assert ours.encode(text) == theirs(text).input_ids
        assert ours.decode(ours.encode(text)) == theirs.decode(theirs(text).input_ids, skip_special_tokens=True)
    assert (ours.pad_id, ours.eos_id, ours.bos_id) == (size, 0, 0)
    assert set(ours.special_tokens) == {"<|endoftext|>", "<|pad|>"}


@pytest.mark.parametrize("setting", [True, False])
def test_spaces_are_cleaned_up_as_transformers_does(tmp_path: Path, setting: bool) -> None:
    words = ["[UNK]", "a", ".", ",", "!", "?", "n't", "'s", "'"]
    backend = Backend(models.WordLevel({word: n for n, word in enumerate(words)}))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.save(str(tmp_path / "tokenizer.json"))
    config = {"clean_up_tokenization_spaces": setting, "tokenizer_class": "PreTrainedTokenizerFast"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    ours, theirs = Tokenizer.load(tmp_path), transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    ids = ours.encode_plain("a . a , a ! a ? a n't a 's a ' a")
    assert ours.decode(ids) == theirs.decode(ids)
    assert (" ." in ours.decode(ids)) is not setting
