"""Draws explanations: brief, with where each value of the request comes from; in full; or as a curl command.

Draws also what a watch of the settings file shows, and the final state of a customer.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from voucherify_sync.events import Event, Kind
from voucherify_sync.fields import NAME, NAME_PARTS
from voucherify_sync.mapping.trace import NAME_GIVEN, NULL, OVERWRITTEN, PARTLY, ContextTraits, Trace, located
from voucherify_sync.outcomes import WHY_NOT_MAPPED, find
from voucherify_sync.paths import MISSING, path_of, read
from voucherify_sync.preview.comparison import request_differences
from voucherify_sync.text import clean, counted, listed, short_position

from .comparison import difference_lines, end_of, event_title
from .render import (
    Line,
    Table,
    TableRow,
    TextLines,
    annotated_json_lines,
    compact,
    harmless,
    json_lines,
    sentences,
    show,
)
from .streams import arrow

if TYPE_CHECKING:
    from voucherify_sync.mapping.trace import AppliedEntry, AppliedRow, Fallback, TracedValue
    from voucherify_sync.paths import FieldPath, Keys
    from voucherify_sync.preview.customer_state import CustomerState, Origin
    from voucherify_sync.preview.explain import Explanation
    from voucherify_sync.preview.watch import WatchedEvents
    from voucherify_sync.settings import Api, Secret


_MAX_LINES: Final = 200
_MAX_ENTRIES: Final = 60
_MAX_BRIEF_LINES: Final = 40
_MAX_BRIEF_ENTRIES: Final = 12
_VALUE: Final = 60
_MAX_REPAIRED: Final = 3
_NARROW: Final = 72
_RENAME: Final = "rename of the entry of track.events"
_MAX_PLACE: Final = 32
_Entry = TypeVar("_Entry")
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(:-.*)?\}")
_MAPPED, _UNMAPPED, _DIM, _HEAD = "green", "yellow", "dim", "bold"
_CONTEXT: Final = {
    ContextTraits.STAND_IN: "The event has no traits of its own: those in its context stand in for them (RudderStack).",
    ContextTraits.OF_ANOTHER: "The traits in its context are not used: they name another userId than the event.",
}


def explanation_viewer(*, in_full: bool = False) -> Callable[[Explanation], None]:
    """Return what shows explanations on stdout, one after the other."""
    stream, is_first = sys.stdout, True
    sign = arrow(stream)

    def show_explanation(explanation: Explanation) -> None:
        nonlocal is_first
        if not is_first:
            stream.write("-" * 40 + "\n" if stream.isatty() else "\n")
        is_first = False
        show(stream, (full_blocks if in_full else brief_blocks)(explanation, sign))

    return show_explanation


def head(explanation: Explanation, sign: str) -> list[Line]:
    """Return the lines that say which event it is, and where it goes or why it goes nowhere."""
    record, request, outcome = explanation.record, explanation.request, explanation.outcome
    line: Line = [(event_title(record), _HEAD)]
    if request is not None:
        line += [(f" of {clean(request.source_id, _VALUE)} {sign} ", "")]
        line.append((f"POST {explanation.path}", f"{_HEAD} {_MAPPED}"))
    else:
        line.append((f" {sign} ", ""))
        line.append((end_of(outcome), f"{_HEAD} {_UNMAPPED}"))
        line.append((f" ({clean(explanation.why, 200)})" if explanation.why else "", ""))
    lines: list[Line] = [line, [(clean(str(record.position), 4_096), _DIM)]]
    if explanation.entry is not None:
        lines.append([(f"entry of track.events: {clean(explanation.entry, _VALUE)}", _DIM)])
    for condition, holds in explanation.conditions:
        style = _DIM if holds else _UNMAPPED
        lines.append([(f"where: {clean(condition.text, 200)}: {str(holds).lower()}", style)])
        if not holds and isinstance(record, Event):
            lines += [_field_line(record, source) for source in condition.sources]
    if (others := explanation.others) is not None:
        number = counted(others.count, "other event") if others.count else "no other event"
        where = "in the input" if others.is_whole else "in the first records of the input"
        lines.append([(f"{number} of this order {where}", _DIM)])
    if explanation.trace is not None and explanation.trace.context_traits is not None:
        lines.append([(_CONTEXT[explanation.trace.context_traits], "")])
    if isinstance(record, Event) and record.repaired:
        texts = listed(record.repaired, lambda text: compact(text, _VALUE), _MAX_REPAIRED)
        lines.append([(f"Broken text, with U+FFFD for what cannot be read: {texts}", _UNMAPPED)])
    return lines


def _field_line(record: Event, source: FieldPath) -> Line:
    """Return what an event holds in a field that a condition reads."""
    value = read(record.fields, source)
    shown = "absent" if value is MISSING else compact(value, _VALUE)
    return [(f"  {clean(source.text, 120)}: {shown}", "")]


def brief_blocks(explanation: Explanation, sign: str) -> Iterator[TextLines]:
    """Yield what a person wants to see first: the request, where its values come from, and what is not mapped."""
    record, request, trace = explanation.record, explanation.request, explanation.trace
    lines = head(explanation, sign)
    if request is None or trace is None:
        reason = find(explanation.outcome.state, explanation.outcome.reason or "")
        if reason is not None and reason.needs_action:
            lines.append([(reason.remedy, "")])
        if not isinstance(record, Event):
            lines.append([(clean(record.raw[:1_000].decode("utf-8", "replace"), 200), "")])
        yield TextLines(lines)
        return
    yield TextLines(lines)
    yield TextLines([[("Request", _HEAD)], *_annotated(explanation, trace, sign)])
    yield TextLines(list(_left_out(trace, sign)))


def watched_blocks(
    watched: WatchedEvents, file: Path, sign: str, *, in_full: bool
) -> Iterator[Table | TextLines]:
    """Yield what a save of the settings file has made of the events that are watched, with what changed marked."""
    title = f"{clean(str(file), 4_096)}, {time.strftime('%H:%M:%S')}"
    if watched.error is None and not file.exists():
        title += " (there is no such file, so the defaults apply)"
    if watched.error is not None:
        yield TextLines([[(title, _HEAD)]])
        yield sentences(*watched.error.message.split("\n"), style="red")
        yield sentences(*filter(None, watched.error.remedy.split("\n")))
        yield sentences(
            "The events are shown again when the file is saved without mistakes. Ctrl-C ends this.",
            style=_DIM,
        )
        return
    before = watched.before or watched.explanations
    changes = [list(_since(*pair)) for pair in zip(before, watched.explanations, strict=True)]
    if watched.before is not None:
        number = sum(map(bool, changes))
        title += (
            f": {number:,} of {counted(len(changes), 'event')} changed" if number else ": nothing changed"
        )
    hint: list[Line] = [[("Save the file to see the events again. Ctrl-C ends this.", _DIM)]]
    yield TextLines([[(title, _HEAD)], *(hint if watched.before is None else [])])
    yield sentences(*watched.notices)
    for explanation, lines in zip(watched.explanations, changes, strict=True):
        yield TextLines([[("-" * 40, _DIM)]])
        blocks = list((full_blocks if in_full else brief_blocks)(explanation, sign))
        yield blocks[0]
        if lines:
            yield TextLines([[("Changed since the last save", _HEAD)], *lines])
        yield from blocks[1:]


def _since(before: Explanation, now: Explanation) -> Iterator[Line]:
    """Yield what changed for an event, as the lines of a diff."""
    for name, one, other in (
        ("entry of track.events", [before.entry or ""], [now.entry or ""]),
        (
            "where",
            *(
                [f"{condition.text}: {str(holds).lower()}" for condition, holds in each.conditions]
                for each in (before, now)
            ),
        ),
    ):
        yield from ([(f"- {name}: {clean(text, 200)}", "red")] for text in one if text and text not in other)
        yield from (
            [(f"+ {name}: {clean(text, 200)}", _MAPPED)] for text in other if text and text not in one
        )
    if before.request is not None and now.request is not None:
        yield from difference_lines(request_differences(before.request, now.request))
        return
    ends = ["sent" if each.request is not None else end_of(each.outcome) for each in (before, now)]
    if ends[0] != ends[1]:
        yield from ([(f"- {ends[0]}", "red")], [(f"+ {ends[1]}", _MAPPED)])


def final_blocks(state: CustomerState, *, is_short: bool) -> Iterator[Table | TextLines]:
    """Yield what Voucherify would hold of a customer, and which events its values came from.

    Args:
        state: of the customer.
        is_short: of places only the end is shown, without the folders of their files.
    """

    def place(origin: Origin) -> str:
        shown = clean(short_position(origin.position) if is_short else origin.position, 4_096)
        return f"…{shown[1 - _MAX_PLACE :]}" if is_short and len(shown) > _MAX_PLACE else shown

    def moment(origin: Origin) -> str:
        return "no time" if origin.time is None else f"{origin.time.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"

    parts = [counted(state.updates, "event fills fields of it", "events fill fields of it")]
    if not state.updates:
        parts = ["no event fills a field of it"]
    if state.repeated:
        parts.append(f"{counted(state.repeated, 'record')} of it repeated in the input")
    yield TextLines(
        [
            [
                (f"customer {clean(state.source_id, 200)}", _HEAD),
                (f", after {counted(state.read, 'record')}", ""),
            ],
            [("; ".join(parts), _DIM)],
        ]
    )
    rows = []
    for each in state.fields:
        origins = each.origins
        notes = (
            compact(each.value, _VALUE),
            " + ".join(map(place, origins)),
            " + ".join(map(moment, origins)),
        )
        rows.append(TableRow(clean(each.path, 120), (), notes))
    if rows:
        yield Table(
            rows,
            "What Voucherify would hold: the latest value of each field",
            ("", "value", "from", "time"),
            optional=1,
        )
    else:
        yield sentences("Nothing is known of it but its source_id.")
    if state.unfolded:
        alone = counted(state.unfolded, "customer update")
        yield sentences(f"Not among them: {alone} by Voucherify's own id, sent one by one.")
    if state.events:
        counts = {
            noun: sum(each.count for each in state.events if each.of_orders is of_orders)
            for noun, of_orders in (("custom event", False), ("order event", True))
        }
        title = ", ".join(counted(count, noun) for noun, count in counts.items() if count)
        events = [
            TableRow(
                compact(each.name, _VALUE),
                (f"{each.count:,}",),
                (moment(each.first), moment(each.last), place(each.last)),
            )
            for each in state.events
        ]
        yield Table(events, title, ("", "", "first", "last", ""), optional=1)


def full_blocks(explanation: Explanation, sign: str) -> list[TextLines]:
    """Return the whole event, each row that matched, all that is not mapped, and the request."""
    event = [[("Event", _HEAD)], *_event(explanation)]
    return [TextLines(head(explanation, sign)), TextLines(event, list(_trace_lines(explanation, sign)))]


def _annotated(explanation: Explanation, trace: Trace, sign: str) -> list[Line]:
    """Return the request, each value with where it comes from."""
    request, record = explanation.request, explanation.record
    assert request is not None  # noqa: S101  # a trace has one
    body = request.body
    root = () if request.kind is not Kind.CUSTOMER else ("customer",)
    origins = {_texts(place): sources for place, sources in trace.origins.items()}
    carried = {_texts(place) for _, place in trace.carried}
    makers = {_texts(place): maker for place, maker in trace.makers.items()}
    givers = {_texts(place): given for place, given in trace.givers.items()}
    renamed = {each.place for each in trace.fallbacks if not each.sources} - {NAME}
    back = "←" if sign == "→" else "<-"

    def note_of(keys: tuple[str, ...]) -> Line:
        place = (*root, *keys)
        sources = origins.get(place)
        if sources is None:
            return []
        given = givers.get(place, [_RENAME] if place in renamed else [])
        words = [*(path_of(*source) for source in sources if source), *given]
        note: Line = [(f"{back} {' + '.join(clean(word, 120) for word in words)}", _MAPPED)]
        if place in makers:
            note.append((f" ({clean(makers[place], 60)})", _DIM))
        if place in carried:
            note.append((", kept without a row", _DIM))
        if isinstance(record, Event):
            came = [located(record.fields, source) for source in sources]
            if any(map(record.is_repaired, came)):
                note.append((", broken text repaired", _UNMAPPED))
            elif (
                len(came) == 1
                and place not in makers
                and place not in givers
                and _is_converted(came[0], located(body, keys))
            ):
                note.append((f", which came as {compact(came[0], _VALUE)}", ""))
        return note

    is_narrow = sys.stdout.isatty() and shutil.get_terminal_size().columns < _NARROW
    return annotated_json_lines(body, note_of, _MAX_BRIEF_LINES, aligns=not is_narrow)


def _is_converted(came: Any, sent: Any) -> bool:
    """Tell whether a value is sent in another form: a number as text, a datetime as a date."""
    return isinstance(came, str | int | float) and (type(came) is not type(sent) or came != sent)


def _left_out(trace: Trace, sign: str) -> Iterator[Line]:
    """Yield what is not mapped: first what a row found and its field cannot hold, then what no row reads."""
    arrived = {value.keys for value in trace.values if value.places}
    dropped = [
        row
        for row in trace.rows
        if row.result not in (None, PARTLY, NULL)
        and not (row.result in (OVERWRITTEN, NAME_GIVEN) and row.source in arrived)
    ]
    shown = {row.source for row in dropped}
    others = [value for value in trace.values if value.reason not in (None, NULL) and value.keys not in shown]
    lines = [_dropped(row, sign) for row in dropped] + [_unmapped(value) for value in others]
    nulls = [value.keys for value in trace.values if value.reason == NULL]
    if not lines and not nulls:
        return
    yield [("Not mapped", _HEAD)]
    yield from ([("  ", ""), *line] for line in lines[:_MAX_BRIEF_ENTRIES])
    if len(lines) > _MAX_BRIEF_ENTRIES:
        yield [(f"  and {len(lines) - _MAX_BRIEF_ENTRIES:,} more, which --full lists", _DIM)]
    if nulls:
        named = listed(nulls, lambda keys: clean(path_of(*keys), 80), 3)
        yield [(f"  null, which counts as absent: {named}", _DIM)]


def _destination(applied: AppliedRow) -> str:
    """Return where a row leads: a first or last name is sent as a part of the name only."""
    destination = applied.row.destination
    return path_of(*NAME) if destination.keys in NAME_PARTS else destination.text


def _source(applied: AppliedRow) -> str:
    """Return where a row found its value; where it reads first, if the event has none and a filter gave one."""
    return path_of(*applied.source) or applied.row.source.text


def _dropped(applied: AppliedRow, sign: str) -> Line:
    source = f"{_source(applied)} = {compact(applied.value, _VALUE)}"
    line = _arrow_line(source, sign, _destination(applied), _UNMAPPED)
    return [*line, (f"  {WHY_NOT_MAPPED.get(applied.result or '', applied.result)}", "")]


def _trace_lines(explanation: Explanation, sign: str) -> Iterator[Line]:
    """Yield where the values of the event went, and the request."""
    trace, request = explanation.trace, explanation.request
    if trace is None or request is None:
        return
    is_default = bool(trace.rows) and all(applied.row.is_default for applied in trace.rows)
    title = "Mapping rows that matched" + (" (of the default table)" if is_default else "")
    joined = next((fallback for fallback in trace.fallbacks if fallback.place == NAME), None)
    rows = list(_rows(trace, joined, sign))
    yield from _section(title, rows, lambda line: line)
    if not rows:
        yield from ([(title, _HEAD)], [("  none", _DIM)], [])
    filled = [each for each in trace.fallbacks if each is not joined or not _is_by_rows(trace, each)]
    yield from _section("Set", trace.entries, lambda each: _set(each, sign))
    yield from _section(
        "Filled without a row",
        filled,
        lambda each: _filled(each, sign, *trace.givers.get(each.place, [] if each.sources else [_RENAME])),
    )
    yield from _section("Constants", trace.constants, lambda each: _filled(each, sign, "add"))
    yield from _section(
        "Kept in metadata without a row",
        trace.carried,
        lambda paths: _arrow_line(path_of(*paths[0]), sign, path_of(*paths[1])),
    )
    yield from _section("Not mapped", [each for each in trace.values if each.reason is not None], _unmapped)
    yield [("Request as it would be sent", _HEAD)]
    yield [(f"POST {explanation.path}", "")]
    yield from json_lines(request.body, lambda _: "", _MAX_LINES)


def _rows(trace: Trace, joined: Fallback | None, sign: str) -> Iterator[Line]:
    """Yield the rows that matched; those of first and last name as the name that they make."""
    is_shown = False
    for applied in trace.rows:
        is_half = applied.row.destination.keys in NAME_PARTS and applied.result is None
        if not (is_half and joined is not None):
            yield _applied(applied, sign)
        elif not is_shown:
            is_shown = True
            yield _filled(joined, sign, *trace.givers.get(NAME, ()))


def _is_by_rows(trace: Trace, joined: Fallback) -> bool:
    """Tell whether rows have found a part of the name that is made of several."""
    return any(
        not row.source or row.source in joined.sources
        for row in trace.rows
        if row.row.destination.keys in NAME_PARTS and row.result is None
    )


def _section(title: str, entries: Sequence[_Entry], line_of: Callable[[_Entry], Line]) -> Iterator[Line]:
    """Yield the lines of the first entries, and how many more there are; no line is made of those."""
    if not entries:
        return
    yield [(title, _HEAD)]
    yield from ([("  ", ""), *line_of(entry)] for entry in entries[:_MAX_ENTRIES])
    if len(entries) > _MAX_ENTRIES:
        yield [(f"  and {len(entries) - _MAX_ENTRIES:,} more", _DIM)]
    yield []


def _set(entry: AppliedEntry, sign: str) -> Line:
    """Return what an entry of `set` gave, by which directive and which branch of it."""
    how = ", ".join(filter(None, (entry.name, *entry.branches)))
    value = f"set.{entry.destination} = {compact(entry.value, _VALUE)}" + (f" ({how})" if how else "")
    line = _arrow_line(value, sign, entry.destination, _UNMAPPED if entry.result else _MAPPED)
    if entry.result:
        line.append((f"  not sent: {WHY_NOT_MAPPED.get(entry.result, entry.result)}", _UNMAPPED))
    return line


def _applied(applied: AppliedRow, sign: str) -> Line:
    filters = f" | {applied.row.filters.text}" if applied.row.filters is not None else ""
    source = f"{_source(applied)}{filters} = {compact(applied.value, _VALUE)}"
    line = _arrow_line(source, sign, _destination(applied), _UNMAPPED if applied.result else _MAPPED)
    if applied.row.whole is not None:
        line.append((f"  by the row {clean(applied.row.whole.text, 120)}", _DIM))
    if applied.result:
        line.append((f"  not sent: {WHY_NOT_MAPPED.get(applied.result, applied.result)}", _UNMAPPED))
    return line


def _filled(fallback: Fallback, sign: str, *givers: str) -> Line:
    words = *(path_of(*keys) for keys in fallback.sources), *givers
    line = _arrow_line(" + ".join(words), sign, path_of(*fallback.place))
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
