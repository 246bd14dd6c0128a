"""How a dry run compares: one archive, seeded, through ours and through the peers at hand, each checked and measured.

    python benchmarks/compare.py [--events 1000000]

Peers: jq with the default mapping written as a filter, and jq that only reads and writes; a script with json.loads and
the mapping by hand; an orjson round trip without any mapping, as the floor of what parses everything; `gzip -dc`.
Events per CPU second count the CPU time of the whole process and of its children.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from by_hand import request_of
from events import generate
from measure import COMMAND, Cost, run

HERE = Path(__file__).resolve().parent
SAMPLE = 997
"""Of so many lines one body is checked."""


class Rival(NamedTuple):
    """One way to go through the archive.

    Attributes:
        name: as in the table.
        command: its words.
        share: of the events it is given; slow ones get fewer.
        maps: it makes requests, whose number is checked.
        reads_stdin: the archive is its standard input.
        gzipped: it is given the gzipped archive.
    """

    name: str
    command: list[str]
    share: float = 1.0
    maps: bool = True
    reads_stdin: bool = True
    gzipped: bool = False


def rivals(folder: Path) -> Iterator[Rival]:
    """Yield those that are at hand; ours first."""
    ours = [*COMMAND, "replay", "--dry-run", "-q"]
    report = ["--report", str(folder / "report.json")]
    plain, zipped = str(folder / "1.0.ndjson"), str(folder / "1.0.ndjson.gz")
    yield Rival("voucherify-sync", [*ours, *report, plain], reads_stdin=False)
    yield Rival("voucherify-sync, .gz", [*ours, *report, zipped], reads_stdin=False, gzipped=True)
    if shutil.which("gzip"):
        yield Rival("gzip -dc alone", ["gzip", "-dc", zipped], maps=False, reads_stdin=False, gzipped=True)
    if importlib.util.find_spec("orjson"):
        yield Rival("orjson round trip", [sys.executable, str(HERE / "round_trip.py")], maps=False)
    yield Rival("json.loads, by hand", [sys.executable, str(HERE / "by_hand.py")], share=0.2)
    if shutil.which("jq"):
        yield Rival("jq -c .", ["jq", "-c", "."], share=0.05, maps=False)
        yield Rival("jq, the same mapping", ["jq", "-c", "-f", str(HERE / "mapping.jq")], share=0.05)


def main() -> None:
    """Generate, run each in turn, check and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--linear", action="store_true", help="also compare 1/16, 1/4 and all of the events")
    options = parser.parse_args()
    print(f"{options.events:,} events of 1.2 KB on {machine()}\n")
    print("| | events/CPU s | CPU s | wall s | peak MB | ours is |\n|---|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = None
        for rival in rivals(folder):
            count = int(options.events * rival.share)
            cost = measured(rival, folder, count)
            rate = count / cost.cpu_s
            first = first or rate
            print(
                f"| {rival.name} | {rate:,.0f} | {cost.cpu_s:.2f} | {cost.wall_s:.2f} | {cost.peak_mb:.0f} "
                f"| {first / rate:.2f} times as fast |",
                flush=True,
            )
        if options.linear:
            linear(folder, options.events)


def measured(rival: Rival, folder: Path, count: int) -> Cost:
    """Run one, and check what came out."""
    archive = archive_of(folder, rival.share, count)
    if rival.gzipped:
        zipped(archive)
    out = folder / "out"
    cost = run(rival.command, stdin=archive if rival.reads_stdin else None, stdout=out)
    assert cost.exit_code == 0, cost.stderr
    if rival.maps:
        check(out, archive, count)
    if rival.name.startswith("voucherify-sync"):
        report = json.loads((folder / "report.json").read_text())
        assert report["events"]["read"] == sum(report["outcomes"].values()) == count
    return cost


def archive_of(folder: Path, share: float, count: int) -> Path:
    """Return the archive of so many events; it is generated once."""
    archive = folder / f"{share}.ndjson"
    if not archive.exists():
        with archive.open("wb") as file:
            file.writelines(generate(count))
    return archive


def zipped(archive: Path) -> None:
    """Gzip an archive beside itself."""
    target = archive.with_name(f"{archive.name}.gz")
    if not target.exists():
        with archive.open("rb") as source, gzip.open(target, "wb", compresslevel=6) as file:
            shutil.copyfileobj(source, file, 1 << 20)


def check(out: Path, archive: Path, count: int) -> None:
    """Compare the number of lines, and a sample of the bodies with the mapping by hand."""
    lines = 0
    with out.open("rb") as made, archive.open("rb") as given:
        for lines, (line, event) in enumerate(zip(made, given, strict=True), 1):
            if lines % SAMPLE == 0:
                body = json.loads(line)
                assert body.get("body", body) == request_of(json.loads(event)), line
    assert lines == count


def linear(folder: Path, events: int) -> None:
    """Print what an event costs in archives of three sizes."""
    print("\n| events | CPU µs an event | peak MB |\n|--:|--:|--:|")
    for part in (16, 4, 1):
        count = events // part
        archive = archive_of(folder, 1 / part, count)
        cost = run([*COMMAND, "replay", "--dry-run", "-q", str(archive)], stdout=folder / "out")
        print(f"| {count:,} | {1e6 * cost.cpu_s / count:.2f} | {cost.peak_mb:.0f} |", flush=True)


def machine() -> str:
    """Name the machine and the interpreter."""
    names = iter(_values(Path("/proc/cpuinfo"), "model name"))
    processor = next(names, platform.processor())
    return f"{os.cpu_count()} cores of {processor}, {platform.system()}, Python {platform.python_version()}"


def _values(file: Path, key: str) -> Iterable[str]:
    if file.exists():
        for line in file.read_text().splitlines():
            if line.startswith(key):
                yield line.partition(":")[2].strip()


if __name__ == "__main__":
    main()
