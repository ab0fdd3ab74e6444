"""Two small tokenizers trained on the standard library's sources and some Chinese and English prose."""

import sysconfig
from pathlib import Path

import pytest

from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.train import train_bytes_bpe, train_characters

CHINESE = (
    "砚台是磨墨的石器。墨条在砚上加水研磨,便成了可以写字的墨汁。\n"
    "文房四宝:笔、墨、纸、砚。“工欲善其事,必先利其器。”古人说:“砚如田,笔如犁。”\n"
    "他每天清晨起来,先磨墨,再临帖;写满三张纸,天才亮。二〇二四年,砚台还在。\n"
)
ENGLISH = (
    "An inkstone is where a stick of ink is ground until it can write. It's old, and it doesn't wear out.\n"
    "“They’ve ground ink here for 1,500 years,” she said; we'll see whether that's true.\n"
)


@pytest.fixture(scope="session")
def texts() -> list[str]:
    library = Path(sysconfig.get_paths()["stdlib"])
    code = [(library / name).read_text(encoding="utf-8") for name in ("argparse.py", "textwrap.py", "json/decoder.py")]
    return [CHINESE * 5, ENGLISH * 5, *code]


@pytest.fixture(scope="session")
def bpe(texts: list[str]) -> Tokenizer:
    return train_bytes_bpe(texts, 1500)


@pytest.fixture(scope="session")
def characters(texts: list[str]) -> Tokenizer:
    return train_characters(texts)
