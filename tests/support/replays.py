"""What tests of whole runs write and read: lines of an archive, the settings, the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.cli import Cli
from voucherify_sync.sandbox.server import Sandbox

CANARY = "canary-7f3a-token"


def identify(number: int, **fields: Any) -> str:
    """Return an identify of one customer, as a line."""
    event = {
        "type": "identify",
        "messageId": f"i-{number}",
        "userId": f"u-{number}",
        "traits": {"email": f"{number}@example.com"},
    }
    return json.dumps({**event, **fields}) + "\n"


def track(number: int, **fields: Any) -> str:
    """Return a track of one customer, as a line."""
    event = {"type": "track", "messageId": f"t-{number}", "userId": f"u-{number}", "event": "Order Completed"}
    return json.dumps({**event, **fields}) + "\n"


def write_events(folder: Path, *events: dict[str, Any] | str) -> Path:
    """Write events, or lines as they are, to events.ndjson."""
    file = folder / "events.ndjson"
    lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def write_settings(file: Path, url: str, more: str = "", *, key: str = "sandbox-app") -> Path:
    """Write a settings file that leads to a sandbox; the token is the canary."""
    file.write_text(f"api: {{url: '{url}', key: {key}, token: '{CANARY}'}}\n{more}")
    file.chmod(0o600)
    return file


def settings_for(cli: Cli, sandbox: Sandbox, more: str = "") -> Path:
    """Write settings.yaml, which leads to the sandbox."""
    return write_settings(cli.folder / "settings.yaml", sandbox.url, more)


def report_of(cli: Cli) -> dict[str, Any]:
    """Read the report that a run wrote to report.json."""
    report: dict[str, Any] = json.loads((cli.folder / "report.json").read_text())
    return report


def outcomes_of(cli: Cli) -> dict[str, int]:
    """Read the states that records of the last run ended in, without those that none ended in."""
    return {state: count for state, count in report_of(cli)["outcomes"].items() if count}


def reasons_of(cli: Cli, state: str) -> dict[str, int]:
    """Read how often records of the last run ended in a state, by reason."""
    return {reason: facts["count"] for reason, facts in report_of(cli)["reasons"][state].items()}


def assert_lawful(report: dict[str, Any]) -> None:
    """Check that every record read has ended in exactly one state."""
    assert report["events"]["read"] == sum(report["outcomes"].values())
