"""Remembers the keys of a run: KEY bytes in, whether they were met before out. At most 100 bytes of memory a key.

Beyond a million they go to temporary files, a million at a time, in order; a bit for each stays in memory.

What has been sent before is not sent again: the one rule that gives resume, de-duplication and idempotent pipes.

What the pipeline decided of records comes in, in the order of the input; out comes the same with those that were sent
before, or stand in the input before, decided.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from array import array
from binascii import crc32
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct

from voucherify_sync.events import (
    HASH_BYTES,
    KEY_BYTES,
    Event,
    Request,
    earlier_key,
    record_key,
    request_hash,
)
from voucherify_sync.outcomes import FAILED_BEFORE, Decision, Outcome, State
from voucherify_sync.state.ledger_reader import Known, LedgerReader

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


NEVER = 0
"""Runs are numbered from 1: nothing was delivered before this one."""


class Rule(Struct, frozen=True):
    """What the user wants to have sent although it was sent before.

    Attributes:
        again_before: deliveries of runs numbered below this are repeated (``--again``).
        failed: what failed is tried again, whether its request changed or not (``retry``).
        on_doubt: what becomes of custom events that an earlier run left in doubt.
    """

    again_before: float = NEVER
    failed: bool = False
    on_doubt: Literal["verify", "hold", "resend", "accept"] = "hold"


REPEATED = frozenset({"equal_event", "repeated", "repeated_differs"})
"""Reasons of records that stand in the input before."""


class History:
    """Applies the rule to the records of one run.

    Args:
        ledger: what earlier runs sent; an empty one is never asked.
        rule: the user's exceptions.
        is_superseded: tells whether a customer has been sent something newer; asked before a request is sent.
    """

    def __init__(
        self,
        ledger: LedgerReader,
        rule: Rule,
        is_superseded: Callable[[Request], bool] | None = None,
    ) -> None:
        self._is_superseded = is_superseded
        self._ledger = None if ledger.is_empty else ledger
        self._has_earlier_keys = ledger.has_earlier_keys
        self._rule = rule
        self._seen = Seen()

    def decide(self, decisions: Sequence[Decision]) -> Sequence[Decision]:
        """Return the decisions, one for one, after the rule has been applied."""
        if self._ledger is None and self._is_superseded is None:
            return self._without_repeated(decisions)
        return list(self._one_by_one(decisions))

    def _without_repeated(self, decisions: Sequence[Decision]) -> Sequence[Decision]:
        """Decide what nothing is known of but this run."""
        requests = [decision for decision in decisions if type(decision) is Request]
        met = self._seen.meet_all(
            [seen_key(record_key(request.event)) for request in requests],
            [digest_of(request.payload) for request in requests],
        )
        if met is None:
            return decisions
        is_equal = iter(met)
        decided: list[Decision] = []
        for decision in decisions:
            if isinstance(decision, Request) and (equal := next(is_equal)) is not None:
                decided.append(_repeated(decision, is_equal=equal))
            else:
                decided.append(decision)
        return decided

    def _one_by_one(self, decisions: Sequence[Decision]) -> Iterator[Decision]:
        """Decide with what earlier runs left of each record; one look-up for all of them."""
        keys = [_key_of(decision) for decision in decisions]
        known = self._look_up([key for key in keys if key is not None])
        for decision, key in zip(decisions, keys, strict=True):
            if key is None:
                yield decision
                continue
            own_key, earlier = seen_key(key), earlier_key(key)
            if key not in known and earlier in known:  # what an earlier version kept counts for every content
                key = earlier  # noqa: PLW2901
                _event_of(decision).key = key
            yield self._judge(decision, key, own_key, known.get(key))

    def _look_up(self, keys: list[bytes]) -> dict[bytes, Known]:
        if self._ledger is None:
            return {}
        this_run = self._ledger.run
        if self._has_earlier_keys:
            keys = [*keys, *(earlier_key(key) for key in keys if key != earlier_key(key))]
        return {
            key: known
            for key, known in zip(keys, self._ledger.look_up(keys), strict=True)
            if known is not None and not (this_run and known.run == this_run)
        }

    def _judge(self, decision: Decision, key: bytes, own_key: bytes, known: Known | None) -> Decision:
        """Decide one record, which an earlier run may know."""
        event = _event_of(decision)
        if known is not None and own_key not in self._seen:
            if known.run >= self._rule.again_before:
                if known.state is State.DELIVERED:
                    return Outcome(event, State.DUPLICATE, "delivered")
                if known.state is State.DUPLICATE:
                    return Outcome(event, State.DUPLICATE, "dismissed")
            if known.state is State.IN_DOUBT:
                if self._rule.on_doubt == "hold":
                    return Outcome(event, State.IN_DOUBT, known.reason)
                if self._rule.on_doubt == "accept":
                    return Outcome(event, State.DELIVERED, "accepted")
        if isinstance(decision, Outcome):
            return decision
        return self._take_up(decision, key, own_key, known)

    def _take_up(self, request: Request, key: bytes, own_key: bytes, known: Known | None) -> Decision:
        """Return the request that is to be sent, remembering it, or why it is not."""
        met = self._seen.meet_all([own_key], [digest_of(request.payload)])
        if met is not None and met[0] is not None:
            return _repeated(request, is_equal=met[0])
        event = request.event
        if known is not None:
            if known.state is State.FAILED and not self._sends_failed(known, request):
                return Outcome(event, State.FAILED, FAILED_BEFORE, request=request)
            if known.state is State.IN_DOUBT and self._ledger is not None:
                since = self._ledger.sent_at(key) or 0.0
                return msgspec.structs.replace(request, doubtful_since=since)
        if self._is_superseded is not None and self._is_superseded(request):
            return Outcome(event, State.SKIPPED, "superseded", request=request)
        return request

    def _sends_failed(self, known: Known, request: Request) -> bool:
        tries_again = self._rule.failed or self._rule.again_before > known.run
        return tries_again or known.hash not in (None, request_hash(request.payload))


def _event_of(decision: Decision) -> Event:
    """Return the event of a record that has a key."""
    event = decision.event if isinstance(decision, Request) else decision.record
    assert isinstance(event, Event)  # noqa: S101  # only events have keys
    return event


def _key_of(decision: Decision) -> bytes | None:
    """Return the key of a record that came as far as the mapping; None for what was left out before."""
    if isinstance(decision, Request):
        return record_key(decision.event)
    return decision.record.key if isinstance(decision.record, Event) else None


def _repeated(request: Request, *, is_equal: bool) -> Outcome:
    """Return the outcome of a record whose key was met before in this run; the first one wins."""
    reason = "repeated" if is_equal else "repeated_differs"
    if request.event.message_id is None:
        reason = "equal_event"
    return Outcome(request.event, State.DUPLICATE, reason)
