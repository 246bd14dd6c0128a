"""Keep a share of the customers, and all events of each: the same customers in each run and on each machine.

Whether a customer is kept depends on the source_id and the share alone, and a larger share keeps those of each smaller
one: who was sent with 1 % is also sent with 5 %.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final

from msgspec import Struct, field

from voucherify_sync.text import counted, did_you_mean

_HASH_BYTES: Final = 8
_HASHES: Final = 2.0 ** (8 * _HASH_BYTES)

MAX_DRAWS: Final = 10_000
"""Customers that are told apart, where a sample keeps none of them."""

_LARGER: Final = (*(digit * 10.0**power for power in range(-3, 2) for digit in (1, 2, 5)), 100.0)
"""Percentages to propose."""

_PERCENT: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?) ?%?")
_LOOSE_PERCENT: Final = re.compile(
    r"([0-9]{0,15})[.,]?([0-9]{0,15})\s*(?:%|percent|per cent|pct)?", re.IGNORECASE
)


def _draw(source_id: str) -> int:
    digest = sha256(source_id.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:_HASH_BYTES], "big")


def _is_below(draw: int, percent: float) -> bool:
    return draw < percent / 100 * _HASHES  # Python compares an integer with a float exactly


class SampleMet(Struct, array_like=True):
    """Whom a sample has met, in the input or in a part of it.

    Attributes:
        has_kept: it has kept a customer.
        draws: as long as it has not, what decides about each customer; at most MAX_DRAWS.
    """

    has_kept: bool = False
    draws: set[int] = field(default_factory=set)

    def keeps(self, source_id: str, percent: float) -> bool:
        """Tell whether a customer belongs to the sample, and note it.

        Args:
            source_id: as it is sent.
            percent: share of the customers to keep, above 0 and up to 100, which keeps all.
        """
        draw = _draw(source_id)
        is_kept = _is_below(draw, percent)
        if not self.has_kept:
            self.has_kept = is_kept
            if len(self.draws) < MAX_DRAWS:
                self.draws.add(draw)
        return is_kept

    def merge(self, later: SampleMet) -> None:
        """Add whom it met in a later part of the input."""
        self.has_kept |= later.has_kept
        self.draws = set() if self.has_kept else set(list(self.draws | later.draws)[:MAX_DRAWS])

    def notice(self, percent: float) -> str | None:
        """Say that it keeps nobody, and which one would; None where it keeps a customer, or has met none."""
        if self.has_kept or not self.draws:
            return None
        counts = {
            each: sum(_is_below(draw, each) for draw in self.draws) for each in _LARGER if each > percent
        }
        larger = next(each for each in counts if counts[each])
        at_least = "at least " if len(self.draws) == MAX_DRAWS else ""
        return (
            f"--sample {percent:g}%: none of {at_least}{counted(len(self.draws), 'customer')} is in the sample. Take a "
            f"larger one: --sample {larger:g}% keeps {at_least}{counts[larger]:,} of them."
        )


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
