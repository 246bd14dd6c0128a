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
    help="Exit with 3 if less than PCT percent of the values are mapped.",
)
@click.option("--json", "as_json", is_flag=True, help="Print all counts as one JSON object.")
def command(**values: Any) -> int:
    """Show which values of the events in SOURCE reach Voucherify, and which are not mapped.

    \b
    Examples:
      voucherify-sync coverage segment-logs/
      voucherify-sync coverage --fail-under 80 --event 'Order *' events.ndjson

    Lists every path of traits, properties and context.traits: the number and types of its events, its
    destination or `not mapped`, and an example. Then every destination: how often it is filled, and
    conflicts of types. Then the rows of the settings that never matched, and rows to paste that map the
    most frequent unmapped values. Nothing is sent.

    --fail-under counts the values of traits, properties and context.traits of all events that would be
    sent. A null is no value, a list is one value, an object counts as the values in it. A value is mapped
    if it reaches the request, by any row or rule. Without any value the share is 0.
    """  # click reads the \b itself
    from .covering import CoverageOptions, cover

    return cover(CoverageOptions(**values))
