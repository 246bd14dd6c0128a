"""What it costs to fold an archive by customer: events per CPU second, peak memory, and the requests that it takes.

    python benchmarks/fold.py [--sizes 1000000,4000000]
    python benchmarks/fold.py --orders 1000000

Each size is measured in processes of its own: the whole first walk of `replay --bulk`, the same walk without the fold
(what is left is the fold's), and the bulk requests beside the least that their bytes allow.

With --orders, that many events of a tenth as many orders are folded, written as requests and remembered, beside a
run of the same events in bulk, which folds their customers; a request holds 2,000.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from tempfile import TemporaryFile

import msgspec
from measure import run, save

from voucherify_sync.api import Mode, ReplayOptions, replay
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.mapping.fold import CustomerFold
from voucherify_sync.run.bulk_run import fold_updates
from voucherify_sync.run.pipeline import Pipeline
from voucherify_sync.settings import Settings
from voucherify_sync.settings.types import Delivery, Orders
from voucherify_sync.sources.discover import find_sources
from voucherify_sync.sources.reader import Reader
from voucherify_sync.state.deduplication import Deduplicator, ResendPolicy
from voucherify_sync.state.ledger_reader import LedgerReader
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.bulk import MAX_BYTES, ORDERS, BulkLimits, pack

CUSTOMERS = 67_567 / 1_000_000
"""Customers an event, as in the archive that was measured for the design."""


class Nowhere(CustomerFold):
    """Takes updates and keeps none."""

    def add(
        self,
        source_id: str,
        payload: bytes,
        time: int,
        told_time: int,
        message_id: str,
        news: str | None,
    ) -> None:
        """Forget it."""


def walk(archive: Path, *, folds: bool) -> dict[str, float]:
    """Read and map an archive; fold its customers and make up their requests, if that is wanted."""
    begun = time.process_time()
    stop, history = Stop(), Deduplicator(LedgerReader(), ResendPolicy())
    pipeline = Pipeline(Settings(), Selection(), folds=True, refers=True)
    reader = Reader(find_sources([str(archive)], stdin_is_terminal=True).sources, stop)
    with CustomerFold() if folds else Nowhere() as fold:
        for block in reader:
            for mapped in pipeline.batches(block):
                fold_updates(fold, mapped, history.decide(mapped))
        chunks = [(chunk.size_bytes, len(chunk.items)) for chunk in pack(fold.customers(), BulkLimits())]
        return {
            "cpu_s": time.process_time() - begun,
            "updates": fold.updates,
            "customers": sum(items for _, items in chunks),
            "requests": len(chunks),
            "bytes": sum(size for size, _ in chunks),
        }


EVENTS_OF_AN_ORDER = 10


def write_orders(archive: Path, count: int) -> None:
    """Write events of orders of three products each; the events of one order lie far apart."""
    orders = count // EVENTS_OF_AN_ORDER
    names = ["Order Completed", *["Order Updated"] * (EVENTS_OF_AN_ORDER - 1)]
    products = [
        {
            "product_id": f"p-{number}",
            "sku": f"S-{number}",
            "name": f"Product {number}",
            "price": 19.5,
            "quantity": 2,
        }
        for number in range(3)
    ]
    with archive.open("wb") as lines:
        for number in range(count):
            turn, order = divmod(number, orders)
            event = {
                "type": "track",
                "event": names[turn],
                "messageId": f"message-{number}",
                "userId": f"user-{order % (orders // 2 or 1)}",
                "timestamp": f"2024-03-{turn + 1:02}T10:15:{order % 60:02}.000Z",
                "context": {"ip": "203.0.113.7", "library": {"name": "analytics.js", "version": "2.11.1"}},
                "properties": {
                    "order_id": f"order-{order}",
                    "email": f"user-{order}@example.com",
                    "total": 120.25,
                    "currency": "EUR",
                    "coupon": f"C{turn}",
                    "products": products,
                },
            }
            lines.write(msgspec.json.encode(event) + b"\n")


def dry_run(archive: Path, settings: Settings) -> dict[str, float]:
    """Make a dry run of which nobody takes the lines."""
    begun = time.process_time()
    with TemporaryFile() as output:
        options = ReplayOptions(source=archive, settings=settings, mode=Mode.DRY_RUN, jobs=1)
        report = replay(options, output=output)
    made = report.orders or report.bulk
    assert made
    return {
        "cpu_s": time.process_time() - begun,
        "made": float(made.delivered),
        "requests": float(made.requests),
    }


SETTINGS = {
    "--as-customers": Settings(delivery=Delivery(customers="bulk")),
    "--as-orders": Settings(orders=Orders(disabled=False)),
}


def compare_orders(count: int) -> None:
    """Print what orders take beside customers in bulk."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "orders.ndjson"
        write_orders(archive, count)
        customers, customers_mb = measured(archive, "--as-customers")
        orders, orders_mb = measured(archive, "--as-orders")
    ratio = orders["cpu_s"] / customers["cpu_s"]
    for name, said, peak_mb in (("customers", customers, customers_mb), ("orders", orders, orders_mb)):
        print(
            f"{name:>10} {said['made']:>9,.0f} {said['requests']:>6,.0f} requests {said['cpu_s']:>7.1f} CPU s"
            f" {peak_mb:>7.1f} MB"
        )
    print(f"orders take {ratio:.2f} times the CPU (limit 1.3)")
    assert orders["requests"] == math.ceil(orders["made"] / (ORDERS.max_items or 1))


