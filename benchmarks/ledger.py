"""What the ledger costs: calls a second with and without it, the size of a million rows, and how fast a run resumes.

python benchmarks/ledger.py [--calls 6000] [--rows 1000000]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from events import generate
from responder import responder

from voucherify_sync.bookkeeping.history import Rule
from voucherify_sync.bookkeeping.ledger import Ledger
from voucherify_sync.bookkeeping.ledger_reader import LedgerReader
from voucherify_sync.delivery.journal import NoJournal
from voucherify_sync.delivery.link import Link
from voucherify_sync.keys import record_key
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.model import Kind, Operation, Outcome, Position, SegmentEvent, State
from voucherify_sync.reading.source import Reader, find_sources
from voucherify_sync.running.request import Mode, RunRequest, new_run_id
from voucherify_sync.running.run import Run
from voucherify_sync.settings import Credentials, Delivery, Secret, Settings
from voucherify_sync.stop import Stop

URL = "http://127.0.0.1:1"


def live_rate(address: str, archive: Path, ledger: Path | None, workers: int) -> float:
    """Return the calls a second of one live run."""
    stop = Stop()
    settings = Settings(delivery=Delivery(workers=workers, reserve=0))
    keys = Credentials("bench", Secret("bench"), address, None)
    journal: Ledger | NoJournal = NoJournal()
    history = LedgerReader.empty()
    if ledger is not None:
        journal = history = Ledger.open(
            ledger, address, "0" * 12, run_id="bench", settings_digest="", stop=stop
        )
    sources = find_sources([str(archive)], stdin_is_terminal=False).sources
    request = RunRequest(
        run_id=new_run_id(),
        mode=Mode.LIVE,
        settings=settings,
        open_input=lambda stop: Reader(sources, stop),
        selection=Selection(),
    )
    run = Run(request, stop, Link(keys, settings.delivery, "hold", journal, stop), history, Rule())
    begin = time.monotonic()
    run.execute()
    assert stop.error is None, stop.error
    return float(run.to_dict()["api"]["calls"] / (time.monotonic() - begin))


def operation(number: int) -> Operation:
    """Make one delivered event."""
    event = SegmentEvent(Position("a", number), "track", "Order Completed", f"message-{number}", {}, b"{}")
    return Operation(event, Kind.EVENT, f"u-{number}", {}, b"{}")


def measure_size_and_look_up(folder: Path, rows: int) -> None:
    """Fill a ledger and print its size and how fast its keys are found."""
    path = folder / "filled" / "x.ledger"
    ledger = Ledger.open(path, URL, "0" * 12, run_id="bench", settings_digest="", stop=Stop())
    for number in range(rows):
        request = operation(number)
        ledger.record(Outcome(request.event, State.DELIVERED, operation=request))
        if number % 10_000 == 0:
            ledger.flush()
    ledger.close()
    print(f"{rows:,} delivered rows: {path.stat().st_size / 1e6:.1f} MB")
    keys = [record_key(operation(number).event) for number in range(0, rows, max(rows // 200_000, 1))]
    with LedgerReader.read(path, URL) as reader:
        begin = time.process_time()
        for start in range(0, len(keys), 200):
            assert None not in reader.look_up(keys[start : start + 200])
        print(f"known keys found: {len(keys) / (time.process_time() - begin):,.0f} a CPU second")


def measure_cost(folder: Path, calls: int) -> None:
    """Run in turn without and with a ledger, over a network and with none; print the medians and their ratios."""
    archive = folder / "events.ndjson"
    with archive.open("wb") as file:
        file.writelines(line + b"\n" for line in generate(calls, identifies=0.0, customers=calls))
    for latency_s, workers in ((0.05, 16), (0.05, 64), (0.0, 16), (0.0, 64)):
        rates: dict[bool, list[float]] = {True: [], False: []}
        with responder(latency_s) as address:
            for turn in range(6):
                place = folder / f"{latency_s}-{workers}-{turn}" / "x.ledger"
                kept = bool(turn % 2)
                rates[kept].append(live_rate(address, archive, place if kept else None, workers))
        without, with_ledger = statistics.median(rates[False]), statistics.median(rates[True])
        print(
            f"{latency_s * 1000:.0f} ms, {workers} workers: {without:,.0f} calls a second without a ledger,"
            f" {with_ledger:,.0f} with one: {with_ledger / without:.1%}"
        )


def main() -> None:
    """Run all measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=6_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        measure_cost(Path(name), arguments.calls)
        measure_size_and_look_up(Path(name), arguments.rows)


if __name__ == "__main__":
    main()
