"""How a dry run compares: one archive, seeded, through ours and through the peers at hand, each checked and measured.

    python benchmarks/compare.py [--events 1000000] [--rounds 3] [--linear]

Peers: jq with the default mapping written as a filter, and jq that only reads and writes; Segment's own mapping-kit on
Node (see mapping_kit.js); a script with json.loads and the mapping by hand; an orjson round trip without any mapping,
as the floor of what parses everything; `gzip -dc`. In each round all of them run in turn, and the median counts.
Events per CPU second count the CPU time of the whole process; of several processes only the wall time is told.
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
from statistics import median
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
        jobs: processes.
    """

    name: str
    command: tuple[str, ...]
    share: float = 1.0
    maps: bool = True
    reads_stdin: bool = True
    gzipped: bool = False
    jobs: int = 1


def rivals(folder: Path) -> Iterator[Rival]:
    """Yield those that are at hand; ours first."""
    report = ["--report", str(folder / "report.json")]
    plain, zipped = str(folder / "1.0.ndjson"), str(folder / "1.0.ndjson.gz")
    for jobs in (1, os.cpu_count() or 1):
        ours = [*COMMAND, "replay", "--dry-run", "-q", "--jobs", str(jobs), *report]
        name = "voucherify-sync" if jobs == 1 else f"voucherify-sync, {jobs} jobs"
        yield Rival(name, (*ours, plain), reads_stdin=False, jobs=jobs)
        yield Rival(f"{name}, .gz", (*ours, zipped), reads_stdin=False, gzipped=True, jobs=jobs)
    if shutil.which("gzip"):
        yield Rival("gzip -dc alone", ("gzip", "-dc", zipped), maps=False, reads_stdin=False, gzipped=True)
    if importlib.util.find_spec("orjson"):
        yield Rival("orjson round trip", (sys.executable, str(HERE / "round_trip.py")), maps=False)
    yield Rival("json.loads, by hand", (sys.executable, str(HERE / "by_hand.py")), share=0.2)
    if has_mapping_kit():
        yield Rival("Segment's mapping-kit", ("node", str(HERE / "mapping_kit.js")), share=0.1)
    if shutil.which("jq"):
        yield Rival("jq -c .", ("jq", "-c", "."), share=0.05, maps=False)
        yield Rival("jq, the same mapping", ("jq", "-c", "-f", str(HERE / "mapping.jq")), share=0.05)


def has_mapping_kit() -> bool:
    """Tell whether Node finds Segment's package."""
    asked = ["node", "-e", "require.resolve('@segment/actions-core')"]
    return shutil.which("node") is not None and run(asked).exit_code == 0


def main() -> None:
    """Generate, run all in turn, check and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--linear", action="store_true", help="also compare archives of several sizes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        costs: dict[Rival, list[Cost]] = {}
        for _ in range(options.rounds):
            for rival in rivals(folder):
                cost = measured(rival, folder, int(options.events * rival.share))
                costs.setdefault(rival, []).append(cost)
        print(f"{options.events:,} events of 1.2 KB on {machine()}\n")
        show(costs, options.events)
        if options.linear:
            linear(folder, options.events)


def show(costs: dict[Rival, list[Cost]], events: int) -> None:
    """Print a line for each; the first one is what the others are compared with."""
    print("| | events/CPU s | events/s | peak MB | CPU: ours is | time: ours is |\n|---|--:|--:|--:|--:|--:|")
    first: tuple[float, float] | None = None
    for rival, rounds in costs.items():
        count = int(events * rival.share)
        per_cpu = count / median(cost.cpu_s for cost in rounds)
        per_s = count / median(cost.wall_s for cost in rounds)
        first = first or (per_cpu, per_s)
        peak_mb = f"{max(cost.peak_mb for cost in rounds):.0f}"
        cpu, cpu_ratio = (f"{per_cpu:,.0f}", f"{first[0] / per_cpu:.2f} times as fast")
        if rival.jobs > 1:
            cpu = cpu_ratio = peak_mb = ""
        print(
            f"| {rival.name} | {cpu} | {per_s:,.0f} | {peak_mb} | {cpu_ratio} "
            f"| {first[1] / per_s:.2f} times as fast |"
        )


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
    """Print what an event costs in archives of several sizes."""
    print("\n| events | CPU µs an event | peak MB |\n|--:|--:|--:|")
    for times in (1 / 16, 1 / 4, 1, 4):
        count = int(events * times)
        archive = archive_of(folder, times, count)
        command = [*COMMAND, "replay", "--dry-run", "-q", "--jobs", "1", str(archive)]
        cost = run(command, stdout=folder / "out")
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
