"""Remembers the keys of a run: KEY bytes in, whether they were met before out. At most 100 bytes of memory a key.

Beyond a million they go to temporary files, a million at a time, in order; a bit for each stays in memory.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from array import array
from binascii import crc32
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from voucherify_sync.keys import HASH_BYTES, KEY_BYTES

LIMIT: Final = 1_000_000
"""Keys in memory."""

KEY: Final = 15
"""Bytes that are compared: 120 bits; a string of 15 bytes takes 16 bytes less than one of 16."""
_BITS: Final = 27
"""The table of bits has 2**27 of them, 16 MiB: of four million new keys 3 % are looked up in vain."""
_SHIFT: Final = 32 - _BITS


def digest_of(payload: bytes) -> int:
    """Return a byte by which two requests are told apart; of those that differ one in 256 passes for equal.

    Such small numbers are shared by all keys, and take no memory for each.
    """
    return crc32(payload) & 0xFF


def seen_key(key: bytes) -> bytes:
    """Return the KEY bytes that stand for the key of a record.

    That of an identify ends with HASH_BYTES of its content. Many may share a messageId, or a content, so each byte at
    the beginning, by which keys are put in order, tells of both.
    """
    if len(key) == KEY_BYTES:
        return key[:KEY]
    content = key[KEY_BYTES:]
    both = int.from_bytes(key[:HASH_BYTES]) ^ int.from_bytes(content)
    return (both.to_bytes(HASH_BYTES) + content)[:KEY]


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
        return key in self._recent or bool(self._look_up([key]))

    def meet_all(self, keys: Sequence[bytes], digests: Sequence[int]) -> list[bool | None] | None:
        """Meet keys of KEY bytes one after the other, and remember the new ones.

        Returns:
            For each key None if it is new, else whether its digest is the one that it was first met with; None if all
            of them are new.
        """
        before = len(self._recent)
        first = list(map(self._recent.setdefault, keys, digests))
        count = len(self._recent) - before
        if count == len(keys) and not self._spilled:
            self._spill_if_full()
            return None
        new = set(islice(reversed(self._recent), count))  # a dict keeps the order in which its keys came
        old = self._look_up(new)
        self._recent.update(old)
        self._spill_if_full()
        if count == len(keys) and not old:
            return None
        met: list[bool | None] = []
        for key, digest, known in zip(keys, digests, first, strict=True):
            met.append(None if key in new and key not in old else old.get(key, known) == digest)
            new.discard(key)
        return met

    def _look_up(self, keys: Iterable[bytes]) -> dict[bytes, int]:
        """Return the digests of those keys that were spilled."""
        bits, found = self._bits, {}
        for key in keys if self._spilled else ():
            bit = int.from_bytes(key[-4:]) >> _SHIFT
            if bits[bit >> 3] & (1 << (bit & 7)):
                for run in self._spilled:
                    digest = run.find(key)
                    if digest is not None:
                        found[key] = digest
                        break
        return found

    def _spill_if_full(self) -> None:
        """Move all keys from memory to the disk when there are too many; where there is no room, they stay."""
        if len(self._recent) <= self._limit:
            return
        try:
            run = _Run(self._recent)
        except OSError:
            self._limit *= 2
            return
        self._spilled.append(run)
        bits = self._bits = self._bits or bytearray(1 << (_BITS - 3))
        for key in self._recent:
            bit = int.from_bytes(key[-4:]) >> _SHIFT
            bits[bit >> 3] |= 1 << (bit & 7)
        self._recent.clear()


class _Run:
    """Keys in order, on disk: in a file that has no name any more, which ends with this object."""

    def __init__(self, digests: dict[bytes, int]) -> None:
        self._digests_at = len(digests) * KEY
        self._fences = array("I")
        self._file, name = tempfile.mkstemp(prefix="voucherify-sync-")
        weakref.finalize(self, os.close, self._file)
        Path(name).unlink()
        # Many short lists are sorted faster than a long one.
        shelves: list[list[bytes]] = [[] for _ in range(256)]
        for key in digests:
            shelves[key[0]].append(key)
        with open(self._file, "wb", closefd=False) as file:
            for first, shelf in enumerate(shelves):
                shelf.sort()
                begin = file.tell() // KEY
                self._fences.extend(
                    begin + bisect_left(shelf, bytes((first, second))) for second in range(256)
                )
                file.write(b"".join(shelf))
            self._fences.append(len(digests))
            for shelf in shelves:
                file.write(bytes(map(digests.__getitem__, shelf)))

    def find(self, key: bytes) -> int | None:
        """Return the digest of a key, or None."""
        prefix = int.from_bytes(key[:2])
        first, end = self._fences[prefix], self._fences[prefix + 1]
        keys = os.pread(self._file, (end - first) * KEY, first * KEY)
        for at in range(0, len(keys), KEY):
            if keys.startswith(key, at):
                return os.pread(self._file, 1, self._digests_at + first + at // KEY)[0]
        return None
