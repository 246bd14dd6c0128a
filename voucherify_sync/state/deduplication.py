"""Decides which records of a run were sent before: what this project has been sent is not sent again.

The one rule gives resume, de-duplication and idempotent pipes. The ledger says what earlier runs sent; the keys of
this run are kept here, at most 100 bytes of memory for each. Beyond a million they go to temporary files, a
million at a time, in order; a bit for each stays in memory.
"""

from __future__ import annotations

import os
import weakref
from array import array
from binascii import crc32
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice, repeat
from tempfile import TemporaryFile
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from voucherify_sync.events import (
    HASH_BYTES,
    KEY_BYTES,
    Event,
    Kind,
    Request,
    earlier_keys,
    order_key,
    record_key,
    request_hash,
)
from voucherify_sync.findings import FindingCount
from voucherify_sync.outcomes import CUSTOMER_REFUSED, FAILED_BEFORE, Decision, Outcome, State
from voucherify_sync.settings.types import OnDoubt
from voucherify_sync.state.ledger_reader import KnownRecord, LedgerReader
from voucherify_sync.state.private_files import write_all

MAX_KEYS: Final = 1_000_000
"""Keys in memory."""

SEEN_KEY_BYTES: Final = 15
"""Bytes that are compared: 120 bits; a string of 15 bytes takes 16 bytes less than one of 16."""
_BITS: Final = 27
"""The table of bits has 2**27 of them, 16 MiB: of four million new keys 3 % are looked up in vain."""
_SHIFT: Final = 32 - _BITS

NEVER: Final = 0
"""Runs are numbered from 1: nothing was delivered before this one."""

REPEATED: Final = frozenset({"equal_event", "repeated", "repeated_differs"})
"""Reasons of records that repeat an earlier record of the input."""


class ResendPolicy(Struct, frozen=True):
    """What a run sends although it was sent before.

    Attributes:
        again_before: deliveries of runs numbered below this are repeated (``--again``).
        retries_failed: what failed is sent again, even if its request is still the same (``retry``).
        on_doubt: what becomes of custom events that an earlier run left in doubt.
    """

    again_before: float = NEVER
    retries_failed: bool = False
    on_doubt: OnDoubt = "hold"


