"""`coverage`: what a mapping carries of many events. Its words and options; what it does is in `covering`."""

from __future__ import annotations

from typing import Any

import click

from .options import CONFIG, EVENT
from .replay_options import COUNT, JOBS_HELP


@click.command("coverage")
@click.argument("source", nargs=-1)
@CONFIG
@click.option(
    "--type",
    metavar="T",
    multiple=True,
    allow_from_autoenv=False,
    help="Only events of this type: identify or track.",
)
@EVENT
@click.option("--limit", metavar="N", type=COUNT, help="Read the first N records only.")
@click.option("--jobs", metavar="N", type=COUNT, help=JOBS_HELP)
@click.option(
    "--fail-under",
    metavar="PCT",
    type=click.FloatRange(0, 100),
    help="Exit with 3 if less than PCT per cent of the values are mapped.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with all that was counted.")
def command(**values: Any) -> int:
    """Show which values of the events in SOURCE reach Voucherify, and which are lost.

    \b
    Examples:
      voucherify-sync coverage segment-logs/
      voucherify-sync coverage --fail-under 80 --event 'Order *' events.ndjson

    Every path of traits, properties and context.traits: in how many events, of which types, where it goes
    or that it is lost, and an example. Then every destination: how often it is filled, and conflicts of
    types. Then the rows of the settings that found nothing, and rows, ready to paste, that would keep what
    is lost most often. Nothing is sent.

    What --fail-under looks at: the values of traits, properties and context.traits of all events that
    would be sent. A null is no value; a list is one; an object counts by the values in it. A value is
    mapped if it arrives in the request, by whatever row or rule. Without any value the share is 0.
    """  # click reads the \b itself
    from .covering import CoverageOptions, cover

    return cover(CoverageOptions(**values))
