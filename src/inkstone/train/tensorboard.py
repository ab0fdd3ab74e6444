"""TensorBoard event files: scalars and texts.

The format is TFRecord: length, masked CRC-32C of the length, a serialized `Event` protocol buffer, masked CRC-32C of
it (tensorflow/core/lib/io/record_writer.h and tensorflow/core/util/event.proto). Texts are tensors of strings
(tensorflow/core/framework/summary.proto and tensor.proto) that the plug-in `text` shows.
"""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import IO


def write_header(file: IO[bytes], wall_time: float) -> None:
    """Begin an event file."""
    file.write(_record(_double(1, wall_time) + _bytes(3, b"brain.Event:2")))


def write_scalars(file: IO[bytes], step: int, wall_time: float, scalars: Mapping[str, float]) -> None:
    """Append one event that holds `scalars` of `step`."""
    values = b"".join(
        _bytes(1, _bytes(1, tag.encode()) + _key(2, 5) + struct.pack("<f", value)) for tag, value in scalars.items()
    )
    file.write(_record(_double(1, wall_time) + _key(2, 0) + _varint(step) + _bytes(5, values)))


def write_texts(file: IO[bytes], step: int, wall_time: float, texts: Mapping[str, str]) -> None:
    """Append one event that holds `texts` of `step`, in Markdown."""
    values = b"".join(
        _bytes(1, _bytes(1, tag.encode()) + _bytes(8, _string_tensor(text)) + _bytes(9, _TEXT_PLUGIN))
        for tag, text in texts.items()
    )
    file.write(_record(_double(1, wall_time) + _key(2, 0) + _varint(step) + _bytes(5, values)))


def event_file(folder: Path) -> Path:
    """The event file of a run; its name is what TensorBoard looks for."""
    return folder / "events.out.tfevents.0.inkstone"


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", _masked_crc(length)) + data + struct.pack("<I", _masked_crc(data))


def _key(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _double(number: int, value: float) -> bytes:
    return _key(number, 1) + struct.pack("<d", value)


def _bytes(number: int, value: bytes) -> bytes:
    return _key(number, 2) + _varint(len(value)) + value


def _string_tensor(text: str) -> bytes:
    """A tensor of shape (1,)."""
    data_type, shape = _key(1, 0) + _varint(7), _bytes(2, _bytes(2, _key(1, 0) + _varint(1)))
    return data_type + shape + _bytes(8, text.encode())


_TEXT_PLUGIN = _bytes(1, _bytes(1, b"text")) + _key(4, 0) + _varint(2)
"""Metadata: the plug-in's name, and that the values are tensors."""


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_CRC_TABLE = _crc_table()


def _masked_crc(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
