"""How a dry run compares: one archive, seeded, through ours and through the peers at hand, each checked and measured.

    python benchmarks/compare.py [--events 1000000] [--rounds 3] [--linear] [--save]

Peers: jq with the default mapping written as a filter, `metadata` included, and jq that only reads and writes;
Segment's own mapping-kit on Node (see mapping_kit.js); a script with json.loads and the mapping by hand; msgspec's
generic decoder and encoder without any mapping, as the floor of what parses everything; `gzip -dc`. In each round
all of them run in turn, and the median counts. The CPU time is that of a process and of all that it starts.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from by_hand import request_of
from events import generate
from measure import COMMAND, Cost, machine, run, save, version_of

HERE = Path(__file__).resolve().parent
EVENTS_OF_FILE = 2_500
"""Some hundred kilobytes of gzip."""
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
    plain, zipped, files = (str(folder / name) for name in ("1.0.ndjson", "1.0.ndjson.gz", "files"))
    for jobs in (1, os.cpu_count() or 1):
        ours = [*COMMAND, "replay", "--dry-run", "-q", "--jobs", str(jobs), *report]
        name = "voucherify-sync" if jobs == 1 else f"voucherify-sync, {jobs} jobs"
        yield Rival(name, (*ours, plain), reads_stdin=False, jobs=jobs)
        yield Rival(f"{name}, .gz", (*ours, zipped), reads_stdin=False, gzipped=True, jobs=jobs)
        yield Rival(f"{name}, many .gz", (*ours, files), reads_stdin=False, gzipped=True, jobs=jobs)
    if shutil.which("gzip"):
        yield Rival("gzip -dc alone", ("gzip", "-dc", zipped), maps=False, reads_stdin=False, gzipped=True)
    yield Rival("msgspec, generic", (sys.executable, str(HERE / "round_trip.py")), maps=False)
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
    parser.add_argument("--save", action="store_true", help="keep the results, which the docs quote")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        costs: dict[Rival, list[Cost]] = {}
        for _ in range(options.rounds):
            for rival in rivals(folder):
                cost = measured(rival, folder, int(options.events * rival.share))
                costs.setdefault(rival, []).append(cost)
        results = {"events": options.events, "versions": versions(), "rivals": told(costs, options.events)}
        show(results)
        if options.linear:
            results["linear"] = linear(folder, options.events)
    if options.save:
        save("compare", results)


def versions() -> dict[str, str]:
    """Return what the peers are."""
    found = {name: version(name) for name in ("voucherify-sync", "msgspec")}
    for name, asked in {"jq": ("jq", "--version"), "node": ("node", "--version")}.items():
        if shutil.which(name):
            found[name] = version_of(*asked)
    return found


def told(costs: dict[Rival, list[Cost]], events: int) -> list[dict[str, Any]]:
    """Return a row for each; the first one is what the others are compared with."""
    rows: list[dict[str, Any]] = []
    for rival, rounds in costs.items():
        count = int(events * rival.share)
        cpu_s, wall_s = median(cost.cpu_s for cost in rounds), median(cost.wall_s for cost in rounds)
        row = {
            "name": rival.name,
            "cpu_us": 1e6 * cpu_s / count,
            "wall_us": 1e6 * wall_s / count,
            "peak_mb": max(cost.peak_mb for cost in rounds),
            "jobs": rival.jobs,
        }
        first = rows[0] if rows else row
        rows.append(
            row
            | {"cpu_ratio": row["cpu_us"] / first["cpu_us"], "wall_ratio": row["wall_us"] / first["wall_us"]}
        )
    return rows


def show(results: dict[str, Any]) -> None:
    """Print the table."""
    print(f"{results['events']:,} events of 1.4 KB on {machine()}; {results['versions']}\n")
    print(
        "| | CPU µs an event | µs an event | peak MB | CPU, ours is 1 | time, ours is 1 |\n|---|--:|--:|--:|--:|--:|"
    )
    for row in results["rivals"]:
        print(
            f"| {row['name']} | {row['cpu_us']:.1f} | {row['wall_us']:.1f} | {row['peak_mb']:.0f} "
            f"| {row['cpu_ratio']:.2f} | {row['wall_ratio']:.2f} |"
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
            file.writelines(generate(count, size=1_400, metadata=True))
    return archive


def zipped(archive: Path) -> None:
    """Gzip an archive beside itself, in one piece and in many."""
    target = archive.with_name(f"{archive.name}.gz")
    if target.exists():
        return
    with archive.open("rb") as source, gzip.open(target, "wb", compresslevel=6) as file:
        shutil.copyfileobj(source, file, 1 << 20)
    files = archive.with_name("files")
    files.mkdir()
    with archive.open("rb") as source:
        for number, lines in enumerate(iter(lambda: list(islice(source, EVENTS_OF_FILE)), [])):
            (files / f"{number:06}.gz").write_bytes(gzip.compress(b"".join(lines), compresslevel=6))


def check(out: Path, archive: Path, count: int) -> None:
    """Compare the number of lines, and a sample of the bodies with the mapping by hand."""
    lines = 0
    with out.open("rb") as made, archive.open("rb") as given:
        for lines, (line, event) in enumerate(zip(made, given, strict=True), 1):
            if lines % SAMPLE == 0:
                body = json.loads(line)
                assert body.get("body", body) == request_of(json.loads(event)), line
    assert lines == count


def linear(folder: Path, events: int) -> list[dict[str, float]]:
    """Print what an event costs in archives of several sizes, and return it."""
    rows = []
    print("\n| events | CPU µs an event | peak MB |\n|--:|--:|--:|")
    for times in (1 / 16, 1 / 4, 1):
        count = int(events * times)
        archive = archive_of(folder, times, count)
        command = [*COMMAND, "replay", "--dry-run", "-q", "--jobs", "1", str(archive)]
        cost = run(command, stdout=folder / "out")
        rows.append({"events": count, "cpu_us": 1e6 * cost.cpu_s / count, "peak_mb": cost.peak_mb})
        print(f"| {count:,} | {rows[-1]['cpu_us']:.2f} | {cost.peak_mb:.0f} |", flush=True)
    return rows


if __name__ == "__main__":
    main()
