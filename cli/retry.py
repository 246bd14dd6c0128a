"""`retry`: sends dead letters again, after a fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .grouped_help import GroupedCommand
from .options import FILE
from .replay_options import ReplayOptions, retry_options


@click.command("retry", cls=GroupedCommand)
@click.argument("file", required=False, type=FILE)
@retry_options
def command(file: Path | None, **values: Any) -> int:
    """Send the dead letters in FILE again: what was invalid or failed. Default: those of the last run.

    They go through the same mapping, filters and ledger as before; what arrived meanwhile is not sent again, and a
    customer update older than the last one delivered is held back.

    \b
    Examples:
      voucherify-sync retry --dry-run
      voucherify-sync retry ~/.local/state/voucherify-sync/dead-letters/20250301-120000-1f9c.ndjson
    """
    from .retrying import retry

    return retry(file, ReplayOptions(**values))
