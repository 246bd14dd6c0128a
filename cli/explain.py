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
    "--line", metavar="N", type=click.IntRange(min=1), help="Only line N of the one file that is given."
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
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object an event, for programs.")
@click.option(
    "--curl", "as_curl", is_flag=True, help="Print each request as a curl command, keys as variables."
)
def command(**values: Any) -> int:
    """Show what happens to single events: the first three of SOURCE, or those that you pick.

    \b
    Examples:
      voucherify-sync explain --event 'Order Completed' --limit 1 segment-logs/
      voucherify-sync explain --line 17 --curl events.ndjson

    For each event: the event as it came, the rows of the mapping that found something, what was filled by
    rule, what is lost and why, and the request as it would be sent; or the rule that skips it. Rules and
    mapping are those of a replay, and nothing is sent. Events that the settings filter out are shown, too,
    with the reason.
    """  # click reads the \b itself
    from .explaining import ExplainOptions, explain

    return explain(ExplainOptions(**values))
