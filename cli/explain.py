"""`explain`: shows what happens to single events."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from voucherify_sync.text import counted

from .options import CONFIG, EVENT, SOURCE, option
from .render import write_harmless
from .streams import tell

if TYPE_CHECKING:
    from voucherify_sync.preview.explain import EventSearch, Explanation
    from voucherify_sync.settings import Settings


@click.command("explain")
@SOURCE
@CONFIG
@EVENT
@option(
    "--user",
    metavar="ID",
    multiple=True,
    help="Only events of this customer, by userId, anonymousId or source_id.",
)
@option(
    "--line", metavar="N", type=click.IntRange(min=1), help="Only line N; needs exactly one file as SOURCE."
)
@option(
    "--message-id",
    metavar="ID",
    multiple=True,
    help="Only the event with this messageId.",
)
@option(
    "--limit",
    metavar="N",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Explain N events at most.",
)
@option(
    "--full",
    is_flag=True,
    help="Also show the whole event, each mapping row that matched, and every value that is not mapped.",
)
@option("--json", "as_json", is_flag=True, help="Print one JSON object per event, with everything.")
@option(
    "--curl",
    "as_curl",
    is_flag=True,
    help="Print each request as a curl command, with variables for the keys.",
)
def command(limit: int, full: bool, as_json: bool, as_curl: bool, **values: Any) -> int:
    """Show what happens to single events: the first three of SOURCE, or those that you pick.

    \b
    Examples:
      voucherify-sync explain --event 'Order Completed' --limit 1 segment-logs/
      voucherify-sync explain --line 17 --curl events.ndjson

    Shows for each event where it goes, the request, with the source of each value, and what is not mapped
    and why. For a skipped event it shows the reason. The mapping and the filters are those of a replay.
    Nothing is sent.
    """  # click reads the \b itself
    from voucherify_sync.api import ExplainOptions, PreparedExplanation
    from voucherify_sync.errors import UsageProblem
    from voucherify_sync.exit_codes import ExitCode
    from voucherify_sync.sources.reader import source_notices

    from .outputs import try_streams

    if as_json and as_curl:
        raise UsageProblem("--json and --curl would both write to stdout", "Choose one of them.")
    options = ExplainOptions(**values)
    prepared = PreparedExplanation(options)
    try_streams(options.config, prepared)
    tell(*prepared.notices)
    show_one, shown = _show(prepared.settings, full=full, as_json=as_json, as_curl=as_curl), 0
    for explanation in prepared.search:
        show_one(explanation)
        shown += 1
        if shown == limit:
            if sys.stdout.isatty():
                said = f"{counted(shown, 'event')} shown. --limit N shows more, --event NAME chooses, --full shows all."
                click.echo(said, err=True)
            break
    tell(*(f"Warning: {notice}" for notice in source_notices(prepared.reader.facts)))
    if not shown:
        _tell_that_nothing_matches(prepared.search)
    return ExitCode.OK


def _tell_that_nothing_matches(search: EventSearch) -> None:
    """Say what was looked through, and what may be meant."""
    from voucherify_sync.errors import UsageProblem

    if not search.read:
        tell("No events were read.")
        return
    remedy = "\n".join(search.notices()) or "Check --event, --user, --message-id and --line."
    raise UsageProblem(f"No event matches ({search.read:,} read).", remedy)


def _show(settings: Settings, *, full: bool, as_json: bool, as_curl: bool) -> Callable[[Explanation], None]:
    """Return what shows an explanation in the wanted form."""
    from voucherify_sync.preview.explain import to_json

    from .explanation import curl, explanation_viewer

    def show_json(explanation: Explanation) -> None:
        write_harmless(sys.stdout.buffer, to_json(explanation))

    def show_curl(explanation: Explanation) -> None:
        sys.stdout.buffer.write(curl(explanation, settings.api).encode())
        sys.stdout.buffer.flush()

    if as_json:
        return show_json
    if as_curl:
        return show_curl
    return explanation_viewer(in_full=full)
