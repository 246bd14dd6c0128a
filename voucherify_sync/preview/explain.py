"""Explains events: what a replay would do with each, and where its values go. Nothing is sent.

The decisions are those of a replay: the same filters, the same mapping, and the very bytes that would be sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from voucherify_sync.events import PATHS, BadRecord, Batch, Event, Json, Request
from voucherify_sync.expressions.conditions import Condition
from voucherify_sync.mapping.filters import Selection, WatchedCondition, own_ids
from voucherify_sync.mapping.name_lists import NameList
from voucherify_sync.mapping.sections import name_of
from voucherify_sync.mapping.trace import Trace, traced
from voucherify_sync.outcomes import Decision, Outcome, State, words
from voucherify_sync.paths import path_of
from voucherify_sync.preview.comparison import Comparison, RequestChange
from voucherify_sync.run.pipeline import Pipeline
from voucherify_sync.settings import Settings
from voucherify_sync.sources.decode import decode

_NO_TRACE: Final = Trace("", [], [], [], [], [])


_MAX_COUNTED: Final = 100_000
"""Records that are looked through for other events of an order: an explanation is for people, who wait."""


class OtherEvents(Struct, frozen=True):
    """Further events of an order in the input, which are folded with the one that is explained.

    Attributes:
        count: number of them.
        is_whole: all of the input was looked through; else there may be more.
    """

    count: int
    is_whole: bool


class Explanation(Struct, frozen=True):
    """What happens to one record.

    Attributes:
        record: as it was read.
        outcome: where it would end: planned, skipped or invalid.
        request: the request as it would be sent; None if there is none.
        trace: the way of its values into the request; None without a request.
        conditions: those of the settings that were asked of it, each with whether it holds.
        entry: the name of the entry of `track.events` that applies; None for none.
        others: of an order; None for what is no order, and where the input cannot be read again.
    """

    record: Event | BadRecord
    outcome: Outcome
    request: Request | None = None
    trace: Trace | None = None
    conditions: tuple[tuple[Condition, bool], ...] = ()
    entry: str | None = None
    others: OtherEvents | None = None

    @property
    def path(self) -> str | None:
        """Path of the call that would be made; None without a request."""
        return None if self.request is None else PATHS[self.request.kind]

    @property
    def why(self) -> str:
        """Why there is no request, in words; empty if there is one."""
        if self.request is not None:
            return ""
        return self.outcome.detail or words(self.outcome.state, self.outcome.reason)


def explained(pipeline: Pipeline, record: Event | Outcome) -> Explanation:
    """Return what happens to a record, as ``decode`` yields it.

    Args:
        pipeline: with the mapping and the filters that decide.
        record: which one.
    """
    if isinstance(record, Outcome):
        return Explanation(record.record, record)
    filters = pipeline.filters
    entry = filters.entry_of(record)
    conditions = tuple([(each, each.holds(record.fields)) for each in filters.conditions(record)])
    event = pipeline.admitted(record)
    made = event if isinstance(event, Outcome) else traced(pipeline.mapper, event)
    if isinstance(made, Outcome):
        return Explanation(record, made, conditions=conditions, entry=entry)
    mapped, trace = made
    request = pipeline.mapper.encoded(record, mapped)
    if isinstance(request, Outcome):
        return Explanation(record, request, conditions=conditions, entry=entry)
    planned = Outcome(record, State.PLANNED, request=request)
    return Explanation(record, planned, request, trace, conditions, entry)


class EventSearch:
    """Yields the explanations of the wanted events, as they are found.

    Args:
        settings: whose mapping and filters decide.
        batches: of the lines to look through.
        types: events of these types; empty: all.
        names: track events of these names; a ``*`` matches any run of characters. Empty: all events.
        users: events of these customers, by the id that would be the source_id, or by an id of the event; empty: all.
        message_ids: events with these; empty: all.
        line: records of this line; None: all.
        where: events for which this condition holds; None: all.
        read_again: returns all lines once more, to count the other events of an order; None where that cannot be.

    Attributes:
        read: records looked at.
        compared: records that `changes` compared.
    """

    def __init__(
        self,
        settings: Settings,
        batches: Iterable[Batch],
        *,
        types: Sequence[str] = (),
        names: Sequence[str] = (),
        users: Sequence[str] = (),
        message_ids: Sequence[str] = (),
        line: int | None = None,
        where: str | None = None,
        read_again: Callable[[], Iterable[Batch]] | None = None,
    ) -> None:
        self.read = self.compared = 0
        self._settings = settings
        self._read_again = read_again
        self._events_of_orders: tuple[Counter[str], bool] | None = None
        self._pipeline = Pipeline(settings, Selection())
        self._batches = batches
        self._names = NameList("--event", names) if names else None
        self._users = NameList("--user", users, are_ids=True) if users else None
        self._types, self._message_ids, self._line = set(types), set(message_ids), line
        self._where = None if where is None else WatchedCondition("--where", where)
        self._names_of_where = None if self._where is None else self._where.names()

    def __iter__(self) -> Iterator[Explanation]:
        for record in self._picked():
            explanation = explained(self._pipeline, record)
            if self._is_wanted(explanation.record, explanation.request):
                request = explanation.request
                if request is not None and request.order_id is not None:
                    explanation = replace(explanation, others=self._others(request.order_id))
                yield explanation

    def _others(self, order_id: str) -> OtherEvents | None:
        """Count the other events of an order; the input is looked through when the first order is explained."""
        if self._read_again is None:
            return None
        if self._events_of_orders is None:
            self._events_of_orders = _count_by_order(self._settings, self._read_again())
        counts, is_whole = self._events_of_orders
        return OtherEvents(max(counts[order_id] - 1, 0), is_whole)

    def changes(self, comparison: Comparison) -> Iterator[RequestChange]:
        """Yield what changes for the wanted events, where something does; `compared` counts all of them.

        Args:
            comparison: of earlier settings with those of this search.
        """
        for record in self._picked():
            change = comparison.change(record)
            if self._is_wanted(change.record, change.before, change.after):
                self.compared += 1
                if change.is_changed:
                    yield change

    def _picked(self) -> Iterator[Event | Outcome]:
        """Yield the records that are wanted by what they say themselves."""
        for batch in self._batches:
            if self._line is not None and batch.first_line > self._line:
                return
            for record in decode(batch):
                self.read += 1
                if self._is_picked(record):
                    yield record

    def _is_wanted(self, record: Event | BadRecord, *decisions: Decision | None) -> bool:
        """Tell whether a record is of a wanted customer."""
        return self._users is None or any(map(self._users.sees, _ids(record, decisions)))

    def notices(self) -> Iterator[str]:
        """Yield sentences on names, customers and a condition that no event met, and on what may be meant instead."""
        for wanted in (self._names, self._users, self._names_of_where, self._where):
            if wanted is not None:
                yield from wanted.notices()

    def _is_picked(self, record: Event | Outcome) -> bool:
        """Tell by what the record says itself whether it is wanted; whose it is, only the mapping tells."""
        own = record.record if isinstance(record, Outcome) else record
        if self._line is not None and own.position.line != self._line:
            return False
        if self._types and own.type not in self._types:
            return False
        if self._message_ids and own.message_id not in self._message_ids:
            return False
        track_name = name_of(own) if isinstance(own, Event) and own.type == "track" else None
        if track_name is not None and self._names_of_where is not None:
            self._names_of_where.sees(track_name)
        if self._where is not None and not (isinstance(own, Event) and self._where.holds(own.fields)):
            return False
        if self._names is None:
            return True
        return track_name is not None and self._names.sees(track_name)


def _count_by_order(settings: Settings, batches: Iterable[Batch]) -> tuple[Counter[str], bool]:
    """Count the events of each order, each key once; tell whether all records were looked at."""
    pipeline, counts, keys, read = Pipeline(settings, Selection()), Counter[str](), set[bytes](), 0
    for batch in batches:
        for decisions in pipeline.batches(batch):
            read += len(decisions)
            for each in decisions:
                if isinstance(each, Request) and each.order_id is not None and each.event.key not in keys:
                    keys.add(each.event.key or b"")
                    counts[each.order_id] += 1
            if read > _MAX_COUNTED:
                return counts, False
    return counts, True


def _ids(record: Event | BadRecord, decisions: Iterable[Decision | None]) -> list[str]:
    """Return the ids by which an event may be picked: those of its requests, and its own."""
    ids = [decision.source_id for decision in decisions if isinstance(decision, Request)]
    return [*ids, *own_ids(record)] if isinstance(record, Event) else ids


def to_json(explanation: Explanation) -> bytes:
    """Return what `to_dict` tells as JSON; without the values of an event that is nested too deep to be written."""
    told = to_dict(explanation)
    try:
        return msgspec.json.encode(told)
    except RecursionError:
        return msgspec.json.encode(told | {"event": None} | _trace_to_dict(_NO_TRACE))


def to_dict(explanation: Explanation) -> Json:
    """Return an explanation as JSON values. Additive only."""
    record, outcome, request = explanation.record, explanation.outcome, explanation.request
    return {
        "source": str(record.position),
        "type": record.type,
        "name": record.name,
        "messageId": record.message_id,
        "state": str(outcome.state),
        "reason": outcome.reason,
        "why": explanation.why or None,
        "event": record.fields if isinstance(record, Event) else None,
        "entry": explanation.entry,
        "other_events_of_order": explanation.others
        and {"count": explanation.others.count, "is_whole": explanation.others.is_whole},
        "condition": [{"text": each.text, "holds": holds} for each, holds in explanation.conditions],
        "repaired": list(record.repaired) if isinstance(record, Event) else [],
        **_trace_to_dict(explanation.trace or _NO_TRACE),
        "request": request and {"method": "POST", "path": explanation.path, "body": Raw(request.payload)},
    }


class _CarriedValue(Struct, gc=False):
    """An entry of ``carried``: there may be 100,000 of them, and each takes a quarter of an object's memory."""

    source: str
    destination: str


