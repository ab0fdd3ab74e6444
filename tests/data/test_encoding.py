from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkstone.core.errors import InputError
from inkstone.data.encoding import decoded

SIMPLIFIED = (
    "　　此开卷第一回也。作者自云：因曾历过一番梦幻之后，\n故将真事隐去，而借“通灵”之说，"
    "撰此《石头记》一书也。"
    "今风尘碌碌，一事无成，忽念及当日所有之女子，一一细考较去，\n觉其行止见识皆出于我之上。"
    "何我堂堂须眉，诚不若彼裙钗？\n"
)
TRADITIONAL = (
    "語言是人類溝通的重要工具，也是文化傳承的媒介。我們應該珍惜自己的母語，"
    "並且學習其他民族的語言，以增進彼此的了解。\n"
    "這是一個很簡單的道理，可是真正做到的人卻不多。\n"
)
JAPANESE = (
    "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗いじめじめした所でニャーニャー"
    "泣いていた事だけは記憶している。吾輩はここで始めて人間というものを見た。\n"
)
KOREAN = "모든 국민은 인간으로서의 존엄과 가치를 가지며, 행복을 추구할 권리를 가진다. 국가는 이를 보장할 의무를 진다.\n"
FRENCH = (
    "Longtemps, je me suis couché de bonne heure. Parfois, à peine ma bougie éteinte, mes yeux se fermaient si vite "
    "que je n'avais pas le temps de me dire: «Je m'endors.» La pensée qu'il était temps de chercher le sommeil "
    "m'éveillait.\n"
)
GERMAN = (
    "Als Gregor Samsa eines Morgens aus unruhigen Träumen erwachte, fand er sich in seinem Bett zu einem Ungeziefer "
    "verwandelt. Er lag auf seinem panzerartig harten Rücken und sah seinen gewölbten, von bogenförmigen Versteifungen "
    "geteilten Bauch.\n"
)
ENGLISH = "The café was closed. “Who goes there?” he cried—and no one answered. She’d gone to the fiancé’s house.\n"
RUSSIAN = (
    "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему. Всё смешалось в доме "
    "Облонских. Жена узнала, что муж был в связи с бывшею в их доме француженкою-гувернанткой.\n"
)
SAMPLES = [
    (SIMPLIFIED, "gb18030"),
    (SIMPLIFIED, "gbk"),
    (SIMPLIFIED[:90], "gb18030"),
    (TRADITIONAL, "big5"),
    (JAPANESE, "shift_jis"),
    (JAPANESE, "euc_jp"),
    (KOREAN, "cp949"),
    (FRENCH, "latin-1"),
    (GERMAN, "latin-1"),
    (ENGLISH, "cp1252"),
    (RUSSIAN, "cp1251"),
    (RUSSIAN, "koi8-r"),
]


def read(data: bytes, size: int = 1 << 20, forced: str | None = None, found: list[str] | None = None) -> str:
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    return "".join(decoded(Path("some.txt"), chunks, forced, None if found is None else found.append))


@pytest.mark.parametrize(("text", "encoding"), SAMPLES)
@pytest.mark.parametrize("size", [7, 100, 1 << 20])
def test_encoding_is_detected(text: str, encoding: str, size: int) -> None:
    assert read(text.encode(encoding), size) == text


@pytest.mark.parametrize(("text", "encoding"), SAMPLES)
def test_encoding_is_detected_after_a_long_ascii_beginning(text: str, encoding: str) -> None:
    head = "Plain words, nothing else, line after line.\n" * 50_000
    assert read((head + text).encode(encoding)) == head + text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("size", [8, 1 << 20])
def test_unicode_with_and_without_marks(encoding: str, size: int) -> None:
    text = "Chapter one\n" * 20 + SIMPLIFIED + FRENCH
    assert read(text.encode(encoding), size if encoding.endswith(("le", "be")) is False else 1 << 20) == text


def test_name_of_the_encoding_is_reported() -> None:
    found: list[str] = []
    read(SIMPLIFIED.encode("gb18030"), found=found)
    read(b"plain", found=found)
    read(SIMPLIFIED.encode("utf-8-sig"), found=found)
    assert found == ["gb18030", "ascii", "utf-8"]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\x00\ufeff")), st.integers(1, 9))
def test_utf8_comes_back_unchanged_whatever_the_chunks(text: str, size: int) -> None:
    assert read(text.encode(), size, forced="utf-8") == text


def test_line_ends_become_line_feeds_across_chunks() -> None:
    assert read(b"one\r\ntwo\rthree\n", 4) == "one\ntwo\nthree\n"


@pytest.mark.parametrize("size", [5, 64, 1 << 20])
def test_damaged_utf8_names_the_byte(size: int) -> None:
    head = ("雪" * 5000).encode()
    with pytest.raises(InputError, match=rf"some\.txt: .* at byte {len(head)} are not utf-8") as error:
        read(head + b"\xff\xfe\xff" + head, size)
    assert error.value.remedy is not None
    assert "encoding" in error.value.remedy


def test_forced_encoding_is_used_and_its_failure_named() -> None:
    assert read(FRENCH.encode("cp1252"), forced="cp1252") == FRENCH
    with pytest.raises(InputError, match=r"at byte 9 are not ascii \(forced"):
        read(b"plain so \xe9", forced="ascii")
    with pytest.raises(InputError, match="unknown encoding 'klingon'"):
        read(b"", forced="klingon")


def test_binary_data_are_refused() -> None:
    with pytest.raises(InputError, match="looks like binary data"):
        read(bytes(range(256)) * 4 + bytes(1000))


def test_nothing_is_nothing() -> None:
    assert read(b"") == ""
