"""Words, signs and sentences of Chinese and English."""

import pytest

from inkstone.evaluate.words import is_ideographic, sentences, token_offsets, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't re-use X_1, ok?", ["don", "t", "re", "use", "x", "1", "ok"]),
        ("我爱Python3。", ["我", "爱", "python3"]),
        ("カナ文字です", ["カ", "ナ", "文", "字", "で", "す"]),
        ("Größe naïve 한국어 текст", ["größe", "naïve", "한국어", "текст"]),
        ("…—!", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_offsets_cover_all_but_white_space() -> None:
    text = "x_1 = 墨(2) ;\n 好"
    assert [text[start:end] for start, end in token_offsets(text)] == [
        "x",
        "_",
        "1",
        "=",
        "墨",
        "(",
        "2",
        ")",
        ";",
        "好",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It rains. Pi is 3.14! Why?", ["It rains. ", "Pi is 3.14! ", "Why?"]),
        ("他说：“走吧。”然后走了。", ["他说：“走吧。”", "然后走了。"]),
        ("one\ntwo\n\nthree", ["one\n", "two\n\n", "three"]),
        ("no end", ["no end"]),
        ("", []),
    ],
)
def test_sentences_join_to_the_text(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_scripts() -> None:
    assert is_ideographic(["我爱 Python 和 C"])
    assert not is_ideographic(["an ink stone, called 砚 in the East"])
    assert not is_ideographic(["123 !"])
