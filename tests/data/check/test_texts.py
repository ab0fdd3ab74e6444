"""Faults of single texts, in English and Chinese."""

import pytest

from inkstone.data.check.texts import TextFaults
from inkstone.data.examples.records import Text

SPECIAL = ("<|im_end|>", "<|eos|>", "")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("gr\ufffdn", "replacement character"),
        ("墨\ufffd", "replacement character"),
        ("ink\u200bstone", "control character"),
        ("\ufeff硯", "control character"),
        ("ink\x07", "control character"),
        ("ink\x85", "control character"),
        ("cafÃ©", "mojibake"),
        ("ç£¨å¢¨è€…先注水", "mojibake"),
        ("end<|im_end|>", "special token in a text"),
        ("墨<|eos|>色", "special token in a text"),
    ],
)
def test_a_fault_is_found_and_shown(text: str, fault: str) -> None:
    (found,) = TextFaults(SPECIAL).find(Text("answer", text))
    assert found.fault.name == fault
    assert found.what.startswith("answer")
    assert found.what.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "The café's naïve señor: “x² = 4” – 50 € 😀 👩‍👩‍👧 ✍🏽",
        "磨墨者先注水，然後慢慢研磨。「筆走龍蛇」……——《蘭亭集序》",
        "def add(a, b):\n\treturn a + b\r\n",
        "全角　空白 ｆｕｌｌ ｗｉｄｔｈ かな ｶﾅ",
        "<|im_stop|> im_end <eos>",
        "Größe, façade, Ωμέγα, Привет",
    ],
)
def test_sound_texts_have_none(text: str) -> None:
    assert list(TextFaults(SPECIAL).find(Text("text", text))) == []


def test_a_text_may_have_several() -> None:
    faults = [found.fault.name for found in TextFaults(SPECIAL).find(Text("text", "<|eos|>\ufffd\u200b"))]
    assert faults == ["special token in a text", "replacement character", "control character"]
