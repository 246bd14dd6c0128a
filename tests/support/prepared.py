"""Archives for tests of `prepare`, and the jobs that prepare them."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support.odd_events import ODD_LINES
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.run.prepare_tasks import Job, Split
from voucherify_sync.settings import Settings
from voucherify_sync.sources.discover import find_sources
from voucherify_sync.state.storage import Folder

NAMES = ("Order Completed", "Order Updated", "Seen", "Signed Up")


def write_archive(folder: Path, chance: random.Random, files: int, names: Sequence[str] = NAMES) -> Path:
    """Write files of events with repeated ids, ids that differ, none at all, and lines of several events."""
    folder.mkdir()
    for number in range(files):
        lines: list[str] = []
        for _ in range(chance.randrange(40)):
            user = f"u{chance.randrange(12)}"
            identity = {"userId": user} if chance.random() < 0.8 else {"anonymousId": f"anonymous-{user}"}
            day = chance.randrange(1, 29)
            event: dict[str, Any] = {**identity, "timestamp": f"2024-02-{day:02}T10:00:00Z"}
            if chance.random() < 0.9:
                event["messageId"] = f"m{chance.randrange(60)}"
            if chance.random() < 0.4:
                event |= {"type": "identify", "traits": {"email": f"{user}@example.com", "n": day % 3}}
            else:
                event |= {"type": "track", "event": chance.choice(names)}
                event["properties"] = {
                    "order_id": f"o{chance.randrange(8)}",
                    "total": day * chance.choice([1, -1, 2]),
                    "email": f"{user}@example.com",
                }
            lines.append(json.dumps(event))
        if number % 3 == 0:
            lines += [
                line if isinstance(line, str) else line.decode("utf-8", "replace") for line in ODD_LINES
            ]
        if len(lines) > 2:
            lines[0] = json.dumps({"batch": [json.loads(lines[0])] * 2})
        data = "\n".join(lines).encode() + b"\n"
        name = folder / f"part-{number:02}.ndjson"
        if number % 2:
            name.with_suffix(".gz").write_bytes(gzip.compress(data))
        else:
            name.write_bytes(data)
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    """Return what a folder holds, without what differs from one run to the next."""
    return {file.name: file.read_bytes() for file in sorted(folder.glob("*.gz"))}


def job_of(archive: Path, to: Path) -> tuple[Job, list[Split]]:
    """Return a job for four shards, with a split for each file."""
    sources = find_sources([str(archive)], stdin_is_terminal=True).sources
    splits = [Split(number, [source]) for number, source in enumerate(sources)]
    return Job(Folder(str(to)), Settings(), Selection(), 4), splits
