"""Numbers, sizes and times read as people write them."""

from __future__ import annotations

import pytest

from voucherify_sync import text

counted, size, span = text.counted, text.size, text.span


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (counted(1, "call"), "1 call"),
        (counted(0, "call"), "0 calls"),
        (counted(12_345, "retry", "retries"), "12,345 retries"),
        (size(0), "0 bytes"),
        (size(999), "999 bytes"),
        (size(1_000), "1.0 kB"),
        (size(999_949), "999.9 kB"),
        (size(999_950), "1.0 MB"),
        (size(3_140_000_000), "3.1 GB"),
        (size(5_000_000_000_000_000), "5,000.0 TB"),
        (span(-1), "0.0 s"),
        (span(0.44), "0.4 s"),
        (span(9.96), "10 s"),
        (span(59.6), "1 min"),
        (span(73.4), "1 min 13 s"),
        (span(7_800), "2 h 10 min"),
        (span(3_599.7), "1 h"),
        (span(90_000), "1 d 1 h"),
    ],
)
def test_a_number_reads_well(shown: str, expected: str) -> None:
    """Thousands are grouped, and a time has two units at most."""
    assert shown == expected
