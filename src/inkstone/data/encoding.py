"""Character encodings: detected while a file streams, never by reading it twice.

Order of evidence: a byte order mark, then the zero bytes of UTF-16/32, then strict UTF-8 for as long as it holds. ASCII
is valid in every encoding accepted here, so the decision falls at the first chunk with other bytes: if they are not
UTF-8, a sample that begins there is given to `detect`.
"""

import codecs
import io
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from inkstone.core.errors import InputError

SAMPLE_BYTES = 1 << 18
BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MULTIBYTE = ("utf-16-le", "utf-16-be", "gb18030", "big5hkscs", "cp932", "euc_jp", "cp949")
_SINGLE_BYTE = (
    "cp1252",
    "latin_1",
    "cp1250",
    "iso8859_2",
    "cp1251",
    "koi8_r",
    "cp1253",
    "cp1254",
    "cp1255",
    "cp1256",
    "mac_roman",
)
# The commonest characters of running Chinese (both scripts, modern and classical). About four in ten Han characters of
# any Chinese text are among them; in text decoded with the wrong table fewer than one in twenty.
_COMMON_HAN = frozenset(
    "的一是不了在人有我他这個个们們中来來上大为為和国國地到以说說时時要就出会會可也你对對生能而子那得于於着著下自之年过過"
    "发發后後作里裡裏用道行所然家种種事成方多经經么麼去法学學如都同现現当當没沒动動面起看定天分还還进進好小部其些主样樣理心"
    "她本前开開但因只从從想实實日军軍者意无無力它与與长長把机機十民第公此已工使情明性知全三又关關点點正业業外将將两兩高间間由"
    "问問很最重并並物手应應战戰向头頭文体體政美相见見被利什二等产產或新己制身果加西斯月话話合回特代内內信表化老给給世位次度门門"
    "任常先海通教儿兒东東原声聲提立及比员員解水名真论論处處走义義各入几幾口认認条條平系气氣题題活尔爾更别別打女变變四神总總何电電"
    "数數安少报報才结結反受目太量再感建务務做接必场場件计計管期市直德资資命山金指克许許统統区區保至队隊形社便空决決治展马馬科司五基"
    "曰乃皆矣焉哉夫吾汝君臣王侯故若未非莫使云则則乎其诸諸虽雖即既遂辄輒卒士帝州"
)
_COMMON_HANGUL = frozenset(
    "이다는의에가을를고은하지로기사어인한도서리대자시그나과아들있해수만일정부라전스성여보적주것으오장구조제원소상경동게와면"
    "비공거신안치우없국민모든요했습니까네세니할었던때더말연물생위유중간내지무문미저교분당실관개재러려마진학계선영명화음입결"
)
_PUNCTUATION = frozenset("，。、；：？！「」『』（）《》“”‘’—…·　")


_RUN = re.compile("[^\x00-\x7f]{2,}")  # Latin text read as an East Asian encoding has single characters between letters
_COMMON = _COMMON_HAN | _COMMON_HANGUL | _PUNCTUATION


def decoded(
    path: Path, chunks: Iterable[bytes], forced: str | None = None, found: Callable[[str], None] | None = None
) -> Iterator[str]:
    """Text of `chunks` with line feeds as line ends; `found` is told the encoding once it is certain.

    Raises InputError with the byte offset of what cannot be decoded.
    """
    return _Decoder(path, forced, found or (lambda _: None)).run(iter(chunks))


