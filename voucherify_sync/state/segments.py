"""Hand over bytes from the tasks of one stage to those of the next: a file holds a segment for each of them.

A file begins with the places of its segments, so that a task reads its own in two reads, whatever the others are.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from isal import isal_zlib

from voucherify_sync.state.storage import Storage, unreadable_work

_LEVEL: Final = 1
_DamageError: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # its stub declares an instance
_NUMBER: Final = struct.Struct(">Q")


def write_segments(storage: Storage, name: str, segments: Sequence[bytes | bytearray]) -> None:
    """Write a file of segments; equal segments make equal files."""
    packed = [isal_zlib.compress(each, _LEVEL) if each else b"" for each in segments]
    at = _NUMBER.size * (len(packed) + 1)
    head = bytearray(_NUMBER.pack(at))
    for each in packed:
        at += len(each)
        head += _NUMBER.pack(at)
    storage.write(name, b"".join([head, *packed]))


def read_segment(storage: Storage, name: str, number: int) -> bytes:
    """Return one segment of a file.

    Raises:
        RunStopped: the file is damaged, or not there.
    """
    try:
        head = storage.read(name, _NUMBER.size * number, _NUMBER.size * (number + 2))
        begin, end = struct.unpack(">QQ", head)
        return bytes(isal_zlib.decompress(storage.read(name, begin, end))) if begin < end else b""
    except (OSError, struct.error, _DamageError) as error:
        raise unreadable_work(storage, name, error) from error
