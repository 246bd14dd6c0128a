"""Draws what changes between two versions of the settings, for `explain` and `coverage`: `-` is before, `+` is now."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import UNSET

from voucherify_sync.events import Request
from voucherify_sync.outcomes import State, words
from voucherify_sync.settings import settings_file
from voucherify_sync.text import clean, counted, section_title, short_position

from .render import Line, Table, TableRow, TextLines, compact, first_rows, sentences

if TYPE_CHECKING:
    from voucherify_sync.events import BadRecord, Event
    from voucherify_sync.outcomes import Outcome
    from voucherify_sync.preview.comparison import (
        ComparisonReport,
        Difference,
        FieldChanges,
        RequestChange,
        RowChange,
    )

_VALUE: Final = 60
_MAX_FIELDS: Final = 40
_MAX_ROWS: Final = 40
_BEFORE, _NOW, _HEAD, _DIM = "red", "green", "bold", "dim"
_ALWAYS: Final = ("identify", "track")
"""Sections that need no name beside their rows."""
_SIGNS: Final = {"added": "+", "removed": "-", "moved": "~", "changed": "~"}
_STYLES: Final = {"added": _NOW, "removed": _BEFORE, "moved": "yellow", "changed": "yellow"}


def heading(against: Path, config: Path | None) -> TextLines:
    """Return the two lines that say which side is which, as those of a diff."""
    now = settings_file(config)
    return TextLines(
        [
            [(f"--- {clean(str(against), 4_096)}", _BEFORE)],
            [
                (
                    f"+++ {clean(str(now), 4_096) if now else 'the defaults, as there is no settings file'}",
                    _NOW,
                )
            ],
        ]
    )


def event_title(record: Event | BadRecord) -> str:
    """Return the type of an event, and the name of a track event."""
    title = clean(record.type or "no event", 40)
    if record.name is not None and record.type == "track":
        title += f" {compact(record.name, _VALUE)}"
    return title


def end_of(outcome: Outcome, why: str = "") -> str:
    """Return how a record ends of which no request is made, and why."""
    end = f"{outcome.state}: {clean(outcome.reason or '', 60)}"
    return f"{end} ({clean(why, 200)})" if why else end


def change_block(change: RequestChange) -> TextLines:
    """Return what changes for one record."""
    record, request = change.record, change.after
    sent = request if isinstance(request, Request) else change.before
    assert isinstance(sent, Request)  # noqa: S101  # else nothing changes
    head: Line = [(event_title(record), _HEAD), (f" of {clean(sent.source_id, _VALUE)}", "")]
    lines: list[Line] = [head, [(clean(str(record.position), 4_096), _DIM)]]
    if not isinstance(change.after, Request):
        lines.append([("- sent", _BEFORE)])
        lines.append([(f"+ {_end(change.after)}", _NOW)])
    elif not isinstance(change.before, Request):
        lines.append([(f"- {_end(change.before)}", _BEFORE)])
        lines.append([("+ sent", _NOW)])
    return TextLines([*lines, *difference_lines(change.fields)])


def difference_lines(fields: list[Difference]) -> Iterator[Line]:
    """Yield the fields of two requests that differ, each as a line of a diff for the value before and one for now."""
    for each in fields[:_MAX_FIELDS]:
        for sign, value, style in (("-", each.expected, _BEFORE), ("+", each.got, _NOW)):
            if value is not UNSET:
                yield [(f"{sign} {clean(each.path, 200)} = {compact(value, _VALUE)}", style)]
    if len(fields) > _MAX_FIELDS:
        yield [(f"  and {len(fields) - _MAX_FIELDS:,} more fields, which --json lists", _DIM)]


def _end(outcome: Outcome) -> str:
    return end_of(outcome, outcome.detail or words(outcome.state, outcome.reason))


def comparison_blocks(report: ComparisonReport) -> Iterator[Table | TextLines]:
    """Yield how many requests change, by which rows, and at which fields."""
    if not report.read:
        yield sentences("No events were read.", style="bold")
        return
    changes = report.changed + report.only_before + report.only_after
    sent = changes + report.unchanged
    verb = "changes" if changes == 1 else "change"
    head: list[Line] = [[(f"{changes:,} of {counted(sent, 'request')} {verb}", _HEAD)]]
    if report.changed:
        head.append([(f"  {report.changed:,} with other values (such as {_place(report.examples)})", "")])
    for text, reasons in (
        ("sent only now. Before:", report.reasons_before),
        ("no longer sent:", report.reasons_after),
    ):
        for code, number in reasons.items():
            meaning = words(State.SKIPPED, code) or words(State.INVALID, code)
            head.append([(f"  {number:,} {text} {meaning} [{clean(code, 40)}]", "")])
    yield TextLines(head)
    if report.rows:
        rows = Table(_rows(report.rows), "Rows, with the requests that each changes", optional=1)
        yield from first_rows(rows, _MAX_ROWS)
    title = "Other settings"
    if report.by_other_settings:
        title += f", which change {counted(report.by_other_settings, 'request')}"
    settings = [
        [(f"  {each.setting}: ", ""), (clean(each.before), _BEFORE), (" to ", ""), (clean(each.after), _NOW)]
        for each in report.settings
    ]
    if settings or report.by_other_settings:
        yield TextLines([[(title, _HEAD)], *settings])
    if report.fields:
        fields = [_field(*each) for each in report.fields.items()]
        heads = ("", "added", "removed", "changed", "such as")
        yield from first_rows(Table(fields, "Fields of the requests", heads, optional=1), _MAX_ROWS)


def _rows(rows: list[RowChange]) -> list[TableRow]:
    """Return the rows, the most frequent first; what changes nothing of the default table is one line.

    Any row of one's own switches that whole table off.
    """
    idle = [row for row in rows if row.default and not row.requests]
    others = sorted((row for row in rows if row not in idle), key=lambda row: -row.requests)
    numbers = {change: sum(row.change == change for row in idle) for change in ("added", "removed")}
    return list(map(_row, others)) + [
        TableRow(
            f"{_SIGNS[change]} {counted(number, 'row')} of the default table", ("0",), (), _STYLES[change]
        )
        for change, number in numbers.items()
        if number
    ]


def _row(row: RowChange) -> TableRow:
    text = clean(row.row if row.before is None else row.before, 200)
    now = "" if row.now is None else f"now {clean(row.now, 200)}"
    of_section = "" if row.section in _ALWAYS else f"  ({clean(section_title(row.section), 80)})"
    label = f"{_SIGNS[row.change]} {text}{of_section}"
    return TableRow(label, (f"{row.requests:,}",), (now, _place(row.examples)), _STYLES[row.change])


def _field(path: str, counts: FieldChanges) -> TableRow:
    numbers = tuple(
        f"{number:,}" if number else "" for number in (counts.added, counts.removed, counts.changed)
    )
    return TableRow(clean(path, 200), numbers, (_place(counts.examples),))


def _place(examples: list[str]) -> str:
    """Return the first place, if there is one."""
    return clean(short_position(examples[0]), 200) if examples else ""
