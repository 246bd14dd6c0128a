"""What it costs to prepare an archive: CPU beside a dry run, what several processes gain, and memory.

    python benchmarks/prepare.py [--events 2000000] [--files 200]

Each figure is that of a process of its own, with the processes that it starts. CPU and time are compared as ratios of
one run. The requests of the prepared archive are compared with those of the dry run.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import COMMAND, Cost, run


def write_archive(folder: Path, events: int, files: int) -> None:
    """Write gzip files with the events of one archive, one after the other."""
    import gzip

    lines_of_file = -(-events // files)
    generator = Path(__file__).with_name("events.py")
    whole = folder.with_suffix(".ndjson")
    subprocess.run([sys.executable, str(generator), str(events), "--out", str(whole)], check=True)
    folder.mkdir()
    with whole.open("rb") as lines:
        for number in range(files):
            with gzip.open(folder / f"part-{number:05}.gz", "wb", compresslevel=1) as file:
                for _, line in zip(range(lines_of_file), lines, strict=False):
                    file.write(line)
    whole.unlink()


def prepared(archive: Path, to: Path, jobs: int) -> Cost:
    """Prepare an archive anew."""
    shutil.rmtree(to, ignore_errors=True)
    return run([*COMMAND, "prepare", "-q", "--jobs", str(jobs), str(archive), "--to", str(to)])


def dry_run(source: Path, jobs: int, out: Path) -> Cost:
    """Make a dry run, whose lines go to a file."""
    return run([*COMMAND, "replay", "--dry-run", "-q", "--jobs", str(jobs), str(source)], stdout=out)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--files", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        archive, to, out = Path(folder) / "archive", Path(folder) / "prepared", Path(folder) / "out"
        write_archive(archive, options.events, options.files)
        costs = {}
        for jobs in (1, 2):
            costs["prepare", jobs] = prepared(archive, to, jobs)
            costs["dry run", jobs] = dry_run(archive, jobs, out)
        costs["replay of it", 1] = dry_run(to, 1, Path(folder) / "of-prepared")
        for (what, jobs), cost in costs.items():
            assert cost.exit_code == 0, cost.stderr
            print(
                f"{what:<13} {jobs} {'process' if jobs == 1 else 'processes':<9} {cost.wall_s:7.1f} s"
                f" {cost.cpu_s:7.1f} CPU s {cost.peak_mb:7.1f} MB"
            )
        one, two = costs["prepare", 1], costs["prepare", 2]
        print(
            f"prepare takes {one.cpu_s / costs['dry run', 1].cpu_s:.2f} times the CPU of a dry run (limit 1.1)"
        )
        print(f"two processes are {one.wall_s / two.wall_s:.2f} times as fast as one (limit 1.6)")
        print(
            f"prepare with two takes {two.wall_s / costs['dry run', 2].wall_s:.2f} of the time of a dry run with two"
        )
        lines = [sorted(file.read_bytes().splitlines()) for file in (out, Path(folder) / "of-prepared")]
        assert lines[0] == lines[1], "the requests differ"


if __name__ == "__main__":
    main()
