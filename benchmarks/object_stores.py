"""What it costs to read an archive from an object store in place of a disk.

    python benchmarks/object_stores.py [--events 200000]

Against a stand-in for S3 in a process of its own, of which nothing is counted: CPU of a dry run beside that of the same
files (limit: 1.1), many small objects, memory with one object of 300 MB, streamed and fetched whole, and CPU of a
listing of 20,000 keys.
"""

from __future__ import annotations

import argparse
import gzip
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from events import generate
from measure import COMMAND, Cost, run, save

BUCKET = "archive"
FILES = 40
KEYS = 20_000
LARGE_BYTES = 300_000_000
ROUNDS = 3


def start() -> Callable[[str, bytes], object]:
    """Start the stand-in, and let commands reach it; return what writes an object."""
    import boto3
    from moto.s3.models import s3_backends
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ.update(
        AWS_ACCESS_KEY_ID="bench",
        AWS_SECRET_ACCESS_KEY="bench",
        AWS_REGION="us-east-1",
        AWS_ENDPOINT_URL=f"http://{host}:{port}",
    )
    boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]).create_bucket(Bucket=BUCKET)
    backend = next(
        each for account in s3_backends.values() for each in account.values() if BUCKET in each.buckets
    )
    return lambda key, body: backend.put_object(BUCKET, key, body)


def command(*words: str) -> Cost:
    """Run a command to its end."""
    cost = run([*COMMAND, *words])
    if cost.exit_code:
        raise SystemExit(cost.stderr)
    return cost


def compare(folder: Path, prefix: str, *options: str) -> dict[str, float]:
    """Return CPU and wall seconds of a dry run of files, and of the same objects: the best of some rounds each."""
    words = ["replay", "--dry-run", "--progress", "none", *options]
    costs: dict[str, list[Cost]] = {"files": [], "objects": []}
    for _ in range(ROUNDS):
        costs["files"].append(command(*words, str(folder / prefix)))
        costs["objects"].append(command(*words, f"s3://{BUCKET}/{prefix}"))
    cpu_s = {name: min(each.cpu_s for each in measured) for name, measured in costs.items()}
    wall_s = {name: min(each.wall_s for each in measured) for name, measured in costs.items()}
    times = cpu_s["objects"] / cpu_s["files"]
    print(
        f"{prefix} {' '.join(options)}: {times:.2f} times the CPU of files ({cpu_s['files']:.2f} s),", end=" "
    )
    print(f"wall {wall_s['objects']:.2f} s beside {wall_s['files']:.2f} s")
    return {"times": times, **{f"{name}_cpu_s": each for name, each in cpu_s.items()}}


def fill(folder: Path, put: Callable[[str, bytes], object], events: int) -> None:
    """Write the archives to the folder and to the stand-in."""
    lines = [line.rstrip(b"\n") + b"\n" for line in generate(events)]
    for prefix, count in (("logs", FILES), ("small", KEYS // 10)):
        (folder / prefix).mkdir()
        each = events // count
        for number in range(count):
            data = gzip.compress(b"".join(lines[number * each :][:each]), 6)
            (folder / prefix / f"{number}.gz").write_bytes(data)
            put(f"{prefix}/{number}.gz", data)
    text = b"".join(lines[:10_000])
    put("large.ndjson", text * (LARGE_BYTES // len(text)))
    for number in range(KEYS):
        put(f"many/2024-{number % 365}/{number}.gz", b"x")


def measure(folder: Path, events: int) -> None:
    """Print and keep the figures."""
    results: dict[str, object] = {"events": events}
    results["logs"] = compare(folder, "logs", "--jobs", "1")
    results["logs_two_jobs"] = compare(folder, "logs", "--jobs", "2")
    results["small"] = compare(folder, "small", "--jobs", "1")
    large = f"s3://{BUCKET}/large.ndjson"
    streamed = command("coverage", "--jobs", "1", large)
    whole = command("prepare", "--jobs", "1", large, "--to", str(folder / "prepared"))
    print(f"300 MB: {streamed.peak_mb:.0f} MB of memory, {whole.peak_mb:.0f} MB where it is fetched whole")
    results["large_mb"] = {"streamed": streamed.peak_mb, "whole": whole.peak_mb}
    start_s = run([*COMMAND, "plan", "none"]).cpu_s
    listing_s = run([*COMMAND, "plan", f"s3://{BUCKET}/many/*/none"]).cpu_s
    print(
        f"{KEYS:,} keys: listed in {listing_s:.2f} s of CPU; {start_s:.2f} s of it are the start of a command"
    )
    results["keys"] = {"count": KEYS, "cpu_s": listing_s, "start_cpu_s": start_s}
    save("object_stores", results)


def main() -> None:
    """Fill a stand-in, and let a process that is small measure: memory of the one that starts a command counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(given.measure, given.events)
        return
    put = start()
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), put, given.events)
        words = ["--measure", folder, "--events", str(given.events)]
        subprocess.run([sys.executable, __file__, *words], check=True)


if __name__ == "__main__":
    main()
