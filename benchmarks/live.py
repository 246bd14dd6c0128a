"""How well a live run uses what it is given: workers against a latency, and the limit of the API.

    python benchmarks/live.py

Against the sandbox in a process of its own: calls a second at 50 ms latency beside `workers / 0.05`, and under
600 calls a minute the share of the limit that was used and the share of calls that were throttled.
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
        print(f"{'workers':>8} {'calls/s':>8} {'workers / 0.05 s':>17} {'share':>6} {'CPU ms/call':>12}")
        for workers, events in ((8, 2_000), (32, 6_000), (64, 10_000)):
            with sandbox("--latency", "0.05s") as address:
                facts = replay(folder, address, events, workers)
            rate, ideal = facts["api"]["calls"] / facts["duration_s"], workers / 0.05
            cost = 1000 * facts["cpu_s"] / facts["api"]["calls"]
            print(f"{workers:>8} {rate:>8.0f} {ideal:>17.0f} {rate / ideal:>6.1%} {cost:>12.2f}")
        with sandbox("--limit", "600/min") as address:
            facts = replay(folder, address, 2_000, 32, "--max-duration", "150s")
        calls, throttled = facts["api"]["calls"], facts["api"]["throttled"]
        print(f"600/min for {facts['duration_s']:.0f} s: {calls} calls, {throttled} throttled")


if __name__ == "__main__":
    main()
