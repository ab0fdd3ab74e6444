"""Text streams: whole characters only, nothing taken back, stop strings never leaked, nothing lost."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models

from inkstone.nn.text_stream import StopScanner, TextStream


def bytes_decode(ids: Sequence[int]) -> str:
    """A token is a byte: the hardest borders there are."""
    return bytes(ids).decode("utf-8", errors="replace")


def run(ids: Sequence[int], **options: object) -> tuple[list[str], TextStream]:
    text = TextStream(bytes_decode, **options)
    pieces = [text.push(token) for token in ids]
    return [*pieces, text.finish()], text


@settings(deadline=None)
@given(st.text())
def test_whole_text_comes_out_of_single_bytes(text: str) -> None:
    pieces, _ = run(text.encode())
    assert "".join(pieces) == text.rstrip("\ufffd")
    assert "\ufffd" in text or not any("\ufffd" in piece for piece in pieces)


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_broken_bytes_come_out_as_they_decode_at_once(data: bytes) -> None:
    pieces, _ = run(data)
    assert "".join(pieces).rstrip("\ufffd") == bytes_decode(data).rstrip("\ufffd")


def test_each_character_comes_with_its_last_byte() -> None:
    pieces, _ = run("aé筆😀".encode())
    assert pieces == ["a", "", "é", "", "", "筆", "", "", "", "😀", ""]


def test_a_character_cut_at_the_end_is_left_out() -> None:
    pieces, _ = run("墨筆".encode()[:-1])
    assert "".join(pieces) == "墨"


ALPHABET = "ab\n筆"


@settings(deadline=None)
@given(st.text(ALPHABET, max_size=30), st.lists(st.text(ALPHABET, min_size=1, max_size=4), max_size=3), st.data())
def test_stop_strings_wherever_the_borders_fall(text: str, stop: list[str], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=8)))
    scanner = StopScanner(stop)
    borders = pairwise([0, *cuts, len(text)])
    said = "".join(scanner.push(text[start:end]) for start, end in borders if scanner.found is None)
    if scanner.found is None:
        said += scanner.finish()
    # The definition: read character by character until the text ends with a stop string.
    expected = text
    for end in range(len(text) + 1):
        ending = [each for each in stop if text[:end].endswith(each)]
        if ending:
            expected = text[: end - len(max(ending, key=len))]
            break
    assert said == expected
    assert (scanner.found is not None) == any(each in text for each in stop)


def test_the_start_of_a_stop_string_is_held_back_until_it_is_settled() -> None:
    pieces, text = run(b"one<en two<end> three", stop=["<end>"])
    assert "".join(pieces) == "one<en two"
    assert text.stopped
    assert pieces[3:7] == ["", "", "", "<en "]
    pieces, text = run(b"one<en", stop=["<end>"])
    assert pieces[-1] == "<en"
    assert not text.stopped


def test_spaces_before_words_survive_tokenizers_that_strip_the_first() -> None:
    vocab = {"▁Once": 0, "▁upon": 1, "▁a": 2, "time": 3, "▁": 4}
    backend = tokenizers.Tokenizer(models.BPE(vocab, []))
    backend.decoder = decoders.Metaspace()
    text = TextStream(backend.decode, prompt_ids=[0])
    assert [text.push(token) for token in (1, 2, 4, 3, 3)] == [" upon", " a", " ", "time", "time"]
    assert backend.decode([1]) == "upon"


def test_byte_fallback_tokens_make_whole_characters() -> None:
    vocab = {f"<0x{byte:02X}>": byte for byte in range(256)} | {" goes": 256, " on": 257}
    backend = tokenizers.Tokenizer(models.BPE(vocab, [], byte_fallback=True))
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    text = TextStream(backend.decode)
    pieces = [text.push(token) for token in "筆😀!".encode()]
    assert pieces == ["", "", "筆", "", "", "", "😀", "!"]
    broken = [*"筆".encode(), 0xE7, 256, 257, 257, 257, 257]
    assert "".join([text.push(token) for token in broken]) == "筆\ufffd goes on on on on"


@pytest.mark.parametrize("num_tokens", [2000])
def test_work_does_not_grow_with_the_text(num_tokens: int) -> None:
    longest = 0

    def decode(ids: Sequence[int]) -> str:
        nonlocal longest
        longest = max(longest, len(ids))
        return bytes_decode(ids)

    text = TextStream(decode)
    for token in "墨".encode() * (num_tokens // 3):
        text.push(token)
    assert longest <= 8
