"""Tokenizers of the `tokenizers` library made from the vocabulary files that folders without a tokenizer.json have."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors

from inkstone.core.errors import InputError
from inkstone.core.files import read_json
from inkstone.tokenizer.convert import Affixes, convert_sentencepiece
from inkstone.tokenizer.sentencepiece import read_sentencepiece
from inkstone.tokenizer.special import sentinel

SENTENCEPIECE_FILES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
VOCABULARY_FILES = ("vocab.json", "merges.txt", "vocab.txt", *SENTENCEPIECE_FILES)
"""Files that a vocabulary may be read from, when there is no tokenizer.json."""

_T5_SENTINELS = 100

_QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Where Qwen2 cuts text before merging (its published tokenizer.json)."""


def family_of(folder: Path, config: Mapping[str, Any]) -> str:
    """Whose conventions a folder follows: ``llama`` of ``LlamaTokenizerFast``, else config.json's ``model_type``."""
    name = config.get("tokenizer_class")
    if isinstance(name, str) and name not in ("PreTrainedTokenizerFast", "TokenizersBackend", "PreTrainedTokenizer"):
        return name.removesuffix("Fast").removesuffix("Tokenizer").lower()
    if (folder / "config.json").is_file():
        read = read_json(folder / "config.json")
        if isinstance(read, dict) and isinstance(read.get("model_type"), str):
            return str(read["model_type"]).replace("-", "").lower()
    return ""


def build_backend(folder: Path, config: Mapping[str, Any]) -> tokenizers.Tokenizer | None:
    """The tokenizer of a folder's vocabulary files; None when it has none.

    Raises:
        InputError: they are damaged, or of a kind that is not known.
    """
    family = family_of(folder, config)
    for name in SENTENCEPIECE_FILES:
        if (folder / name).is_file():
            return from_sentencepiece(folder / name, family, config)
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return from_vocab_and_merges(folder, family, config)
    if (folder / "vocab.txt").is_file():
        return from_vocab_txt(folder / "vocab.txt", config)
    return None


def from_sentencepiece(path: Path, family: str, config: Mapping[str, Any]) -> tokenizers.Tokenizer:
    """A SentencePiece file in the layout of its family: Llama's, T5's or XLM-RoBERTa's.

    Raises:
        InputError: it is damaged, or of another family, whose ids nobody here knows.
    """
    model = read_sentencepiece(path)
    pieces = {piece.text: n for n, piece in enumerate(model.pieces)}
    affixes, template = Affixes(), ""
    if family in ("t5", "mt5", "umt5") or (not family and path.name == "spiece.model"):
        count = config.get("extra_ids", _T5_SENTINELS if family != "mt5" else 0)
        if not isinstance(count, int) or not 0 <= count <= 100_000:
            raise InputError("extra_ids is not a count", where=path.parent / "tokenizer_config.json")
        missing = [sentinel(n) for n in reversed(range(count)) if sentinel(n) not in pieces]
        affixes, template = Affixes(after=missing), "$A </s>"
    elif family in ("xlmroberta", "camembert") or (not family and path.name == "sentencepiece.bpe.model"):
        affixes = Affixes(("<s>", "<pad>", "</s>", "<unk>"), skipped=3, after=("<mask>",))
        template = "<s> $A </s>"
    elif family in ("albert", "xlnet", "debertav2", "mbart", "mbart50", "m2m100", "nllb", "pegasus", "bigbird", "fnet"):
        raise InputError(
            f"a SentencePiece model in the layout of {family!r}, which is not known here",
            where=path,
            remedy="convert it with `transformers` (AutoTokenizer, save_pretrained) and give the new folder",
        )
    elif config.get("add_bos_token", "<s>" in pieces or "<bos>" in pieces):
        template = "<s> $A" if "<s>" in pieces else "<bos> $A" if "<bos>" in pieces else ""
    try:
        backend = convert_sentencepiece(model, affixes, prefix_after_special=config.get("legacy") is not False)
    except InputError as error:
        raise InputError(error.cause, where=path, remedy=error.remedy) from error.__cause__
    _add_around(backend, template, path)
    return backend


