"""What tells records and requests apart: events in, short hashes out; nothing of an event can be read from one."""

from __future__ import annotations

import json
from functools import lru_cache
from hashlib import blake2b

from msgspec.json import Encoder

from voucherify_sync.model import SegmentEvent

KEY_BYTES = 16
HASH_BYTES = 8
HASH_VERSION = 1
"""Of the rule by which requests are hashed. Hashes of two rules cannot be compared."""

_encode_sorted = Encoder(order="sorted").encode


def record_key(event: SegmentEvent) -> bytes:
    """Return the 16 bytes by which an event is known in every run, whichever file it is read from.

    Segment names an event by its messageId. Events without one are known by their content: equal events are one
    record, whatever the order of their keys.
    """
    if event.key is not None:
        return event.key
    message_id = event.message_id
    if message_id is None:
        return blake2b(_canonical(event), digest_size=KEY_BYTES).digest()
    digest = _hash_of(event.type).copy()
    digest.update(message_id.encode() if message_id.isascii() else message_id.encode(errors="surrogatepass"))
    return digest.digest()


@lru_cache(maxsize=64)  # types come from the input
def _hash_of(kind: str) -> blake2b:
    """Return the hash with which the keys of events of a type begin."""
    return blake2b(f"{kind}\0".encode(errors="surrogatepass"), digest_size=KEY_BYTES)


def request_hash(payload: bytes) -> bytes:
    """Return 8 bytes that differ when the request of a record differs, as after a change of the mapping."""
    return blake2b(payload, digest_size=HASH_BYTES).digest()


def _canonical(event: SegmentEvent) -> bytes:
    """Encode the fields with sorted keys. The text holds no NUL, so it equals no type and messageId."""
    try:
        if not event.unsafe:
            try:
                return _encode_sorted(event.fields)
            except UnicodeEncodeError:
                pass
        # msgspec writes NaN and Infinity as null, which would make different events equal, and refuses lone surrogates.
        return json.dumps(event.fields, sort_keys=True).encode()
    except RecursionError:  # it could be read, but is too deep to be written
        return event.raw
