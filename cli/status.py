"""`status`: what a Voucherify project has been sent so far, from its ledger."""

from __future__ import annotations

from pathlib import Path

import click

from .options import FILE, LEDGER_FILE


@click.command("status")
@click.option(
    "-c",
    "--config",
    type=FILE,
    help="Settings file; default: ./voucherify-sync.yaml.",
)
@click.option("--ledger", type=LEDGER_FILE, help="Look into this ledger, not into the one of the project.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--doubt", is_flag=True, help="Print the events in doubt, one JSON object a line.")
def command(config: Path | None, ledger: str | None, as_json: bool, doubt: bool) -> int:
    """Show what this project has been sent: delivered, failed and in doubt, and the last run.

    \b
    Examples:
      voucherify-sync status
      voucherify-sync status --doubt | jq -r .messageId
    """
    from .standing import show_doubts, show_status

    return show_doubts(config, ledger) if doubt else show_status(config, ledger, as_json=as_json)