def _add_around(backend: tokenizers.Tokenizer, template: str, path: Path) -> None:
    """A post-processor from ``<s> $A </s>``; a pair is written as RoBERTa (``<s> $A </s> </s> $B </s>``) or T5 does."""
    tokens = [name for name in template.split() if name != "$A"]
    if not tokens:
        return
    ids = {token: backend.token_to_id(token) for token in tokens}
    if None in ids.values():
        raise InputError(f"a SentencePiece model without {' '.join(tokens)}", where=path, remedy="copy it again")
    first, _, last = template.partition("$A")
    second = f"{last or first} $B{last}" if first or not last else f" $B{last}"
    backend.post_processor = processors.TemplateProcessing(
        single=template, pair=f"{template} {second}".replace("  ", " "), special_tokens=list(ids.items())
    )


def from_vocab_and_merges(folder: Path, family: str, config: Mapping[str, Any]) -> tokenizers.Tokenizer:
    """Byte-level BPE in GPT-2's two files, as GPT-2, RoBERTa and Qwen2 have them.

    Raises:
        InputError: they are damaged, or the merges are not of bytes.
    """
    vocab, merges = str(folder / "vocab.json"), str(folder / "merges.txt")
    try:
        backend = tokenizers.Tokenizer(models.BPE.from_file(vocab, merges))
    except Exception as error:
        raise InputError(f"vocab.json and merges.txt do not make a tokenizer: {error}", where=folder) from error
    known = backend.get_vocab()
    if "Ġ" not in known and "</w>" in "".join(list(known)[-1000:]):
        raise InputError(
            "vocab.json and merges.txt of a BPE that is not byte-level",
            where=folder,
            remedy="convert it with `transformers` (AutoTokenizer, save_pretrained) and give the new folder",
        )
    prefix = config.get("add_prefix_space") is True
    if family.startswith("qwen"):
        backend.normalizer = normalizers.NFC()
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_QWEN2_WORDS), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=False),
            ]
        )
    else:
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    backend.decoder = decoders.ByteLevel()
    if all(token in known for token in ("<s>", "</s>", "<pad>", "<mask>")):
        backend.post_processor = processors.RobertaProcessing(
            ("</s>", known["</s>"]), ("<s>", known["<s>"]), add_prefix_space=prefix
        )
        names = ["<s>", "<pad>", "</s>", "<unk>"]
        backend.add_special_tokens([AddedToken(name, normalized=False) for name in names if name in known])
        backend.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    elif "<|endoftext|>" in known:
        backend.add_special_tokens(["<|endoftext|>"])
    return backend


def from_vocab_txt(path: Path, config: Mapping[str, Any]) -> tokenizers.Tokenizer:
    """WordPiece in BERT's vocab.txt, one piece a line, with the settings of tokenizer_config.json.

    Raises:
        InputError: it is not text, has a piece twice, or lacks BERT's special tokens.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text (byte {error.start})", where=path) from None
    pieces = lines[:-1] if lines[-1] == "" else lines
    vocab = {piece.removesuffix("\r"): n for n, piece in enumerate(pieces)}
    names = {part: _token_name(config, part, f"[{part.upper()}]") for part in ("unk", "sep", "pad", "cls", "mask")}
    for part in ("unk", "sep", "cls"):
        if names[part] not in vocab:
            raise InputError(
                f"a WordPiece vocabulary without {names[part]}", where=path, remedy="is it BERT's? copy it again"
            )
    backend = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token=names["unk"]))
    backend.normalizer = bert_normalizer(config)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    cls, sep = names["cls"], names["sep"]
    backend.post_processor = processors.TemplateProcessing(
        single=f"{cls}:0 $A:0 {sep}:0",
        pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
        special_tokens=[(cls, vocab[cls]), (sep, vocab[sep])],
    )
    backend.add_special_tokens([name for name in names.values() if name in vocab])
    return backend


def bert_normalizer(config: Mapping[str, Any]) -> normalizers.Normalizer:
    """BERT's cleaning of text: control characters, spaces around Chinese characters, lower case, accents."""
    return normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=config.get("tokenize_chinese_chars") is not False,
        strip_accents=config.get("strip_accents"),
        lowercase=config.get("do_lower_case") is not False,
    )


def _token_name(config: Mapping[str, Any], part: str, default: str) -> str:
    given = config.get(f"{part}_token", default)
    name = given.get("content") if isinstance(given, dict) else given
    return name if isinstance(name, str) else default
