"""How fast and how lean a dry run is: events per CPU second and peak memory at several sizes of one archive.

python benchmarks/dry_run.py [--sizes 20000,200000]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from events import generate
from measure import COMMAND, run


def main() -> None:
    """Generate, run and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="20000,200000", help="numbers of events, separated by commas")
    sizes = [int(size) for size in parser.parse_args().sizes.split(",")]
    print(f"{'events':>10} {'MB':>6} {'CPU s':>7} {'wall s':>7} {'events/CPU s':>13} {'peak MB':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            archive = Path(folder) / f"{size}.ndjson"
            with archive.open("wb") as file:
                file.writelines(generate(size))
            cost = run([*COMMAND, "replay", "--dry-run", "-q", str(archive)], stdout=Path(folder) / "out")
            assert cost.exit_code == 0, cost.stderr
            megabytes = archive.stat().st_size / 1e6
            print(
                f"{size:>10,} {megabytes:>6.0f} {cost.cpu_s:>7.2f} {cost.wall_s:>7.2f}"
                f" {size / cost.cpu_s:>13,.0f} {cost.peak_mb:>8.1f}"
            )
            archive.unlink()


if __name__ == "__main__":
    main()
