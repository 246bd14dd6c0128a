"""How many records of an input were not taken up, by what was read of it."""

from __future__ import annotations

import pytest

from voucherify_sync.run.run import records_left
from voucherify_sync.sources.reader import SourceFacts


def facts(lines: int, size: int) -> SourceFacts:
    """Return what is known of a source of which so much was read."""
    return SourceFacts("a.ndjson", lines=lines, bytes=size)


@pytest.mark.parametrize(
    ("read", "total", "taken", "limit", "left"),
    [
        pytest.param([facts(100, 1_000)], 1_000, 40, None, 60, id="read and not taken up"),
        pytest.param([facts(100, 1_000)], 4_000, 100, None, 300, id="not read"),
        pytest.param([facts(60, 600), facts(40, 400)], 2_000, 90, None, 110, id="several sources"),
        pytest.param([facts(100, 1_000)], 4_000, 100, 120, 20, id="no more than a limit"),
        pytest.param([facts(10, 1_000)], 1_000, 40, None, 0, id="several records a line"),
        pytest.param([facts(100, 1_000)], None, 40, None, None, id="a pipe"),
        pytest.param([], 1_000, 0, None, None, id="nothing read"),
        pytest.param([facts(100, 1_000)], 1_000, 0, None, None, id="nothing taken up"),
    ],
)
def test_what_is_left_is_known_from_lines_and_bytes(
    read: list[SourceFacts], total: int | None, taken: int, limit: int | None, left: float | None
) -> None:
    """The rest of the bytes has as many lines as those before; a pipe does not tell."""
    assert records_left(read, total, taken, limit) == left
