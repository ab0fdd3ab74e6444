"""The contract of filters, which every registered one must keep, and what each of ours drops."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkstone.core.config import Config
from inkstone.core.errors import ConfigError
from inkstone.core.records import Document
from inkstone.core.registry import names
from inkstone.data.filters.base import Drop, Filter, make_filter
from inkstone.data.prepare import DEFAULT_FILTERS

LANGUAGES = ["zh", "en", "code", "other", "fr", None]
GOOD = {
    "en": "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want.",
    "zh": "滚滚长江东逝水，浪花淘尽英雄。是非成败转头空。青山依旧在，几度夕阳红。",
    "code": "def add(a, b):\n    return a + b\n\n\nif __name__ == '__main__':\n    print(add(1, 2))\n",
    "other": "Longtemps, je me suis couché de bonne heure. Parfois, à peine ma bougie éteinte, mes yeux se fermaient.",
}
BAD = {
    "length": ("en", "Too short."),
    "letters": ("en", "1234 5678 $$$$ ---- 9999 #### 1234 5678 $$$$ ----"),
    "repetition": ("en", "buy now and save more money today with our offer " * 200),
    "long_lines": ("code", "x=[" + "1,2,3," * 5000 + "]"),
}


def document(text: str, lang: str | None) -> Document:
    return Document(text, "id", "source", lang)


def check(name: str, text: str, lang: str | None, **overrides: Any) -> Drop | None:
    return make_filter(name, overrides).check(document(text, lang))


def test_built_ins_come_through_the_public_door() -> None:
    assert set(DEFAULT_FILTERS) <= set(names("filters"))


@pytest.mark.parametrize("name", names("filters"))
class TestContract:
    def test_thresholds_are_a_config_with_help(self, name: str) -> None:
        made = make_filter(name, {})
        assert isinstance(made, Filter)
        assert issubclass(made.thresholds, Config)

    def test_unknown_threshold_is_refused(self, name: str) -> None:
        with pytest.raises(ConfigError, match="unknown key"):
            make_filter(name, {"zh": {"no_such_threshold": 1}})

    @pytest.mark.parametrize("lang", sorted(GOOD))
    def test_good_text_is_kept(self, name: str, lang: str) -> None:
        assert check(name, GOOD[lang], lang) is None

    def test_a_drop_has_a_reason_without_numbers_and_a_detail(self, name: str) -> None:
        if name not in BAD:
            pytest.skip("a plug-in of someone else")
        lang, text = BAD[name]
        drop = check(name, text, lang)
        assert drop is not None
        assert drop.reason
        assert not any(character.isdigit() for character in drop.reason)
        assert any(character.isdigit() for character in drop.detail)
        assert "\n" not in drop.reason + drop.detail

    @given(st.text(max_size=400), st.sampled_from(LANGUAGES))
    def test_any_text_is_judged_and_always_alike(self, name: str, text: str, lang: str | None) -> None:
        first, second = check(name, text, lang), check(name, text, lang)
        assert first == second
        assert first is None or isinstance(first, Drop)

    def test_empty_text_is_judged(self, name: str) -> None:
        for lang in LANGUAGES:
            check(name, "", lang)


@pytest.mark.parametrize(
    "text",
    [
        "微哉！",
        "对曰：“否。”",
        "皎皎练丝。在所染之。",
        "○舟 舟",
        "其虫鳞。\n动物中与木相配的是鳞虫。",
        "床前明月光，疑是地上霜。",
        "子曰：「學而時習之，不亦說乎？」",
    ],
)
def test_short_classical_texts_pass_all_filters(text: str) -> None:
    assert [check(name, text, "zh") for name in DEFAULT_FILTERS] == [None] * len(DEFAULT_FILTERS)


def test_thresholds_belong_to_a_language() -> None:
    assert check("length", "微哉", "zh") is None
    assert check("length", "微哉", "en") == Drop("too short", "2 letters and digits, at least 20")
    assert check("length", "微哉", "en", en={"min_letters": 1}) is None
    assert check("length", "微", "zh") == Drop("too short", "1 letters and digits, at least 2")
    long = check("length", "雪" * 100, "zh", zh={"max_chars": 99})
    assert long is not None
    assert long.reason == "too long"


def test_letters_reasons() -> None:
    reasons = {
        "too few letters": check("letters", "12 34 56 78 90 -- 12 34 ab", "en"),
        "too many symbols": check("letters", "word = word + word ~ ^ | < > $ = + ~ ^", "en"),
        "another script": check("letters", "这是一个中文句子 and some", "en"),
        "no visible text": check("letters", " \n ", "en"),
    }
    assert {reason: drop and drop.reason for reason, drop in reasons.items()} == {reason: reason for reason in reasons}
    assert check("letters", "if (a[i] != b[j]) { c += d * (e - f); } // ok", "code") is None


def words(count: int, seed: int = 0) -> list[str]:
    source = random.Random(seed)
    return ["".join(source.choices("abcdefghijklmnop", k=source.randint(2, 9))) for _ in range(count)]


def test_repetition_reasons() -> None:
    lines = check("repetition", "\n".join(["Home | About | Contact us today"] * 40 + words(20)), "en")
    phrases = check("repetition", " ".join(words(10) * 60), "en")
    characters = check("repetition", "哈" * 400 + "".join(words(5)), "zh")
    assert lines is not None
    assert phrases is not None
    assert characters is not None
    assert (lines.reason, phrases.reason) == ("repeated lines", "repeated phrases")
    assert (characters.reason, characters.detail[:12]) == ("one character repeated", "9" + characters.detail[1:12])


def test_a_song_with_a_refrain_and_varied_prose_are_kept() -> None:
    refrain = "And miles to go before I sleep, and miles to go before I sleep.\n"
    song = "".join(" ".join(words(40, seed)) + "\n" + refrain for seed in range(12))
    assert check("repetition", song, "en") is None
    assert check("repetition", " ".join(words(5000)), "en") is None


def test_repetition_in_the_middle_of_a_long_text_is_seen() -> None:
    head = " ".join(words(2000))
    assert check("repetition", head + " spam and eggs" * 100_000 + head, "en") is not None


def test_long_lines_are_a_matter_of_code() -> None:
    minified = "var a=" + "+".join(f"b{i}" for i in range(2000)) + ";"
    drop = check("long_lines", minified, "code")
    assert drop is not None
    assert drop.reason == "a very long line"
    assert check("long_lines", minified, "en") is None
    mean = check("long_lines", "\n".join(["x" * 150] * 10), "code")
    assert mean is not None
    assert mean.reason == "long lines"