class Deduplicator:
    """Decides which records of one run are sent, and how the others end.

    Args:
        ledger: what earlier runs sent; an empty one is never asked.
        policy: the user's exceptions.
        is_superseded: tells whether the customer of a request was sent a newer update: an update is not sent then,
            and a custom event only names its customer. None: nothing is superseded.

    Attributes:
        sent_as_events: order events that an earlier run delivered as custom events: that makes them no duplicates.
    """

    def __init__(
        self,
        ledger: LedgerReader,
        policy: ResendPolicy,
        is_superseded: Callable[[Request], bool] | None = None,
    ) -> None:
        self._is_superseded = is_superseded
        self._ledger = None if ledger.is_empty else ledger
        self._has_earlier_keys = ledger.has_earlier_keys
        self._has_orders = ledger.has_orders
        self._policy = policy
        self._seen = Seen()
        self.sent_as_events = FindingCount()

    def decide(self, decisions: Sequence[Decision]) -> Sequence[Decision]:
        """Return the decisions, one for one: a request that must not be sent becomes an outcome.

        What an earlier run decided comes first, as it holds for all records of a key. Of the records that it leaves to
        this run, the first one of each key is accepted, and the others are repeated.
        """
        keys = list(map(_key_of, decisions))
        known_of = self._lookup(decisions, keys)
        if known_of:
            decisions = [
                self._decide_known(decision, known_of[key]) if key in known_of else decision
                for decision, key in zip(decisions, keys, strict=True)
            ]
        if self._has_orders:
            decisions = self._without_orders(decisions)
        if self._ledger is not None:
            self._find_sent_events(self._ledger, decisions)
        pairs = zip(decisions, keys, strict=True)
        requests = [(decision, key) for decision, key in pairs if isinstance(decision, Request) and key]
        repeated = self._seen.add_many(
            [seen_key(key) for _, key in requests],
            [digest_of(request.payload, request.customer) for request, _ in requests],
        )
        if repeated is None and not known_of and self._is_superseded is None:
            return decisions
        accepted = iter(
            [
                self._accept(request, known_of.get(key), is_equal)
                for (request, key), is_equal in zip(requests, repeated or repeat(None), strict=False)
            ]
        )
        return [next(accepted) if isinstance(decision, Request) else decision for decision in decisions]

    def _lookup(
        self, decisions: Sequence[Decision], keys: Sequence[bytes | None]
    ) -> dict[bytes | None, KnownRecord]:
        """Return what earlier runs left of records, by their keys.

        What an earlier version kept under another key counts, too: of an identify for every content.
        """
        if self._ledger is None:
            return {}
        earlier: dict[bytes | None, list[bytes]] = {
            key: earlier_keys(_event_of(decision))
            for decision, key in zip(decisions, keys, strict=True)
            if key is not None
            and (self._has_earlier_keys or _event_of(decision).former_message_id is not None)
        }
        asked = list({key for key in (*keys, *chain.from_iterable(earlier.values())) if key is not None})
        this_run = self._ledger.run
        found = {
            key: known
            for key, known in zip(asked, self._ledger.look_up(asked), strict=True)
            if known is not None and not (this_run and known.run == this_run)
        }
        known_of: dict[bytes | None, KnownRecord] = {}
        for decision, key in zip(decisions, keys, strict=True):
            known_as = next((each for each in (key, *earlier.get(key, ())) if each in found), None)
            if known_as is not None:
                known_of[key] = found[known_as]
                if known_as != key:
                    _event_of(decision).key = known_as
        return known_of

    def _without_orders(self, decisions: Sequence[Decision]) -> list[Decision]:
        """Return the decisions, none of which sends a custom event of what was delivered as an order."""
        assert self._ledger is not None  # noqa: S101  # it holds orders
        events = [
            each.event
            for each in decisions
            if isinstance(each, Request) and each.kind is Kind.EVENT and not each.event.as_event
        ]
        known = self._ledger.look_up([order_key(event) for event in events])
        delivered = {
            id(event)
            for event, found in zip(events, known, strict=True)
            if found is not None and found.state is State.DELIVERED and found.run >= self._policy.again_before
        }
        return [
            Outcome(each.event, State.DUPLICATE, "delivered_as_order")
            if isinstance(each, Request) and id(each.event) in delivered
            else each
            for each in decisions
        ]

    def _find_sent_events(self, ledger: LedgerReader, decisions: Iterable[Decision]) -> None:
        """Count the events of orders that were delivered as custom events."""
        events = [each.event for each in decisions if isinstance(each, Request) and each.kind is Kind.ORDER]
        if not events:
            return
        keys = [record_key(replace(event, key=None)) for event in events]
        for event, known in zip(events, ledger.look_up(keys), strict=True):
            if known is not None and known.state is State.DELIVERED and known.run != ledger.run:
                self.sent_as_events.add(event.position, event.name or "")

    def _decide_known(self, decision: Decision, known: KnownRecord) -> Decision:
        """Return how a record ends that an earlier run decided; the decision as it is where this run has to decide."""
        event = _event_of(decision)
        if known.run >= self._policy.again_before:
            if known.state is State.DELIVERED:
                return Outcome(event, State.DUPLICATE, "delivered")
            if known.state is State.DUPLICATE:
                return Outcome(event, State.DUPLICATE, "dismissed")
        if known.state is State.IN_DOUBT:
            if self._policy.on_doubt == "hold":
                return Outcome(event, State.IN_DOUBT, known.reason)
            if self._policy.on_doubt == "accept":
                return Outcome(event, State.DELIVERED, "accepted")
        return decision

    def _accept(self, request: Request, known: KnownRecord | None, is_equal: bool | None) -> Decision:
        """Return the request that is to be sent, or why it is not.

        Args:
            request: of a record that no earlier run decided for good.
            known: what an earlier run left of it.
            is_equal: whether the input held the same request under this key before; None: no request of it.
        """
        event = request.event
        if is_equal is not None:  # the first one wins
            return Outcome(event, State.DUPLICATE, reason_of_repeated(event, is_equal=is_equal))
        if known is not None and known.state is State.FAILED:
            is_tried_again = (
                request.kind is Kind.ORDER
                or self._policy.retries_failed
                or self._policy.again_before > known.run
            )
            if not is_tried_again and known.hash in (None, request_hash(request.payload)):
                return Outcome(event, State.FAILED, FAILED_BEFORE, request=request)
        if self._is_superseded is not None and (
            self._is_superseded(request) or _has_sent_profile(request, known)
        ):
            if request.kind is Kind.CUSTOMER:
                return Outcome(event, State.SKIPPED, "superseded", request=request)
            request = request.without_profile()  # the event counts, not its old values
        if known is not None and known.state is State.IN_DOUBT and self._ledger is not None:
            return replace(request, doubtful_since=self._ledger.sent_at(record_key(event)) or 0.0)
        return request


