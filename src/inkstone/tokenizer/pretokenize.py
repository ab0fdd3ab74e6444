"""Where text may be cut before byte-pair merging: words, punctuation, digits, indentation, and short CJK runs.

Two splits, one after the other. The first isolates runs of Chinese characters and Japanese kana, at most
`MAX_CJK_RUN` at a time: Chinese has no spaces, so that without a limit a pre-token is a whole clause, nearly every
one is unique, and memory in training grows with the text. The second is in the style of GPT-4's pattern (OpenAI
`tiktoken`, `cl100k_base`), with combining marks kept in words, contractions only where the word ends after them, and
white space as in GPT-2 (a newline and the indentation below it are one piece).
"""

import re
from collections.abc import Iterator

from tokenizers import Regex, pre_tokenizers

MAX_CJK_RUN = 8
MAX_DIGITS = 3

_HAN = "〇々㐀-䶿一-鿿豈-﫿𠀀-𲎯"
_KANA = "぀-ヿㇰ-ㇿｦ-ﾟ"
WORDS = (
    r"['’](?i:[sdmt]|ll|ve|re)(?!\p{L})"
    r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+"
    rf"|\p{{N}}{{1,{MAX_DIGITS}}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s+(?!\S)|\s+"
)


def build_pre_tokenizer(max_cjk_run: int = MAX_CJK_RUN) -> pre_tokenizers.PreTokenizer:
    """The two splits above, then bytes in GPT-2's printable alphabet. Nothing is lost or added."""
    cjk_runs = f"[{_HAN}{_KANA}]{{1,{max_cjk_run}}}"
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(cjk_runs), "isolated"),
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


_SAFE_CUT = re.compile("[A-Za-z一-鿿](?=[ \n,.!?;:，。！？；：、])")


def cut_long_text(text: str, max_characters: int) -> Iterator[str]:
    """Cut a long text into pieces of about `max_characters` that tokenize as the whole text does.

    Only for `build_pre_tokenizer`: it always separates a letter from a space, newline or punctuation mark after it,
    and no pattern looks further back, so the pieces' ids, joined, are the ids of the whole.
    """
    start = 0
    while len(text) - start > max_characters:
        cut = _SAFE_CUT.search(text, start + max_characters - 1)
        if cut is None:
            break
        yield text[start : cut.end()]
        start = cut.end()
    yield text[start:]
