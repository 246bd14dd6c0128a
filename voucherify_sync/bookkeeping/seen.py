"""Remembers the keys of a run: 16 bytes in, whether they were met before out. At most 100 bytes of memory a key.

Beyond a million they go to temporary files, a million at a time, in order; a bit for each stays in memory.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from array import array
from binascii import crc32
from bisect import bisect_left
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Final

LIMIT: Final = 1_000_000
"""Keys in memory."""

KEY: Final = 15
"""Bytes of a key that are compared: 120 bits; a string of 15 bytes takes 16 bytes less than one of 16."""
_FENCES: Final = 1 << 16
_BITS: Final = 27
"""The table of bits has 2**27 of them, 16 MiB: of four million new keys 3 % are looked up in vain."""


def digest_of(payload: bytes) -> int:
    """Return a byte by which two requests are told apart; of those that differ one in 256 passes for equal.

    Such small numbers are shared by all keys, and take no memory for each.
    """
    return crc32(payload) & 0xFF


class Seen:
    """The keys of a run, with a byte each of what was sent for them.

    Args:
        limit: keys in memory.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._recent: dict[bytes, int] = {}
        self._spilled: list[_Run] = []
        self._bits = bytearray()

    def __contains__(self, key: bytes) -> bool:
        return key[:KEY] in self._recent or bool(self._spilled and self._look_up(key[:KEY]) is not None)

    def meet(self, key: bytes, digest: int) -> bool | None:
        """Return None for a new key and remember it; else whether its digest is the one it was first met with."""
        short = key[:KEY]
        known = self._recent.get(short)
        if known is None and self._spilled:
            known = self._look_up(short)
        if known is not None:
            return known == digest
        self._recent[short] = digest
        self._spill_if_full()
        return None

    def meet_all(self, keys: Sequence[bytes], digests: Sequence[int]) -> list[bool | None] | None:
        """Meet keys of KEY bytes one after the other; return what `meet` would, and None if all of them are new."""
        if self._spilled:
            return list(map(self.meet, keys, digests))
        before = len(self._recent)
        first = list(map(self._recent.setdefault, keys, digests))
        count = len(self._recent) - before
        if count == len(keys):
            self._spill_if_full()
            return None
        new = set(islice(reversed(self._recent), count))  # a dict keeps the order in which its keys came
        self._spill_if_full()
        met: list[bool | None] = []
        for key, digest, known in zip(keys, digests, first, strict=True):
            met.append(None if key in new else known == digest)
            new.discard(key)
        return met

    def _look_up(self, key: bytes) -> int | None:
        bit = int.from_bytes(key[-4:]) >> (32 - _BITS)
        if not self._bits[bit >> 3] & (1 << (bit & 7)):
            return None
        for run in self._spilled:
            digest = run.find(key)
            if digest is not None:
                self._spilled.remove(run)  # what is repeated lies together: it is looked at first from now on
                self._spilled.insert(0, run)
                return digest
        return None

    def _spill_if_full(self) -> None:
        """Move all keys from memory to the disk when there are too many; where there is no room, they stay."""
        if len(self._recent) <= self._limit:
            return
        try:
            run = _Run(self._recent)
        except OSError:
            self._limit *= 2
            return
        self._spilled.insert(0, run)
        self._bits = self._bits or bytearray(1 << (_BITS - 3))
        bits, shift = self._bits, 32 - _BITS
        for key in self._recent:
            bit = int.from_bytes(key[-4:]) >> shift
            bits[bit >> 3] |= 1 << (bit & 7)
        self._recent.clear()


class _Run:
    """Keys in order, on disk: in a file that has no name any more, which ends with this object."""

    def __init__(self, digests: dict[bytes, int]) -> None:
        keys = sorted(digests)
        self._digests_at = len(keys) * KEY
        self._fences = array("I", (bisect_left(keys, fence.to_bytes(2)) for fence in range(_FENCES)))
        self._fences.append(len(keys))
        self._file, name = tempfile.mkstemp(prefix="voucherify-sync-")
        weakref.finalize(self, os.close, self._file)
        Path(name).unlink()
        with open(self._file, "wb", closefd=False) as file:
            file.write(b"".join(keys))
            file.write(bytes(digests[key] for key in keys))

    def find(self, key: bytes) -> int | None:
        """Return the digest of a key, or None."""
        prefix = int.from_bytes(key[:2])
        first, end = self._fences[prefix], self._fences[prefix + 1]
        keys = os.pread(self._file, (end - first) * KEY, first * KEY)
        for at in range(0, len(keys), KEY):
            if keys.startswith(key, at):
                return os.pread(self._file, 1, self._digests_at + first + at // KEY)[0]
        return None