class Seen:
    """The keys of a run, with a byte each of what was sent for them.

    Args:
        limit: keys in memory.
    """

    def __init__(self, limit: int = MAX_KEYS) -> None:
        self._limit = limit
        self._recent: dict[bytes, int] = {}
        self._spilled: list[_SpilledKeys] = []
        self._bits = bytearray()

    def add_many(self, keys: Sequence[bytes], digests: Sequence[int]) -> list[bool | None] | None:
        """Add keys of SEEN_KEY_BYTES one after the other.

        Returns:
            For each key None if it is new, else whether its digest is the one that it was first added with; None if all
            of them are new.
        """
        before = len(self._recent)
        first = list(map(self._recent.setdefault, keys, digests))
        count = len(self._recent) - before
        if count == len(keys) and not self._spilled:
            self._spill_if_full()
            return None
        new = set(islice(reversed(self._recent), count))  # a dict keeps the order in which its keys came
        old = self._lookup(new)
        self._recent.update(old)
        self._spill_if_full()
        if count == len(keys) and not old:
            return None
        seen: list[bool | None] = []
        for key, digest, known in zip(keys, digests, first, strict=True):
            seen.append(None if key in new and key not in old else old.get(key, known) == digest)
            new.discard(key)
        return seen

    def _lookup(self, keys: Iterable[bytes]) -> dict[bytes, int]:
        """Return the digests of those keys that were spilled."""
        bits, found = self._bits, dict[bytes, int]()
        for key in keys if self._spilled else ():
            bit = int.from_bytes(key[-4:]) >> _SHIFT
            if bits[bit >> 3] & (1 << (bit & 7)):
                for spilled in self._spilled:
                    digest = spilled.find(key)
                    if digest is not None:
                        found[key] = digest
                        break
        return found

    def _spill_if_full(self) -> None:
        """Move all keys from memory to the disk when there are too many; where there is no room, they stay."""
        if len(self._recent) <= self._limit:
            return
        try:
            self._spilled.append(_SpilledKeys(self._recent))
        except OSError:
            self._limit *= 2
            return
        bits = self._bits = self._bits or bytearray(1 << (_BITS - 3))
        for key in self._recent:
            bit = int.from_bytes(key[-4:]) >> _SHIFT
            bits[bit >> 3] |= 1 << (bit & 7)
        self._recent.clear()


class _SpilledKeys:
    """Keys in order, and after them their digests, in a file that has no name and ends with this object."""

    def __init__(self, digests: dict[bytes, int]) -> None:
        self._fences = array("I")  # where the keys of each first two bytes begin: one read finds all of them
        self._file = TemporaryFile(buffering=0, prefix="voucherify-sync-")  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        partitions: list[list[bytes]] = [
            [] for _ in range(256)
        ]  # short lists are sorted faster than a long one
        for key in digests:
            partitions[key[0]].append(key)
        begin = 0
        for first, keys in enumerate(partitions):
            keys.sort()
            self._fences.extend(begin + bisect_left(keys, bytes((first, second))) for second in range(256))
            write_all(self._file.fileno(), b"".join(keys))
            begin += len(keys)
        self._fences.append(begin)
        for keys in partitions:
            write_all(self._file.fileno(), bytes(map(digests.__getitem__, keys)))

    def find(self, key: bytes) -> int | None:
        """Return the digest of a key, or None."""
        prefix = int.from_bytes(key[:2])
        first, end = self._fences[prefix], self._fences[prefix + 1]
        file, size = self._file.fileno(), SEEN_KEY_BYTES
        keys = os.pread(file, (end - first) * size, first * size)
        for at in range(0, len(keys), size):
            if keys.startswith(key, at):
                return os.pread(file, 1, self._fences[-1] * size + first + at // size)[0]
        return None


def reason_of_repeated(event: Event, *, is_equal: bool) -> str:
    """Return the reason of a record whose key an earlier one of the input has; `is_equal`: with the same request."""
    if event.message_id is None:
        return "equal_event"
    return "repeated" if is_equal else "repeated_differs"


def _has_sent_profile(request: Request, known: KnownRecord | None) -> bool:
    """Tell whether a custom event was sent in bulk: what it says of its customer had arrived before it.

    The update that brought it may hold a whole name, which half a name in the event must not replace.
    """
    if known is None or known.reason == CUSTOMER_REFUSED:
        return False
    if request.kind is not Kind.EVENT or not request.has_profile:
        return False
    return known.hash == request_hash(request.without_profile().payload)


def digest_of(payload: bytes, customer: bytes | None) -> int:
    """Return one byte of a checksum: it is equal for equal requests, and for one pair in 256 of different ones.

    What a request says of a customer counts where that is folded, too. Such small numbers are shared by all keys, and
    take no memory for each.
    """
    return crc32(customer or b"", crc32(payload)) & 0xFF


def seen_key(key: bytes) -> bytes:
    """Return the SEEN_KEY_BYTES that stand for the key of a record.

    That of an identify ends with HASH_BYTES of its content. Many may share a messageId, or a content, so each byte at
    the beginning, by which keys are put in order, tells of both.
    """
    if len(key) == KEY_BYTES:
        return key[:SEEN_KEY_BYTES]
    content = key[KEY_BYTES:]
    both = int.from_bytes(key[:HASH_BYTES]) ^ int.from_bytes(content)
    return (both.to_bytes(HASH_BYTES) + content)[:SEEN_KEY_BYTES]


def _key_of(decision: Decision) -> bytes | None:
    """Return the key of a record that came as far as the mapping; None for what was left out before."""
    if isinstance(decision, Request):
        return record_key(decision.event)
    return decision.record.key if isinstance(decision.record, Event) else None


def _event_of(decision: Decision) -> Event:
    event = decision.event if isinstance(decision, Request) else decision.record
    assert isinstance(event, Event)  # noqa: S101  # only events have keys
    return event