class _Decoder:
    def __init__(self, path: Path, forced: str | None, found: Callable[[str], None]) -> None:
        self.path = path
        self.found = found
        self.forced = forced is not None
        self.offset = 0  # bytes given to the decoder so far
        self._start(known_encoding(forced) if forced else "ascii")

    def _start(self, encoding: str) -> None:
        self.encoding = encoding
        self.decoder = codecs.getincrementaldecoder(encoding)("strict")

    def run(self, chunks: Iterator[bytes]) -> Iterator[str]:
        newlines = io.IncrementalNewlineDecoder(None, translate=True)
        first = next(chunks, b"")
        if not self.forced:
            self._start(self._by_mark(first))
        for chunk in itertools.chain([first], chunks):
            if self.encoding == "ascii" and not self.forced and not chunk.isascii():
                chunk = self._decide(chunk, chunks)
            yield newlines.decode(self._decode(chunk))
        yield newlines.decode(self._decode(b"", final=True), final=True)
        self.found(_display(self.encoding))

    def _by_mark(self, head: bytes) -> str:
        for mark, encoding in BOMS:
            if head.startswith(mark):
                return encoding
        sample = head[:4096]
        low, high = sample[0::2].count(0), sample[1::2].count(0)
        if low + high <= len(sample) // 8:
            return "ascii"
        if min(low, high) * 4 < max(low, high):  # UTF-16 without a mark: one byte of each Latin character is zero
            return "utf-16-le" if high > low else "utf-16-be"
        raise InputError(
            "looks like binary data, not text", where=self.path, remedy="leave the file out, or set `encoding`"
        )

    def _decide(self, chunk: bytes, chunks: Iterator[bytes]) -> bytes:
        """Leave ASCII for UTF-8 when the chunk is that, else for what a sample looks like. Returns what to decode."""
        start = next(_NOT_ASCII.finditer(chunk)).start()
        while len(chunk) - start < 8 and (more := next(chunks, None)):
            chunk += more
        try:
            codecs.getincrementaldecoder("utf-8")("strict").decode(chunk)
            self._start("utf-8")
        except UnicodeDecodeError as error:
            while len(chunk) - start < SAMPLE_BYTES and (more := next(chunks, None)):
                chunk += more
            line = (chunk.rfind(b"\n", 0, start) + 1) & ~1
            mostly_utf8 = error.start - start > 4096
            self._start("utf-8" if mostly_utf8 else detect(chunk[line : start + SAMPLE_BYTES]) or "utf-8")
        return chunk

    def _decode(self, chunk: bytes, final: bool = False) -> str:
        try:
            text = self.decoder.decode(chunk, final)
        except UnicodeDecodeError as error:
            raise self._unreadable(error, chunk) from error
        self.offset += len(chunk)
        return text

    def _unreadable(self, error: UnicodeDecodeError, chunk: bytes) -> InputError:
        offset = self.offset - (len(error.object) - len(chunk)) + error.start
        bad = error.object[error.start : error.start + 4].hex(" ")
        how = "forced by `encoding`" if self.forced else "detected"
        return InputError(
            f"cannot be read as text: bytes {bad} at byte {offset} are not {_display(self.encoding)} ({how})",
            where=self.path,
            remedy="set `encoding` to the right one (such as `--set collect.encoding=gb18030`), repair the file, or "
            " set `on_error: skip` to go on without the rest of it",
        )


_NOT_ASCII = re.compile(rb"[\x80-\xff]")


def known_encoding(name: str) -> str:
    """Python's name of a text encoding. Raises InputError when there is none."""
    try:
        return codecs.lookup(name).name
    except LookupError as error:
        raise InputError(
            f"unknown encoding {name!r}",
            where="encoding",
            remedy="use a name such as utf-8, gb18030, big5, shift_jis or latin-1",
        ) from error


def _display(encoding: str) -> str:
    return {"utf-8-sig": "utf-8", "utf_8_sig": "utf-8"}.get(encoding, encoding)


def detect(sample: bytes) -> str | None:
    """The encoding of `sample`, which is neither ASCII nor UTF-8; None when nothing fits.

    The East Asian multi-byte encodings overlap almost wholly, so they are told apart by how much of the decoded text
    consists of the commonest characters; charset-normalizer judges the rest.
    """
    scores = {name: score for name in _MULTIBYTE if (score := _plausibility(sample, name)) is not None}
    if scores:
        best = max(scores, key=lambda name: scores[name])
        if scores[best] >= 0.2:
            return best
    from charset_normalizer import from_bytes

    possible = [name for name in _MULTIBYTE[2:] if scores.get(name, 0) >= 0.1]
    match = from_bytes(sample, cp_isolation=[*_SINGLE_BYTE, *possible], steps=10, chunk_size=1024).best()
    if match is None:
        return None
    return _western(sample, match.encoding)


def _western(sample: bytes, encoding: str) -> str:
    """Of the encodings that read a Western text alike, the one that browsers assume."""
    others = ("latin_1", "cp1250", "iso8859_2", "cp1254", "mac_roman")
    if encoding not in others:
        return encoding
    try:
        text = sample.decode("cp1252")
        return "cp1252" if text == sample.decode(encoding) else encoding
    except UnicodeDecodeError:
        return encoding


def _plausibility(sample: bytes, encoding: str) -> float | None:
    """Share of common ones among the decoded non-ASCII characters; None when the bytes are not in `encoding`."""
    try:
        text = codecs.getincrementaldecoder(encoding)("strict").decode(sample)
    except UnicodeDecodeError:
        return None
    wide = [c for c in text if c > "\x7f"]
    if not wide:
        return None
    runs = _RUN.findall(text)
    common = sum(1 for c in wide if c in _COMMON or "\u3041" <= c <= "\u30fc")
    odd = sum(
        1
        for c in wide
        if "\ue000" <= c <= "\uf8ff" or "\u3400" <= c <= "\u4dbf" or "\uff61" <= c <= "\uff9f" or c > "\uffff"
    )
    return (common - 2 * odd) / len(wide) * sum(map(len, runs)) / len(wide)
