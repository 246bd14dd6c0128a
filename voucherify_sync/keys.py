"""What tells records and requests apart: events in, short hashes out; nothing of an event can be read from one.

The first 16 bytes of a key never change from one version to the next: ledgers are full of them.
"""

from __future__ import annotations

import json
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from msgspec.json import Decoder, Encoder

from voucherify_sync.model import Json, SegmentEvent
from voucherify_sync.paths import holds_a_non_number

KEY_BYTES = 16
HASH_BYTES = 8
HASH_VERSION = 2
"""Of the rule by which requests are hashed. Hashes of two rules cannot be compared.

1 hashed the bytes of a request, 2 hashes what they say.
"""

_encode_sorted = Encoder(order="sorted").encode
_decode = Decoder().decode


def record_key(event: SegmentEvent) -> bytes:
    """Return the bytes by which an event is known in every run, whichever file it is read from.

    Segment names an event by its messageId. Events without one are known by their content: equal events are one
    record, whatever the order of their keys. That makes 16 bytes. An identify tells a state, and one messageId with
    another content is another record: 8 bytes of its content follow. Neither the mapping nor the version changes them.
    """
    if event.key is not None:
        return event.key
    message_id = event.message_id
    if message_id is None:
        key = blake2b(_canonical(event.fields, event, event.unsafe), digest_size=KEY_BYTES).digest()
    else:
        digest = _hash_of(event.type).copy()
        digest.update(
            message_id.encode() if message_id.isascii() else message_id.encode(errors="surrogatepass")
        )
        key = digest.digest()
    if event.type != "identify":
        return key
    state = _state(event.fields)
    unsafe = event.unsafe and holds_a_non_number(state)  # what else the event holds has no say
    return key + blake2b(_canonical(state, event, unsafe), digest_size=HASH_BYTES).digest()


def earlier_key(key: bytes) -> bytes:
    """Return the key that an earlier version gave to an event: without the content of an identify."""
    return key[:KEY_BYTES]


def _state(fields: Json) -> list[Any]:
    """Return what an identify says, and of whom."""
    context = fields.get("context")
    traits = context.get("traits") if isinstance(context, dict) else None
    return [fields.get("userId"), fields.get("anonymousId"), fields.get("traits"), traits]


@lru_cache(maxsize=64)  # types come from the input
def _hash_of(kind: str) -> blake2b:
    """Return the hash with which the keys of events of a type begin."""
    return blake2b(f"{kind}\0".encode(errors="surrogatepass"), digest_size=KEY_BYTES)


def request_hash(payload: bytes) -> bytes:
    """Return 8 bytes that differ when the request of a record differs, as after a change of the mapping.

    In which order the keys of its objects stand makes no difference.
    """
    return body_hash(_encode_sorted(_decode(payload)))


def body_hash(body: bytes) -> bytes:
    """Return 8 bytes that differ when the bytes of a body differ."""
    return blake2b(body, digest_size=HASH_BYTES).digest()


def _canonical(value: Any, event: SegmentEvent, unsafe: bool) -> bytes:
    """Encode what an event holds with sorted keys. The text holds no NUL, so it equals no type and messageId."""
    try:
        if not unsafe:
            try:
                return _encode_sorted(value)
            except UnicodeEncodeError:
                pass
        # msgspec writes NaN and Infinity as null, which would make different events equal, and refuses lone surrogates.
        return json.dumps(value, sort_keys=True).encode()
    except RecursionError:  # it could be read, but is too deep to be written
        return event.raw
