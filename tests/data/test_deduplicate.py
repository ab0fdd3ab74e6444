from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from inkstone.data.deduplicate import SeenTexts, text_key


def test_first_occurrence_is_named_and_the_table_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "seen.sqlite"
    keys = [text_key(text.encode()) for text in ("a", "b", "a ", "c", "\na", "b")]
    with SeenTexts(path) as seen:
        assert seen.first_ids(keys[:3], ["1", "2", "3"]) == [None, None, "1"]
        assert seen.first_ids(keys[3:], ["4", "5", "6"]) == [None, "1", "2"]
        assert path.exists()
    assert not path.exists()


def test_leftovers_of_a_killed_run_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "seen.sqlite"
    path.write_bytes(b"half a database")
    with SeenTexts(path) as seen:
        assert seen.first_ids([text_key(b"a")], ["1"]) == [None]


@given(st.text(), st.text())
def test_keys_are_equal_exactly_when_the_visible_text_is(first: str, second: str) -> None:
    def visible(text: str) -> str:
        return "".join(c for c in text if c not in " \t\n\r\x0b\x0c\u3000")

    first, second = (text.encode("utf-8", "replace").decode() for text in (first, second))
    assert (text_key(first.encode()) == text_key(second.encode())) == (visible(first) == visible(second))
    assert text_key(first.encode()) == text_key(f" {first}\n\u3000".encode())
