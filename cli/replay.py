"""`replay`: the main job. Its words and options; what it does is in `replaying`."""

from __future__ import annotations

from typing import Any

import click

from .grouped_help import GroupedCommand
from .replay_options import ReplayOptions, replay_options


@click.command("replay", cls=GroupedCommand)
@replay_options
def command(**values: Any) -> int:
    """Send the events of SOURCE to Voucherify: files, directories, globs, or - for stdin.

    \b
    Examples:
      voucherify-sync replay --dry-run segment-logs/ | jq .body
      zcat part-*.gz | jq -c 'select(.userId)' | voucherify-sync replay --yes -
    """
    from .replaying import replay  # the whole pipeline, which `--help` has no need of

    return replay(ReplayOptions(**values))
