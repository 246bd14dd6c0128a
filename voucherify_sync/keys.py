"""What tells records and requests apart: events in, short hashes out; nothing of an event can be read from one."""

from __future__ import annotations

import json
from hashlib import blake2b

from msgspec.json import Encoder

from voucherify_sync.model import SegmentEvent

KEY_BYTES = 16
HASH_BYTES = 8

_encode_sorted = Encoder(order="sorted").encode


def record_key(event: SegmentEvent) -> bytes:
    """Return the 16 bytes by which an event is known in every run, whichever file it is read from.

    Segment names an event by its messageId. Events without one are known by their content: equal events are one
    record, whatever the order of their keys.
    """
    if event.message_id is None:
        text = _canonical(event)
    else:
        text = f"{event.type}\0{event.message_id}".encode(errors="surrogatepass")
    return blake2b(text, digest_size=KEY_BYTES).digest()


def request_hash(payload: bytes) -> bytes:
    """Return 8 bytes that differ when the request of a record differs, as after a change of the mapping."""
    return blake2b(payload, digest_size=HASH_BYTES).digest()


def _canonical(event: SegmentEvent) -> bytes:
    """Encode the fields with sorted keys. The text holds no NUL, so it equals no type and messageId."""
    if not event.unsafe:
        try:
            return _encode_sorted(event.fields)
        except UnicodeEncodeError:
            pass
    # msgspec writes NaN and Infinity as null, which would make different events equal, and refuses lone surrogates.
    return json.dumps(event.fields, sort_keys=True).encode()
