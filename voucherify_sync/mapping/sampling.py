"""Keep a share of the customers, and all events of each: the same customers in each run and on each machine.

Whether a customer is kept depends on the source_id and the share alone, and a larger share keeps those of each smaller
one: who was sent with 1 % is also sent with 5 %.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final

from voucherify_sync.text import did_you_mean

_HASH_BYTES: Final = 8
_HASHES: Final = 2.0 ** (8 * _HASH_BYTES)

_PERCENT: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?) ?%?")
_LOOSE_PERCENT: Final = re.compile(
    r"([0-9]{0,15})[.,]?([0-9]{0,15})\s*(?:%|percent|per cent|pct)?", re.IGNORECASE
)


def is_sampled(source_id: str, percent: float) -> bool:
    """Tell whether a customer belongs to the sample.

    Args:
        source_id: as it is sent.
        percent: share of the customers to keep, above 0 and up to 100, which keeps all.
    """
    digest = sha256(source_id.encode("utf-8", "surrogatepass")).digest()
    # Python compares an integer with a float exactly.
    return int.from_bytes(digest[:_HASH_BYTES], "big") < percent / 100 * _HASHES


def parse_percent(text: str) -> float:
    """Read a percentage above 0 and up to 100, with or without its sign: ``5%``, ``0.5 %``, ``5``.

    Raises:
        ValueError: the text is none. The message says what to write, with a suggestion where there is one.
    """
    match = _PERCENT.fullmatch(text)
    if match and 0 < float(match[1]) <= 100:
        return float(match[1])
    loose = _LOOSE_PERCENT.fullmatch(text.strip()) if match is None else None
    meant = f"{loose[1] or 0}.{loose[2] or 0}".removesuffix(".0") if loose else "0"
    raise ValueError(
        f"{text!r} is no share of the customers; write a percentage above 0 and up to 100, such as 5% or 0.5%"
        + did_you_mean([f"{meant}%"] if 0 < float(meant) <= 100 else [])
    )
