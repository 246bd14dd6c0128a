"""The second walk of a run in bulk: what it reads and what it leaves."""

from __future__ import annotations

import pytest

from voucherify_sync.events import Batch
from voucherify_sync.run.bulk_run import without_added_lines

BLOCKS = [Batch.of("a", 1, [b"1", b"2"]), Batch.of("a", 3, [b"3", b"4"]), Batch.of("b", 1, [b"1"])]


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        ({"a": 4, "b": 1}, [("a", 1, [b"1", b"2"]), ("a", 3, [b"3", b"4"]), ("b", 1, [b"1"])]),
        ({"a": 3, "b": 1}, [("a", 1, [b"1", b"2"]), ("a", 3, [b"3"]), ("b", 1, [b"1"])]),
        ({"a": 2}, [("a", 1, [b"1", b"2"])]),
        ({}, []),
    ],
    ids=["the same", "a line more", "a block more", "a source more"],
)
def test_lines_that_came_after_the_first_walk_are_left_out(
    lines: dict[str, int], left: list[tuple[str, int, list[bytes]]]
) -> None:
    """They were not folded, so they belong to the next run."""
    assert [(b.source, b.first_line, b.lines) for b in without_added_lines(lines, BLOCKS)] == left
