"""`explain`: shows what happens to single events."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from voucherify_sync.text import clean, clean_lines, counted

from .options import AGAINST, CONFIG, COUNT, EVENT, EVENT_TYPE, SOURCE, WHERE, option
from .render import show, write_harmless
from .streams import arrow, tell

if TYPE_CHECKING:
    from voucherify_sync.api import ExplainOptions, OpenedExplanation
    from voucherify_sync.preview.explain import EventSearch, Explanation


_PICKS: Final = frozenset({"type", "event", "where", "user", "message_id", "line", "limit"})
_GO_WITH: Final = {
    "final": {"json"},
    "watch": {"full", *_PICKS},
    "against": {"json", *_PICKS},
    "curl": _PICKS,
}
"""Option -> those that may stand beside it."""


@click.command("explain")
@SOURCE
@CONFIG
@option(
    "--type",
    type=EVENT_TYPE,
    metavar="[identify|track|page|screen|group]",
    multiple=True,
    help="Only events of this type; those that the settings leave out are shown with the reason.",
)
@EVENT
@WHERE
@option(
    "--user",
    metavar="ID",
    multiple=True,
    help="Only events of this customer, by userId, anonymousId or source_id.",
)
@option("--line", metavar="N", type=COUNT, help="Only line N; needs exactly one file as SOURCE.")
@option(
    "--message-id",
    metavar="ID",
    multiple=True,
    help="Only the event with this messageId.",
)
@option(
    "--limit",
    metavar="N",
    type=COUNT,
    default=3,
    show_default=True,
    help="Explain N events at most.",
)
@option(
    "--full",
    is_flag=True,
    help="Also show the whole event, each mapping row that matched, and every value that is not mapped.",
)
@AGAINST
@option(
    "--watch",
    is_flag=True,
    help="Show the same events again each time the settings file is saved, until Ctrl-C.",
)
@option(
    "--final",
    metavar="ID",
    help="Show what Voucherify would hold of the customer with this source_id after all events of SOURCE.",
)
@option("--json", "as_json", is_flag=True, help="Print one JSON object per event, with everything.")
@option(
    "--curl",
    "as_curl",
    is_flag=True,
    help="Print each request as a curl command, with variables for the keys.",
)
def command(limit: int, **values: Any) -> int:
    """Show what happens to single events: the first three of SOURCE, or those that you pick.

    \b
    Examples:
      voucherify-sync explain --event 'Order Completed' --limit 1 segment-logs/
      voucherify-sync explain --where 'properties.total > 20' segment-logs/
      voucherify-sync explain --line 17 --curl events.ndjson

    Shows for each event where it goes, the request with the source of each value, and what is not mapped
    and why. For a skipped event it shows the reason, and whether the conditions of the settings hold. The
    mapping and the filters are those of a replay. Nothing is sent.

    With --watch it is for editing the settings file: it keeps the events in memory, marks what changed since the
    last save, and shows the mistakes of a broken file. Ctrl-C ends it, with exit code 130.

    With --against it shows the first events whose request changes, field by field, and leaves the others out.

    With --final it reads all of SOURCE and folds it as --bulk does: each field has its latest value, by the times of
    the events. It names the event that each value came from, and counts the custom events.
    """  # click reads the \b itself
    from voucherify_sync.api import ExplainOptions, OpenedExplanation

    from .outputs import begin_reading, warn_of_sources

    flags = {name: values.pop(name) for name in ("full", "watch", "as_json", "as_curl")}
    final, against, shown = values.pop("final"), values["against"], 0
    form = _form()
    if final is not None:
        return _show_final(values["source"], values["config"], final, as_json=form == "json")
    options = ExplainOptions(**values)
    if flags["watch"]:
        return _watch(options, limit, in_full=form == "full")
    opened = OpenedExplanation(options)
    begin_reading(options.config, opened, against=against)
    if against is not None:
        shown = _show_changes(opened, against, options.config, limit, as_json=form == "json")
    else:
        shown = _show_events(opened, form, limit)
    code = warn_of_sources(opened.reader.facts)
    if not shown:
        _tell_that_nothing_matches(opened.search)
    return code


def _form() -> str:
    """Return how explanations are shown; refuse options that cannot be meant together."""
    from voucherify_sync.errors import UsageProblem

    context = click.get_current_context()
    given = [
        name.removeprefix("as_")
        for name in context.params
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    for mode, others in _GO_WITH.items():
        refused = [name for name in given if name not in {mode, "source", "config", *others}]
        if mode in given and refused:
            other = refused[0].replace("_", "-")
            raise UsageProblem(f"--{mode} and --{other} cannot be combined.", "Choose one of them.")
    return next((form for form in ("json", "curl", "full") if form in given), "brief")


def _tell_that_nothing_matches(search: EventSearch) -> None:
    """Say what was looked through, and what may be meant."""
    from voucherify_sync.errors import UsageProblem

    if not search.read:
        tell("No events were read.")
        return
    remedy = "\n".join(search.notices()) or "Check --type, --event, --where, --user, --message-id and --line."
    raise UsageProblem(f"No event matches ({search.read:,} read).", remedy)


def _show_events(opened: OpenedExplanation, form: str, limit: int) -> int:
    """Show the first events in the wanted form; return how many they are."""
    from voucherify_sync.preview.explain import to_json
    from voucherify_sync.settings import default_table_notices

    from .explanation import curl, explanation_viewer

    if form in ("brief", "full"):
        tell(*default_table_notices(opened.settings))
    show_one, shown = explanation_viewer(in_full=form == "full"), 0
    for explanation in islice(opened.search, limit):
        shown += 1
        if form == "json":
            write_harmless(sys.stdout.buffer, to_json(explanation))
        elif form == "curl":
            sys.stdout.buffer.write(curl(explanation, opened.settings.api).encode())
            sys.stdout.buffer.flush()
        else:
            show_one(explanation)
    if shown == limit:
        _tell_of_the_limit(shown, "--full shows all of each" if form == "brief" else None)
    return shown


def _tell_of_the_limit(shown: int, more: str | None = None) -> None:
    """Say that there may be more events; who pipes the output and has named the limit knows it."""
    source = click.get_current_context().get_parameter_source("limit")
    if source is ParameterSource.DEFAULT or sys.stdout.isatty():
        hints = ["--limit N shows more", "--type and --event choose", *([more] if more else [])]
        tell(f"Stopped after {counted(shown, 'event')}: {', '.join(hints)}.")


def _show_changes(
    opened: OpenedExplanation, against: Path, config: Path | None, limit: int, *, as_json: bool
) -> int:
    """Show the first events whose request changes; return how many events were compared."""
    import msgspec

    from .comparison import change_block, heading

    search, shown = opened.search, 0
    for change in islice(opened.changes(), limit):
        shown += 1
        if as_json:
            write_harmless(sys.stdout.buffer, msgspec.json.encode(change.to_dict()))
        else:
            if shown == 1:
                show(sys.stdout, [heading(against, config)])
            sys.stdout.write("\n")
            show(sys.stdout, [change_block(change)])
    if shown == limit:
        tell(
            f"{counted(shown, 'changed request')} shown. --limit N shows more, `coverage --against` counts all."
        )
    elif search.compared:
        verb = "change" if shown > 1 else "changes"
        tell(f"{f'{shown:,}' if shown else 'None'} of {counted(search.compared, 'event')} {verb}.")
    return search.compared


def _watch(options: ExplainOptions, limit: int, *, in_full: bool) -> int:
    """Show the events each time the settings file is saved, until a signal, or until stdout has no reader."""
    from voucherify_sync.api import OpenedExplanation
    from voucherify_sync.exit_codes import ExitCode
    from voucherify_sync.preview.watch import POLL_S, SettingsWatch

    from .explanation import watched_blocks
    from .outputs import begin_reading, warn_of_sources

    opened: OpenedExplanation | None = None

    def first() -> Iterator[Explanation]:
        nonlocal opened
        opened = OpenedExplanation(options)
        begin_reading(options.config, opened)
        return islice(opened.search, limit)

    watch, stream, is_begun = SettingsWatch(options.config, first), sys.stdout, False
    clears = stream.isatty() and os.environ.get("TERM") != "dumb"
    while not _has_no_reader():
        shown = watch.poll()
        if shown is not None:
            if opened is not None and not is_begun:
                is_begun = True
                warn_of_sources(opened.reader.facts)
                if not shown.explanations:
                    _tell_that_nothing_matches(opened.search)
                    return ExitCode.OK
            stream.write("\x1b[H\x1b[2J" if clears else "")
            show(stream, watched_blocks(shown, watch.file, arrow(stream), in_full=in_full))
            stream.write("" if clears else "\n")
            stream.flush()
            if len(shown.explanations) == limit:
                _tell_of_the_limit(limit)
        time.sleep(POLL_S)
    return ExitCode.OK


def _has_no_reader() -> bool:
    """Tell whether stdout is a pipe whose reader has gone: no write would notice it before the next save."""
    poll = select.poll()
    poll.register(1, 0)
    return any(events & (select.POLLERR | select.POLLNVAL) for _, events in poll.poll(0))


def _show_final(source: Sequence[str], config: Path | None, customer: str, *, as_json: bool) -> int:
    """Show what Voucherify would hold of one customer; return the exit code."""
    import msgspec

    from voucherify_sync.api import FinalOptions, OpenedFinalState
    from voucherify_sync.errors import UsageProblem

    from .explanation import final_blocks
    from .outputs import begin_reading, warn_of_sources
    from .progress import progress
    from .signals import stopping_cleanly

    is_source = not source and (customer == "-" or Path(customer).exists())
    if is_source or customer.startswith("--"):
        what = "a source" if is_source else "an option"
        raise UsageProblem(
            f"--final takes the id of a customer, but {clean(customer, 60)} is {what}.",
            "Give the source_id first: voucherify-sync explain --final ID SOURCE",
        )
    opened = OpenedFinalState(FinalOptions(source=source, config=config, customer=customer))
    begin_reading(config, opened)
    with stopping_cleanly(opened.stop, sends=False), progress("auto", opened.snapshot, sys.stderr):
        state = opened.read()
    if opened.stop.signal_exit is not None:
        tell("Interrupted: the input was not read completely, so nothing is shown.")
        return opened.stop.signal_exit
    code = warn_of_sources(opened.reader.facts)
    if not state.read:
        tell("No events were read.")
        return code
    if not state.is_known:
        said = f'No request is of the customer "{clean(customer, 60)}" ({state.read:,} read).'
        remedy = "Give the source_id: the userId, or the anonymousId of events without one."
        raise UsageProblem(said, "\n".join([*map(clean_lines, state.notices), remedy]))
    if as_json:
        write_harmless(sys.stdout.buffer, msgspec.json.encode(state))
    else:
        show(sys.stdout, final_blocks(state, is_short=sys.stdout.isatty()))
    return code