def measured(archive: Path, part: str) -> tuple[dict[str, float], float]:
    """Return what a walk in a process of its own says, and its peak memory in MB."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        cost = run([sys.executable, __file__, part, str(archive)], stdout=out)
        assert cost.exit_code == 0, cost.stderr
        said: dict[str, float] = json.loads(out.read_text())
        return said, cost.peak_mb


def main() -> None:
    """Generate, walk and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", default="1000000,4000000", help="numbers of events, separated by commas")
    parser.add_argument("--save", action="store_true", help="keep the results, which the docs quote")
    parser.add_argument("--orders", type=int, help="measure this number of order events instead")
    options = parser.parse_args()
    if options.orders:
        compare_orders(options.orders)
        return
    sizes = [int(size) for size in options.sizes.split(",")]
    rows: list[dict[str, float]] = []
    print(
        f"{'events':>10} {'updates':>9} {'customers':>9} {'walk/CPU s':>11} {'fold/CPU s':>11} {'peak MB':>8}"
        f" {'requests':>8} {'least':>6}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            archive = Path(folder) / "events.ndjson"
            words = ["--customers", str(round(size * CUSTOMERS)), "--out", str(archive)]
            events = Path(__file__).with_name("events.py")
            subprocess.run([sys.executable, str(events), str(size), *words], check=True)
            whole, peak_mb = measured(archive, "--fold")
            bare, _ = measured(archive, "--bare")
            rows.append(
                {
                    "events": size,
                    "customers": whole["customers"],
                    "walk_per_cpu_s": size / whole["cpu_s"],
                    "requests": whole["requests"],
                    "peak_mb": peak_mb,
                }
            )
            print(
                f"{size:>10,} {whole['updates']:>9,} {whole['customers']:>9,} {size / whole['cpu_s']:>11,.0f}"
                f" {size / (whole['cpu_s'] - bare['cpu_s']):>11,.0f} {peak_mb:>8.1f}"
                f" {whole['requests']:>8} {math.ceil(whole['bytes'] / MAX_BYTES):>6}",
                flush=True,
            )
    if options.save:
        save("fold", {"sizes": rows})


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] in SETTINGS:
        print(json.dumps(dry_run(Path(sys.argv[2]), SETTINGS[sys.argv[1]])))
    elif len(sys.argv) == 3 and sys.argv[1] in ("--fold", "--bare"):
        print(json.dumps(walk(Path(sys.argv[2]), folds=sys.argv[1] == "--fold")))
    else:
        main()
