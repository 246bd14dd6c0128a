"""What the ledger costs: CPU of a live call, size, look-ups, a start on many rows, and a million dead letters.

    python benchmarks/ledger.py
    python benchmarks/ledger.py --against /path/to/another/voucherify-sync

Against another program, live runs take turns in pairs, at 50 ms latency and with 16 workers, and the median of the
pairs' ratios is printed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from events import generate
from measure import COMMAND, Cost, run
from responder import responder

from voucherify_sync.events import Event, Kind, Position, Request, record_key
from voucherify_sync.outcomes import Outcome, State
from voucherify_sync.state.ledger import Ledger, RunStart
from voucherify_sync.state.ledger_file import ProjectIdentity
from voucherify_sync.state.ledger_reader import LedgerReader
from voucherify_sync.stop import Stop

URL = "http://127.0.0.1:1"
KEY = "bench"
LATENCY_S, WORKERS = 0.05, 16


def live(program: list[str], folder: Path, address: str, archive: Path) -> float:
    """Return the CPU seconds of one live run of events with a new ledger."""
    folder.mkdir()
    settings = folder / "settings.yaml"
    settings.write_text(f"api: {{key: {KEY}, token: bench, url: '{address}'}}\n")
    cost = run(
        [
            *[*program, "replay", "-c", str(settings), "--yes", "-q", "--workers", str(WORKERS)],
            *["--ledger", str(folder / "x.ledger"), "--new-ledger", str(archive)],
        ]
    )
    assert cost.exit_code == 0, cost.stderr
    return cost.cpu_s


def compare_live(folder: Path, calls: int, other: str, pairs: int) -> None:
    """Print what a live call costs here, as a multiple of what it costs another program."""
    archive = folder / "events.ndjson"
    with archive.open("wb") as file:
        file.writelines(generate(calls, identifies=0.0, customers=calls))
    ratios, own = [], []
    with responder(LATENCY_S) as address:
        for pair in range(pairs):
            here = live(COMMAND, folder / f"own-{pair}", address, archive)
            there = live([other], folder / f"other-{pair}", address, archive)
            own.append(1e6 * here / calls)
            ratios.append(here / there)
    print(
        f"CPU of a live call with ledger ({LATENCY_S * 1000:.0f} ms, {WORKERS} workers, {calls:,} events): "
        f"{statistics.median(own):,.0f} µs, {statistics.median(ratios):.2f} times the other's "
        f"({min(ratios):.2f} to {max(ratios):.2f} in {pairs} pairs)"
    )


def requests(count: int, *, with_event: bool) -> Iterator[Request]:
    """Make the requests of events."""
    for number, line in enumerate(generate(count, identifies=0.0) if with_event else [b"{}"] * count):
        event = Event(
            Position("a", number), "track", "Order Completed", f"message-{number}", {}, line.rstrip()
        )
        yield Request(event, Kind.EVENT, f"u-{number}", b"{}")


def fill(path: Path, state: State, requests: Iterator[Request]) -> None:
    """Let a run leave records in one state."""
    start = RunStart("bench", "replay", "", ProjectIdentity.of(URL, KEY))
    ledger = Ledger.open(path, start, stop=Stop(), is_new=True)
    for number, request in enumerate(requests):
        reason, response = ("invalid_payload", b'{"key":"invalid_payload","code":400}')
        ledger.record(Outcome(request.event, state, reason, None, request, 400, response))
        if number % 5_000 == 0:
            ledger.flush()
    ledger.close()


def own_command(folder: Path, *words: str, stdin: Path | None = None) -> Cost:
    """Run a command of this program on the ledger of a folder."""
    settings = folder / "settings.yaml"
    settings.write_text(f"api: {{key: {KEY}, token: bench, url: '{URL}'}}\n")
    ledger = str(folder / "x.ledger")
    return run([*COMMAND, words[0], "-c", str(settings), "--ledger", ledger, *words[1:]], stdin=stdin)


def measure_delivered(folder: Path, rows: int) -> None:
    """Print size, look-ups and start of a ledger of delivered records."""
    folder.mkdir()
    fill(folder / "x.ledger", State.DELIVERED, requests(rows, with_event=False))
    print(f"{rows:,} delivered records: {(folder / 'x.ledger').stat().st_size / 1e6:.1f} MB")
    keys = [record_key(each.event) for each in requests(min(rows, 200_000), with_event=False)]
    with LedgerReader(folder / "x.ledger") as reader:
        begin = time.process_time()
        for start in range(0, len(keys), 200):
            assert None not in reader.look_up(keys[start : start + 200])
        print(f"known keys found: {len(keys) / (time.process_time() - begin):,.0f} a CPU second")
    empty = folder / "empty"
    empty.mkdir()
    fill(empty / "x.ledger", State.DELIVERED, iter(()))
    costs = {place: [] for place in (folder, empty)}
    for _ in range(5):
        for place, spent in costs.items():
            cost = own_command(place, "replay", "--yes", "-q", "-", stdin=Path("/dev/null"))
            assert cost.exit_code == 0, cost.stderr
            spent.append(cost.cpu_s)
    many, none = (statistics.median(spent) for spent in costs.values())
    print(f"start of a run on it: {many:.2f} CPU s; on an empty ledger {none:.2f}")


def measure_failed(folder: Path, rows: int) -> None:
    """Print size of a ledger of failed records with their events, and how long commands on it take."""
    folder.mkdir()
    fill(folder / "x.ledger", State.FAILED, requests(rows, with_event=True))
    size = (folder / "x.ledger").stat().st_size
    print(f"{rows:,} failed records of 1.2 KB: {size / 1e6:,.0f} MB, {size / rows:,.0f} bytes each")
    status = own_command(folder, "status", "--json")
    assert status.exit_code == 0, status.stderr
    with responder() as address:
        settings = folder / "live.yaml"
        settings.write_text(f"api: {{key: {KEY}, token: bench, url: '{address}'}}\n")
        report = folder / "report.json"
        words = ["retry", "-c", str(settings), "--ledger", str(folder / "x.ledger"), "--same-project"]
        retry = run([*COMMAND, *words, "--yes", "-q", "--max-calls", "1", "--report", str(report)])
    assert json.loads(report.read_bytes())["api"]["calls"] == 1, retry.stderr
    print(f"status: {status.wall_s:.1f} s, {status.peak_mb:.0f} MB")
    print(f"retry to its first call, and stop: {retry.wall_s:.1f} s")


def main() -> None:
    """Run all measures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--calls", type=int, default=6_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--against", metavar="PROGRAM", help="another voucherify-sync")
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if arguments.against:
            compare_live(Path(name), arguments.calls, arguments.against, arguments.pairs)
        measure_delivered(Path(name) / "delivered", arguments.rows)
        measure_failed(Path(name) / "failed", arguments.rows)


if __name__ == "__main__":
    main()
