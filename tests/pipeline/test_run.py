"""A run books every record that it read, also where its ledger fails in the middle, and estimates what is left."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from support.batches import Lines
from support.segment_events import identify

from voucherify_sync.delivery.dry_run import DryRun, discard
from voucherify_sync.errors import VoucherifySyncError
from voucherify_sync.events import Batch
from voucherify_sync.exit_codes import ExitCode
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.outcomes import State
from voucherify_sync.run.options import Mode, RunOptions
from voucherify_sync.run.run import Run, records_left
from voucherify_sync.settings.types import Delivery, Settings
from voucherify_sync.sources.decode import MAX_BATCH_RECORDS
from voucherify_sync.sources.reader import SourceFacts
from voucherify_sync.state.deduplication import ResendPolicy
from voucherify_sync.state.ledger_reader import KnownRecord, LedgerReader
from voucherify_sync.stop import Stop

if TYPE_CHECKING:
    from voucherify_sync.delivery.sender import LiveDelivery


@pytest.mark.parametrize("customers", ["each", "bulk"])
def test_a_ledger_that_cannot_be_read_any_more_leaves_the_rest_pending(
    customers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run stops, nothing is said to be planned that was not looked up, and the law holds."""
    looked_up = iter([True])

    def look_up(_self: LedgerReader, keys: Sequence[bytes]) -> list[KnownRecord | None]:
        if next(looked_up, None) is None:
            raise VoucherifySyncError("the ledger cannot be read.")
        return [None] * len(keys)

    monkeypatch.setattr(LedgerReader, "is_empty", False)
    monkeypatch.setattr(LedgerReader, "look_up", look_up)
    lines = [
        identify({"email": "e"}, messageId=f"m{number}").raw for number in range(MAX_BATCH_RECORDS + 500)
    ]
    settings = Settings(delivery=Delivery(customers=customers))  # type: ignore[arg-type]
    stop = Stop()
    request = RunOptions(
        "run", Mode.DRY_RUN, settings, lambda _stop: Lines([Batch.of("a", 1, lines)]), Selection()
    )
    with LedgerReader() as ledger:
        run = Run(request, stop, DryRun(discard, stop), ledger, ResendPolicy())
        run.execute()
    counts = run.sinks.report.counts()
    assert run.sinks.report.holds_invariant
    assert run.exit_code is not ExitCode.OK
    assert stop.error is not None
    if customers == "each":
        assert (counts[State.PLANNED], counts[State.PENDING]) == (MAX_BATCH_RECORDS, 500)
    else:
        assert (counts[State.PLANNED], counts[State.PENDING]) == (0, MAX_BATCH_RECORDS)


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


@pytest.mark.parametrize(
    ("ended", "undecided", "expected"),
    [
        pytest.param({State.DELIVERED: 60}, 40, (40 + 900, True), id="every record makes a request"),
        pytest.param(
            {State.DELIVERED: 50, State.SKIPPED: 50}, 0, (450, True), id="one in two makes a request"
        ),
        pytest.param(
            {State.DELIVERED: 10, State.DUPLICATE: 50}, 40, (40 + 900, True), id="a run that goes on"
        ),
        pytest.param({State.DUPLICATE: 100}, 0, None, id="only what was sent before so far"),
    ],
)
def test_calls_left_are_estimated_from_the_records_that_are_new(
    ended: dict[State, int],
    undecided: int,
    expected: tuple[int, bool] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run that goes on meets first what is delivered: that must not make the rest look small."""
    source = Lines([])
    source.facts, source.bytes_total = [facts(100, 1_000)], 10_000
    request = RunOptions("run", Mode.LIVE, Settings(), lambda _stop: source, Selection())
    delivery = SimpleNamespace(open=undecided, submitted=ended.get(State.DELIVERED, 0) + undecided)
    with LedgerReader() as ledger:
        run = Run(request, Stop(), cast("LiveDelivery", delivery), ledger, ResendPolicy())
    monkeypatch.setattr(run, "_read", 100)
    monkeypatch.setattr(run.sinks.report, "counts", lambda: dict.fromkeys(State, 0) | ended)
    assert run.calls_left() == expected
