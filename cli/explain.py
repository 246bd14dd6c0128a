"""`explain`: shows what happens to single events."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from voucherify_sync.events import Event
from voucherify_sync.outcomes import WHY_NOT_MAPPED
from voucherify_sync.paths import path_of
from voucherify_sync.text import clean, counted

from .options import CONFIG, EVENT, SOURCE, option
from .render import Line, TextLines, compact, harmless, json_lines, show, write_harmless
from .streams import arrow, tell

if TYPE_CHECKING:
    from voucherify_sync.mapping.trace import AppliedRow, Fallback, TracedValue
    from voucherify_sync.paths import Keys
    from voucherify_sync.preview.explain import EventSearch, Explanation
    from voucherify_sync.settings import Api, Secret, Settings


_MAX_LINES: Final = 200
_MAX_ENTRIES: Final = 60
_VALUE: Final = 60
_MAX_REPAIRED: Final = 3
_Entry = TypeVar("_Entry")
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(:-.*)?\}")
_MAPPED, _UNMAPPED, _DIM, _HEAD = "green", "yellow", "dim", "bold"


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
    from voucherify_sync.errors import UsageProblem
    from voucherify_sync.exit_codes import ExitCode
    from voucherify_sync.sources.reader import foreign_notices

    from .outputs import try_streams

    if as_json and as_curl:
        raise UsageProblem("--json and --curl would both write to stdout", "Choose one of them.")
    options = ExplainOptions(**values)
    prepared = PreparedExplanation(options)
    try_streams(options.config, prepared)
    tell(*prepared.notices)
    show_one, shown = _show(prepared.settings, as_json=as_json, as_curl=as_curl), 0
    for explanation in prepared.search:
        show_one(explanation)
        shown += 1
        if shown == limit:
            if sys.stdout.isatty():
                said = f"{counted(shown, 'event')} shown. --limit N shows more, --event NAME chooses."
                click.echo(said, err=True)
            break
    tell(*(f"Warning: {notice}" for notice in foreign_notices(prepared.reader.facts)))
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


def _show(settings: Settings, *, as_json: bool, as_curl: bool) -> Callable[[Explanation], None]:
    """Return what shows an explanation in the wanted form."""
    from voucherify_sync.preview.explain import to_json

    def show_json(explanation: Explanation) -> None:
        write_harmless(sys.stdout.buffer, to_json(explanation))

    def show_curl(explanation: Explanation) -> None:
        sys.stdout.buffer.write(curl(explanation, settings.api).encode())
        sys.stdout.buffer.flush()

    if as_json:
        return show_json
    if as_curl:
        return show_curl
    return explanation_viewer()


def explanation_viewer() -> Callable[[Explanation], None]:
    """Return what shows explanations on stdout, one after the other."""
    stream, is_first = sys.stdout, True
    sign = arrow(stream)

    def show_explanation(explanation: Explanation) -> None:
        nonlocal is_first
        if not is_first:
            stream.write("-" * 40 + "\n" if stream.isatty() else "\n")
        is_first = False
        event = [[("Event", _HEAD)], *_event(explanation)]
        show(
            stream,
            [TextLines(_head(explanation, sign)), TextLines(event, list(_trace_lines(explanation, sign)))],
        )

    return show_explanation


def _head(explanation: Explanation, sign: str) -> list[Line]:
    record, request, outcome = explanation.record, explanation.request, explanation.outcome
    what = clean(record.type or "no event", 40)
    if record.name is not None and record.type == "track":
        what += f" {compact(record.name, _VALUE)}"
    line: Line = [(what, _HEAD), (f" {sign} ", "")]
    if request is not None:
        line.append((f"POST {explanation.path}", f"{_HEAD} {_MAPPED}"))
    else:
        line.append((f"{outcome.state}: {clean(outcome.reason or '', 60)}", f"{_HEAD} {_UNMAPPED}"))
        line.append((f" ({clean(explanation.why, 200)})" if explanation.why else "", ""))
    lines: list[Line] = [line, [(clean(str(record.position), 4_096), _DIM)]]
    if isinstance(record, Event) and record.repaired:
        texts = ", ".join(compact(text, _VALUE) for text in record.repaired[:_MAX_REPAIRED])
        more = len(record.repaired) - _MAX_REPAIRED
        texts += f" and {more:,} more" if more > 0 else ""
        lines.append([(f"Broken text, with U+FFFD for what cannot be read: {texts}", _UNMAPPED)])
    return lines


def _trace_lines(explanation: Explanation, sign: str) -> Iterator[Line]:
    """Yield where the values of the event went, and the request."""
    trace, request = explanation.trace, explanation.request
    if trace is None or request is None:
        return
    is_default = bool(trace.rows) and all(applied.row.is_default for applied in trace.rows)
    title = "Mapping rows that matched" + (" (of the default table)" if is_default else "")
    yield from _section(title, trace.rows, lambda applied: _applied(applied, sign))
    if not trace.rows:
        yield from ([(title, _HEAD)], [("  none", _DIM)], [])
    yield from _section(
        "Filled without a row", [*trace.fallbacks, *trace.constants], lambda each: _filled(each, sign)
    )
    yield from _section(
        "Kept in metadata without a row",
        trace.carried,
        lambda paths: _arrow_line(path_of(*paths[0]), sign, path_of(*paths[1])),
    )
    yield from _section("Not mapped", [each for each in trace.values if each.reason is not None], _unmapped)
    yield [("Request as it would be sent", _HEAD)]
    yield [(f"POST {explanation.path}", "")]
    yield from json_lines(request.body, lambda _: "", _MAX_LINES)


def _section(title: str, entries: Sequence[_Entry], line_of: Callable[[_Entry], Line]) -> Iterator[Line]:
    """Yield the lines of the first entries, and how many more there are; no line is made of those."""
    if not entries:
        return
    yield [(title, _HEAD)]
    yield from ([("  ", ""), *line_of(entry)] for entry in entries[:_MAX_ENTRIES])
    if len(entries) > _MAX_ENTRIES:
        yield [(f"  and {len(entries) - _MAX_ENTRIES:,} more", _DIM)]
    yield []


def _applied(applied: AppliedRow, sign: str) -> Line:
    source = f"{path_of(*applied.source)} = {compact(applied.value, _VALUE)}"
    line = _arrow_line(source, sign, applied.row.destination.text, _UNMAPPED if applied.result else _MAPPED)
    if applied.result:
        line.append((f"  not sent: {WHY_NOT_MAPPED.get(applied.result, applied.result)}", _UNMAPPED))
    return line


def _filled(fallback: Fallback, sign: str) -> Line:
    sources = " + ".join(path_of(*keys) for keys in fallback.sources) or "constant"
    line = _arrow_line(sources, sign, path_of(*fallback.place))
    return [*line, (f" = {compact(fallback.value, _VALUE)}", "")]


def _arrow_line(source: str, sign: str, place: str, style: str = _MAPPED) -> Line:
    return [(clean(source, 300), ""), (f" {sign} ", _DIM), (clean(place, 200), style)]


def _unmapped(traced: TracedValue) -> Line:
    reason = traced.reason or ""
    value = f"{clean(path_of(*traced.keys), 200)} = {compact(traced.value, _VALUE)}"
    return [(value, _UNMAPPED), (f"  {WHY_NOT_MAPPED.get(reason, reason)}", "")]


def _event(explanation: Explanation) -> list[Line]:
    """Return the event as it came: what is sent of it in one colour, what is not mapped in another."""
    record = explanation.record
    if not isinstance(record, Event):
        return [[(clean(record.raw[:4_000].decode("utf-8", "replace"), 1_000), "")]]
    styles: dict[tuple[str, ...], str] = {}
    if explanation.trace is not None:
        for traced in explanation.trace.values:
            if traced.value is not None:
                styles[_texts(traced.keys)] = _UNMAPPED if traced.reason else _MAPPED
        for applied in explanation.trace.rows:
            styles.setdefault(_texts(applied.source), _UNMAPPED if applied.result else _MAPPED)
        for fallback in explanation.trace.fallbacks:
            styles.update((_texts(keys), _MAPPED) for keys in fallback.sources)
    return json_lines(record.fields, lambda keys: styles.get(keys, ""), _MAX_LINES)


def _texts(keys: Keys) -> tuple[str, ...]:
    return tuple(map(str, keys))


def curl(explanation: Explanation, api: Api) -> str:
    """Return the curl command that makes a request, or a comment that says why there is none.

    Keys are named as variables, and no shell can misread the data.

    Args:
        explanation: of one event.
        api: where it would go; its secrets are never shown.
    """
    where = clean(str(explanation.record.position), 4_096)
    if explanation.request is None:
        return f"# {where}: {explanation.outcome.state}, {clean(explanation.outcome.reason or '')}\n"
    version = [] if api.version == "latest" else [f"X-Voucherify-API-Version: {api.version}"]
    body = harmless(explanation.request.payload.decode())
    words = [
        f"curl --request POST {shlex.quote(api.url + (explanation.path or ''))}",
        f'--header "X-App-Id: ${_variable(api.key, "VOUCHERIFY_API_KEY")}"',
        f'--header "X-App-Token: ${_variable(api.token, "VOUCHERIFY_API_TOKEN")}"',
        *(f"--header {shlex.quote(header)}" for header in version),
        "--header 'Content-Type: application/json'",
        f"--data-raw {shlex.quote(body)}",
    ]
    return f"# {where}\n" + " \\\n  ".join(words) + "\n"


def _variable(secret: Secret, default: str) -> str:
    """Return the variable that the settings take a secret from, else the usual one."""
    from voucherify_sync.settings.load import masked

    named = _VARIABLE.fullmatch(masked(secret))
    return named[1] if named else default
