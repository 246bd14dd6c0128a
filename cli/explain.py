"""`explain`: shows what happens to single events."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from .options import CONFIG, EVENT, option

if TYPE_CHECKING:
    from voucherify_sync.preview.explain import EventSearch, Explanation
    from voucherify_sync.settings import Settings


@click.command("explain")
@click.argument("source", nargs=-1)
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
@option("--json", "as_json", is_flag=True, help="Print one JSON object per event.")
@option(
    "--curl",
    "as_curl",
    is_flag=True,
    help="Print each request as a curl command, with variables for the keys.",
)
def command(limit: int, as_json: bool, as_curl: bool, **values: Any) -> int:
    """Show what happens to single events: the first three of SOURCE, or those that you pick.

    \b
    Examples:
      voucherify-sync explain --event 'Order Completed' --limit 1 segment-logs/
      voucherify-sync explain --line 17 --curl events.ndjson

    Shows for each event: the event as it came, the mapping rows that matched, the values that a rule
    filled in, the values that are not mapped, with the reason, and the request. For a skipped event it
    shows the reason. The mapping and the filters are those of a replay. Nothing is sent.
    """  # click reads the \b itself
    from voucherify_sync.api import ExplainOptions, PreparedExplanation
    from voucherify_sync.errors import ExitCode, UsageProblem
    from voucherify_sync.text import clean_lines

    from .outputs import settings_files, source_files, try_outputs

    if as_json and as_curl:
        raise UsageProblem("--json and --curl would both write to stdout", "Choose one of them.")
    options = ExplainOptions(**values)
    prepared = PreparedExplanation(options)
    try_outputs([], [*settings_files(options.config, prepared.settings), *source_files(prepared.sources)])
    for notice in prepared.notices:
        click.echo(clean_lines(notice), err=True)
    show, shown = _show(prepared.settings, as_json=as_json, as_curl=as_curl), 0
    for explanation in prepared.search:
        show(explanation)
        shown += 1
        if shown == limit:
            break
    if not shown:
        _tell_that_nothing_matches(prepared.search)
    return ExitCode.OK


def _tell_that_nothing_matches(search: EventSearch) -> None:
    """Say what was looked through, and what may be meant."""
    from voucherify_sync.errors import UsageProblem
    from voucherify_sync.text import clean

    if not search.read:
        click.echo("No events were read.", err=True)
        return
    remedies = []
    for miss in search.near_misses():
        meant = " or ".join(f'"{clean(name, 60)}"' for name in miss.suggestions)
        hint = f"; did you mean {meant}?" if meant else "."
        remedies.append(f'No event is named "{clean(miss.expected, 60)}"{hint}')
    remedy = " ".join(remedies) or "Check --event, --user, --message-id and --line."
    raise UsageProblem(f"No event matches ({search.read:,} read).", remedy)


def _show(settings: Settings, *, as_json: bool, as_curl: bool) -> Callable[[Explanation], None]:
    """Return what shows an explanation in the wanted form."""
    from voucherify_sync.preview.explain import to_json
    from voucherify_sync.voucherify.answers import PATHS

    from .explanation_view import curl, explanation_viewer
    from .render import write_harmless

    def path(explanation: Explanation) -> str | None:
        return PATHS[explanation.request.kind] if explanation.request is not None else None

    def show_json(explanation: Explanation) -> None:
        write_harmless(sys.stdout.buffer, to_json(explanation, path(explanation)))

    def show_curl(explanation: Explanation) -> None:
        sys.stdout.buffer.write(curl(explanation, path(explanation), settings.api).encode())
        sys.stdout.buffer.flush()

    if as_json:
        return show_json
    if as_curl:
        return show_curl
    return explanation_viewer()
