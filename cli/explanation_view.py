"""An explanation goes in; what a person sees of it comes out, on stdout: side by side where there is room."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

from voucherify_sync.events import Event
from voucherify_sync.mapping.trace import AppliedRow, Trace, TracedValue
from voucherify_sync.outcomes import WHY_LOST
from voucherify_sync.paths import Keys
from voucherify_sync.preview.explain import Explanation, path_text
from voucherify_sync.text import clean
from voucherify_sync.voucherify.answers import PATHS

from .json_text import compact, json_lines
from .streams import arrow
from .styled import Line, beside, plain, wrapped

_WIDE: Final = 120
_MOST_LINES: Final = 200
_MOST_ENTRIES: Final = 60
_VALUE: Final = 60
_Entry = TypeVar("_Entry")

_TAKEN, _LOST, _DIM, _HEAD = "green", "yellow", "dim", "bold"


class Viewer:
    """Shows explanations, one after the other."""

    def __init__(self) -> None:
        self._stream = sys.stdout
        self._arrow = arrow(self._stream)
        self._shown = 0

    def show(self, explanation: Explanation) -> None:
        """Show one."""
        head = self._head(explanation)
        event = [[("Event", _HEAD)], *_event(explanation)]
        told = list(self._told(explanation))
        if self._stream.isatty():
            self._draw(head, event, told)
        else:
            lines = [*([[]] if self._shown else []), *head, [], *event, *([[], *told] if told else [])]
            self._stream.write("\n".join(map(plain, lines)) + "\n")
            self._stream.flush()
        self._shown += 1

    def _draw(self, head: list[Line], event: list[Line], told: list[Line]) -> None:
        from .console import console

        out = console(self._stream)
        if self._shown:
            out.rule(style=_DIM, characters="-" if self._arrow == "->" else "─")
        out.print(wrapped(head, out, out.width))
        out.print()
        if out.width >= _WIDE and told:
            out.print(beside(event, told, out))
        else:
            out.print(wrapped([*event, *([[], *told] if told else [])], out, out.width))

    def _head(self, explanation: Explanation) -> list[Line]:
        record, request = explanation.record, explanation.request
        what = clean(record.type or "no event", 40)
        if record.name is not None and record.type == "track":
            what += f" {compact(record.name, _VALUE)}"
        line: Line = [(what, _HEAD), (f" {self._arrow} ", "")]
        where: Line = [(clean(str(record.position), 4_096), _DIM)]
        if request is not None:
            return [[*line, (f"POST {PATHS[request.kind]}", f"{_HEAD} {_TAKEN}")], where]
        ended = f"{explanation.outcome.state}: {clean(explanation.outcome.reason or '', 60)}"
        why = f" ({clean(explanation.why, 200)})" if explanation.why else ""
        return [[*line, (ended, f"{_HEAD} {_LOST}"), (why, "")], where]

    def _told(self, explanation: Explanation) -> Iterator[Line]:
        trace, request = explanation.trace, explanation.request
        if trace is None or request is None:
            return
        if trace.rows:
            yield from _section(_title(trace), trace.rows, self._applied)
        else:
            yield from _section(_title(trace), ["none found a value"], lambda text: [(text, _DIM)])
        yield from _section("Filled by rule", list(self._fallbacks(trace)), lambda line: line)
        yield from _section("Kept in metadata without a row", trace.carried, self._carried)
        yield from _section("Lost", [each for each in trace.values if each.reason is not None], _lost)
        yield [("Request as it would be sent", _HEAD)]
        yield [(f"POST {PATHS[request.kind]}", "")]
        yield from json_lines(request.body, lambda _: "", _MOST_LINES)

    def _applied(self, applied: AppliedRow) -> Line:
        style = _LOST if applied.result else _TAKEN
        line: Line = [
            (f"{clean(path_text(applied.source), 200)} = {compact(applied.value, _VALUE)}", ""),
            (f" {self._arrow} ", _DIM),
            (clean(applied.row.destination.text, 200), style),
        ]
        if applied.result:
            line.append((f"  not sent: {WHY_LOST.get(applied.result, applied.result)}", _LOST))
        return line

    def _fallbacks(self, trace: Trace) -> Iterator[Line]:
        for fallback in trace.fallbacks:
            sources = " + ".join(path_text(keys) for keys in fallback.sources)
            yield self._filled(clean(sources, 200), fallback.place, fallback.value)
        for constant in trace.constants:
            yield self._filled("constant", constant.place, constant.value)

    def _filled(self, source: str, place: Keys, value: Any) -> Line:
        return [
            (source, ""),
            (f" {self._arrow} ", _DIM),
            (clean(path_text(place), 200), _TAKEN),
            (f" = {compact(value, _VALUE)}", ""),
        ]

    def _carried(self, carried: tuple[Keys, Keys]) -> Line:
        keys, place = carried
        return [
            (clean(path_text(keys), 200), ""),
            (f" {self._arrow} ", _DIM),
            (clean(path_text(place), 200), _TAKEN),
        ]


def _title(trace: Trace) -> str:
    is_default = bool(trace.rows) and all(applied.row.is_default for applied in trace.rows)
    return "Rows that fired (of the default table)" if is_default else "Rows that fired"


def _section(title: str, entries: Sequence[_Entry], line_of: Callable[[_Entry], Line]) -> Iterator[Line]:
    """Yield the lines of the first entries, and how many more there are; no line is made of those."""
    if not entries:
        return
    yield [(title, _HEAD)]
    yield from ([("  ", ""), *line_of(entry)] for entry in entries[:_MOST_ENTRIES])
    if len(entries) > _MOST_ENTRIES:
        yield [(f"  and {len(entries) - _MOST_ENTRIES:,} more", _DIM)]
    yield []


def _lost(traced: TracedValue) -> Line:
    reason = traced.reason or ""
    return [
        (f"{clean(path_text(traced.keys), 200)} = {compact(traced.value, _VALUE)}", _LOST),
        (f"  {WHY_LOST.get(reason, reason)}", ""),
    ]


def _event(explanation: Explanation) -> list[Line]:
    """Return the event as it came: what is sent of it in one colour, what is lost in another."""
    record = explanation.record
    if not isinstance(record, Event):
        return [[(clean(record.raw[:4_000].decode("utf-8", "replace"), 1_000), "")]]
    styles: dict[tuple[str, ...], str] = {}
    if explanation.trace is not None:
        for traced in explanation.trace.values:
            if traced.value is not None:
                styles[_texts(traced.keys)] = _LOST if traced.reason else _TAKEN
        for applied in explanation.trace.rows:
            styles.setdefault(_texts(applied.source), _LOST if applied.result else _TAKEN)
        for fallback in explanation.trace.fallbacks:
            styles.update((_texts(keys), _TAKEN) for keys in fallback.sources)
    return json_lines(record.fields, lambda keys: styles.get(keys, ""), _MOST_LINES)


def _texts(keys: Keys) -> tuple[str, ...]:
    return tuple(map(str, keys))
