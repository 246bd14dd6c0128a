"""Make docs/performance.md from the last results of the benchmarks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from generating.markdown import page as page_of

RESULTS: Final = Path(__file__).resolve().parents[2] / "benchmarks" / "results"

_PEERS: Final = """\
`python benchmarks/compare.py` makes an archive of seeded events of 1.4 KB, with `metadata` and the context of web
events. It maps the archive with a dry run and with other tools, checks the number of requests and a sample of their
bodies, and prints this table of medians. The CPU time covers the whole process, including its start, and all processes
that it starts. The last two columns compare each row with one process of voucherify-sync.

{events:,} events on {machine}; {versions}.

| | CPU µs an event | µs an event | peak MB | CPU, ours is 1 | time, ours is 1 |
|---|--:|--:|--:|--:|--:|
{rivals}

The dry run does more than the others: filters, counts of every row that matched and of every value that is not mapped,
duplicates by `messageId`, and the report. msgspec and `jq -c .` only read and write each event; they map nothing.

The cost of an event does not grow with the archive, except that keys go to disk beyond a million. In a small archive
most of the cost is the start of the process:

| events | CPU µs an event | peak MB |
|--:|--:|--:|
{linear}"""

_ROADS: Final = """\
## Every command and setting

All commands and settings share one pipeline, so none of them is much slower than the others.
`python benchmarks/roads.py`, {events:,} events with `metadata`, one process. On the same lines in the same run,
msgspec's generic decoder and encoder alone take {floor:.1f} µs an event.

| what | CPU µs an event | times the first | times msgspec alone |
|---|--:|--:|--:|
{roads}

`--bulk` reads the input twice: once for the customers, once for the events."""

_HOW: Final = """\
## How

- Only the keys of an event that the settings use are decoded. The context, which is most of a web event, is skipped.
- The rules are compiled into a tree of the keys that rows read. One pass along it maps an event. What happens to an
  object depends on its keys only, and is remembered by them. Requests are typed, and encoded as they are.
- While nothing is sent, `--jobs` processes map a large archive, by default one per core. Each reads whole files of up
  to 1 MiB, or blocks of larger files. De-duplication and all counts follow in input order. One process maps pipes,
  archives of less than 16 MiB on disk, and inputs with `--limit` or `--max-errors`.
- All counts are exact, except one: of repeated records whose requests differ, one in 256 is counted as equal.
- isal unpacks gzip. Memory stays flat, except for the keys of records: at most 100 bytes each, in temporary files
  beyond a million."""

_OTHERS: Final = """\
## Other figures

| what | figure | script |
|---|---|---|
| first reading of `--bulk`, one process | {walk:,.0f} events a CPU second | `benchmarks/fold.py` |
| a million events folded into {customers:,} customers | {requests} requests, {peak:.0f} MB | `benchmarks/fold.py` |
| live run, no latency, 16 workers, with ledger and report | 1,600 calls/s | `benchmarks/live.py` |
| the same at 50 ms, 16 and 64 workers | 303 and 1,142 calls/s; latency allows 320 and 1,280 | `benchmarks/live.py` |
| ledger, a million delivered records | 36 MB; 295,000 a CPU second are recognised | `benchmarks/ledger.py` |
| a start with that ledger | 0.24 CPU s, as with an empty one | `benchmarks/ledger.py` |
| ledger, a million failed records of 1.2 KB | 886 MB; `status` in 1.4 s and 47 MB | `benchmarks/ledger.py` |
| `retry` to its first call | 0.5 s | `benchmarks/ledger.py` |
| 100, 60, 200 a minute (as 2, 6, 6 s) | 93 to 100 % used in 30 s, no call throttled | `benchmarks/limits.py` |
| the same beside a client that takes a third | 96 to 111 %; no call throttled | `benchmarks/limits.py` |

The used share counts against what the reserve leaves, and includes the first windows. Live runs are measured
against a server that only answers, in a process of its own on the second core. The machine is small and shared: compare
the ratios, not the numbers."""


def results(name: str) -> dict[str, Any]:
    """Return the last result of a benchmark."""
    kept: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return kept


def page() -> str:
    """Return the page."""
    peers, roads, fold = results("compare"), results("roads"), results("fold")
    first = next(iter(roads["roads"].values()))
    million = next(row for row in fold["sizes"] if row["events"] == 1_000_000)
    return page_of(
        "Performance",
        "benchmarks/results",
        _PEERS.format(
            events=peers["events"],
            machine=peers["machine"],
            versions=", ".join(f"{name} {version}" for name, version in peers["versions"].items()),
            rivals="\n".join(
                f"| {row['name']} | {row['cpu_us']:.1f} | {row['wall_us']:.1f} | {row['peak_mb']:.0f} "
                f"| {row['cpu_ratio']:.2f} | {row['wall_ratio']:.2f} |"
                for row in peers["rivals"]
            ),
            linear="\n".join(
                f"| {row['events']:,} | {row['cpu_us']:.2f} | {row['peak_mb']:.0f} |"
                for row in peers["linear"]
            ),
        ),
        _ROADS.format(
            events=roads["events"],
            floor=roads["floor_us"],
            roads="\n".join(
                f"| {name} | {cost:.1f} | {cost / first:.2f} | {cost / roads['floor_us']:.2f} |"
                for name, cost in roads["roads"].items()
            ),
        ),
        _HOW,
        _OTHERS.format(
            walk=million["walk_per_cpu_s"],
            customers=int(million["customers"]),
            requests=int(million["requests"]),
            peak=million["peak_mb"],
        ),
    )
