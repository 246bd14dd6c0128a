"""`explain`: what happens to single events. Its words and options; what it does is in `explaining`."""

from __future__ import annotations

from typing import Any

import click

from .options import CONFIG, EVENT


@click.command("explain")
@click.argument("source", nargs=-1)
@CONFIG
@EVENT
@click.option(
    "--user",
    metavar="ID",
    multiple=True,
    allow_from_autoenv=False,
    help="Only events of this customer, by userId, anonymousId or source_id.",
)
@click.option(
    "--line", metavar="N", type=click.IntRange(min=1), help="Only line N; needs exactly one file as SOURCE."
)
@click.option(
    "--message-id",
    metavar="ID",
    multiple=True,
    allow_from_autoenv=False,
    help="Only the event with this messageId.",
)
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Explain N events at most.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per event.")
@click.option(
    "--curl",
    "as_curl",
    is_flag=True,
    help="Print each request as a curl command, with variables for the keys.",
)
def command(**values: Any) -> int:
    """Show what happens to single events: the first three of SOURCE, or those that you pick.

    \b
    Examples:
      voucherify-sync explain --event 'Order Completed' --limit 1 segment-logs/
      voucherify-sync explain --line 17 --curl events.ndjson

    Shows for each event: the event as it came, the mapping rows that matched, the values that a rule
    filled in, the values that are not mapped, with the reason, and the request. For a skipped event it
    shows the reason. The mapping and the filters are those of a replay. Nothing is sent.
    """  # click reads the \b itself
    from .explaining import ExplainOptions, explain

    return explain(ExplainOptions(**values))