class _UnmappedValue(Struct, gc=False):
    """An entry of ``lost``, of which there may be as many."""

    path: str
    value: Any
    reason: str


def _trace_to_dict(trace: Trace) -> Json:
    return {
        "context_traits": trace.context_traits,
        "rows": [
            {
                "row": applied.row.text,
                "default": applied.row.is_default,
                "part_of": applied.row.whole.text if applied.row.whole else None,
                "source": path_of(*applied.source),
                "value": applied.value,
                "destination": applied.row.destination.text,
                "not_sent": applied.result,
            }
            for applied in trace.rows
        ],
        "set": [
            {
                "destination": entry.destination,
                "directive": entry.name,
                "value": entry.value,
                "from": [path_of(*keys) for keys in entry.sources if keys],
                "branches": list(entry.branches),
                "not_sent": entry.result,
            }
            for entry in trace.entries
        ],
        "fallbacks": [
            {
                "destination": path_of(*fallback.place),
                "value": fallback.value,
                "from": [path_of(*keys) for keys in fallback.sources],
            }
            for fallback in trace.fallbacks
        ],
        "constants": [
            {"destination": path_of(*constant.place), "value": constant.value} for constant in trace.constants
        ],
        "carried": [_CarriedValue(path_of(*keys), path_of(*place)) for keys, place in trace.carried],
        "lost": [
            _UnmappedValue(path_of(*value.keys), value.value, value.reason)
            for value in trace.values
            if value.reason is not None
        ],
    }
