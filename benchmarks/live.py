"""How well a live run uses what it is given: the processor, workers against a latency, and the limit of the API.

    python benchmarks/live.py

Against a server that only answers: calls a second with no latency, and at 50 ms beside `workers / 0.05`. Against the
sandbox, under 600 calls a minute: the calls that were made and how many were throttled.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from events import generate
from measure import COMMAND, run
from responder import responder


@contextmanager
def sandbox(*options: str) -> Iterator[str]:
    """Run a sandbox of its own; yield its address."""
    with subprocess.Popen(
        [*COMMAND, "sandbox", "--port", "0", *options],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stderr is not None
        address = next(
            found[0] for line in process.stderr if (found := re.search(r"http://[\d.]+:\d+", line))
        )
        try:
            yield address
        finally:
            process.terminate()


def replay(folder: Path, address: str, events: int, workers: int, *options: str) -> dict[str, object]:
    """Replay so many events to a sandbox; return the report, with the wall seconds of sending."""
    archive = folder / f"{events}.ndjson"
    if not archive.exists():
        with archive.open("wb") as file:
            file.writelines(line + b"\n" for line in generate(events, customers=events))
    settings = folder / "settings.yaml"
    settings.write_text(f"api: {{key: bench, token: bench, url: '{address}'}}\n")
    report = folder / "report.json"
    cost = run(
        [
            *[*COMMAND, "replay", "-c", str(settings), "--yes", "-q", "--workers", str(workers)],
            *["--report", str(report), *options, str(archive)],
        ]
    )
    facts: dict[str, object] = json.loads(report.read_text())
    return {"cpu_s": cost.cpu_s, **facts}


def main() -> None:
    """Run both measures and print them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"{'latency':>8} {'workers':>8} {'calls/s':>8} {'workers / latency':>18} {'CPU ms/call':>12}")
        for latency_s, workers, events in (
            (0.0, 16, 20_000),
            (0.05, 8, 2_000),
            (0.05, 32, 6_000),
            (0.05, 64, 20_000),
        ):
            with responder(latency_s) as address:
                facts = replay(folder, address, events, workers)
            rate = facts["api"]["calls"] / facts["duration_s"]
            share = f"{rate * latency_s / workers:.1%}" if latency_s else ""
            cost = 1000 * facts["cpu_s"] / facts["api"]["calls"]
            print(f"{latency_s * 1000:>5.0f} ms {workers:>8} {rate:>8.0f} {share:>18} {cost:>12.2f}")
        with sandbox("--limit", "600/min") as address:
            facts = replay(folder, address, 2_000, 32, "--max-duration", "150s")
        calls, throttled = facts["api"]["calls"], facts["api"]["throttled"]
        print(f"600/min for {facts['duration_s']:.0f} s: {calls} calls, {throttled} throttled")


if __name__ == "__main__":
    main()
