from collections import Counter

import ftfy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkstone.data.cleaning import clean


def prose(text: str) -> str:
    return clean(text, code=False)


def test_chinese_punctuation_stays_full_width() -> None:
    text = "“你好，世界！”他说：《石头记》（第一回）；是吗？——是……也．　　此开卷～"
    assert prose(text) == text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("ＡＢＣ ２０２０年", "ABC 2020年"),
        ("ﬁne oﬃce", "fine office"),
        ("ｶﾞｷﾞ ﾊﾟﾝ", "ガギ パン"),
        ("⽂⼈", "文人"),
        ("a\u00a0b\u2009c", "a b c"),
        ("e\u0301te\u0301", "été"),
        ("豈", "豈"),
    ],
)
def test_harmless_compatibility_mappings(before: str, after: str) -> None:
    assert prose(before) == after


@pytest.mark.parametrize(
    "text", ["x² + y³ ≠ ½", "①②③", "™ ㎡ ℃", "𝐀𝐁", "Ⅳ", "…", "“quotes” ‘kept’ — too", "&amp; <b>", "👩‍👩‍👧"]
)
def test_meaningful_signs_are_left_alone(text: str) -> None:
    assert prose(text) == text


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
@pytest.mark.parametrize(
    "text", ["déjà vu, naïve façade", "Ça coûte 20 € à l’hôtel", "ein schönes Mädchen grüßt", "médiæval"]
)
def test_mojibake_is_repaired_as_ftfy_does(text: str, encoding: str) -> None:
    broken = text.encode().decode("sloppy-windows-1252" if encoding == "cp1252" else encoding)
    lines = f"Plain line.\n{broken}\nAnother — plain — line."
    assert prose(lines) == ftfy.fix_encoding(lines).replace("\u0080", "")
    assert text in prose(lines)


def test_mojibake_of_chinese_is_repaired() -> None:
    text = "满纸荒唐言，一把辛酸泪"
    assert prose(text.encode().decode("sloppy-windows-1252")) == text


def test_controls_go_and_line_ends_are_line_feeds() -> None:
    assert prose("a\x00b\x07c\ufeffd\u200be\r\nf\x0cg\x85h\u2028i\x1b[31mred\x1b[0m") == "abcde\nf\ng\nh\nired"
    assert prose("half \ud83d pair") == "half \ufffd pair"


def test_white_space_of_prose() -> None:
    assert prose("\n\n  Title  \n\t\n\n\n\nText \t \nend　\n　　new　\n") == "  Title\n\nText\nend\n　　new"


def test_code_keeps_indentation_empty_lines_and_characters() -> None:
    code = "def f():\n\tif x:   \n\t\treturn 'ﬁ，Ａ\u00a0²'\n\n\n\nclass A:\n    pass\n"
    assert clean(code, code=True) == code.replace(":   \n", ":\n").rstrip("\n")


def test_changes_are_counted() -> None:
    changes: Counter[str] = Counter()
    for text in ("plain", "Ａ", "cafÃ©", "a\x00", "a \nb"):
        clean(text, code=False, changes=changes)
    assert changes == {"mojibake": 1, "control characters": 1, "normalized": 1, "white space": 1}


@given(st.text(st.characters(exclude_categories=["Cc"])))
def test_cleaning_twice_is_cleaning_once_and_always_encodes(text: str) -> None:
    for code in (False, True):
        once = clean(text, code=code)
        once.encode()
        assert clean(once, code=code) == once


@given(st.text("ab \t\n\x00é，Ａ　", max_size=60))
def test_no_letter_is_lost(text: str) -> None:
    for letter in "abé，":
        assert prose(text).count(letter) == text.count(letter)
