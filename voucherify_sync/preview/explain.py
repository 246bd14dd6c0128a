"""What happens to one event, as values: a record and the settings in, an Explanation out. Nothing is sent.

The decisions are those of a replay: the same filters, the same mapping, and the very bytes that would be sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from voucherify_sync.events import BadRecord, Event, Json, Request
from voucherify_sync.mapping.field_types import present_text
from voucherify_sync.mapping.filters import NameMatches, NearMiss, Selection, name_matcher, name_of
from voucherify_sync.mapping.trace import Trace, traced
from voucherify_sync.outcomes import Outcome, State, words
from voucherify_sync.paths import Keys
from voucherify_sync.run.pipeline import Pipeline
from voucherify_sync.settings import Settings, path_of
from voucherify_sync.sources.decode import decode
from voucherify_sync.sources.reader import Reader

_NO_TRACE: Final = Trace([], [], [], [])


class Wanted(Struct, frozen=True):
    """Which records are explained. Empty sets and None want all.

    Attributes:
        names: track events of these names; a ``*`` matches any run of characters.
        users: events of these customers, by the id that would be the source_id, or by an id of the event.
        message_ids: events with these.
        line: records of this line.
    """

    names: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    message_ids: frozenset[str] = frozenset()
    line: int | None = None


class Explanation(Struct, frozen=True):
    """What happens to one record.

    Attributes:
        record: as it was read.
        outcome: where it would end: planned, skipped or invalid.
        request: the request as it would be sent; None if there is none.
        trace: the way of its values into the request; None without a request.
    """

    record: Event | BadRecord
    outcome: Outcome
    request: Request | None = None
    trace: Trace | None = None

    @property
    def why(self) -> str:
        """Why there is no request, in words; empty if there is one."""
        if self.request is not None:
            return ""
        return self.outcome.detail or words(self.outcome.state, self.outcome.reason)


class Explainer:
    """Explains records one by one.

    Args:
        settings: whose mapping and filters decide.
    """

    def __init__(self, settings: Settings) -> None:
        self._pipeline = Pipeline(settings, Selection())

    def explain(self, record: Event | Outcome) -> Explanation:
        """Return what happens to a record, as ``decode`` yields it."""
        event = self._pipeline.admitted(record)
        if isinstance(event, Outcome):
            return Explanation(event.record, event)
        made = traced(self._pipeline.mapper, event)
        if isinstance(made, Outcome):
            return Explanation(event, made)
        mapped, trace = made
        request = self._pipeline.mapper.encoded(event, mapped)
        if isinstance(request, Outcome):
            return Explanation(event, request)
        outcome = Outcome(event, State.PLANNED, request=request)
        return Explanation(event, outcome, request, trace)


class Picker:
    """Picks the records that are wanted.

    Args:
        wanted: which.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._matches = name_matcher(wanted.names)

    def may_want(self, record: Event | Outcome) -> bool:
        """Tell by what the record says itself whether it is to be explained; whose it is, is not looked at."""
        wanted = self._wanted
        own = record.record if isinstance(record, Outcome) else record
        if wanted.line is not None and own.position.line != wanted.line:
            return False
        if wanted.message_ids and own.message_id not in wanted.message_ids:
            return False
        if not wanted.names:
            return True
        return isinstance(own, Event) and own.type == "track" and self._matches(name_of(own))

    def wants(self, explanation: Explanation) -> bool:
        """Tell whether it is about one of the wanted customers."""
        users = self._wanted.users
        return not users or not users.isdisjoint(_ids(explanation))


class EventSearch:
    """Yields the explanations of the wanted events, as they are found.

    Args:
        settings: whose mapping and filters decide.
        reader: of the events.
        wanted: which events.

    Attributes:
        read: records looked at.
    """

    def __init__(self, settings: Settings, reader: Reader, wanted: Wanted) -> None:
        self.read = 0
        self._explainer = Explainer(settings)
        self._reader = reader
        self._wanted = wanted
        self._names = NameMatches(tuple(wanted.names))

    def __iter__(self) -> Iterator[Explanation]:
        picker, last_line = Picker(self._wanted), self._wanted.line
        for batch in self._reader:
            if last_line is not None and batch.first_line > last_line:
                return
            for record in decode(batch):
                self.read += 1
                if picker.may_want(record):
                    explanation = self._explainer.explain(record)
                    if picker.wants(explanation):
                        yield explanation
                elif self._wanted.names and isinstance(record, Event) and record.name:
                    self._names.rejected.add(record.name)

    def near_misses(self) -> list[NearMiss]:
        """Return the wanted names that no event had, and what may be meant instead."""
        return self._names.near_misses()


def _ids(explanation: Explanation) -> Iterator[str]:
    if explanation.request is not None:
        yield explanation.request.source_id
    if isinstance(explanation.record, Event):
        for key in ("userId", "anonymousId"):
            own_id = present_text(explanation.record.fields.get(key))
            if own_id is not None:
                yield own_id


def to_json(explanation: Explanation, path: str | None) -> bytes:
    """Return what `to_dict` tells as JSON; of an event that is nested too deep to be written no value is told."""
    told = to_dict(explanation, path)
    try:
        return msgspec.json.encode(told)
    except RecursionError:
        return msgspec.json.encode(told | {"event": None} | _trace_to_dict(_NO_TRACE))


def to_dict(explanation: Explanation, path: str | None) -> Json:
    """Return an explanation as JSON values. Additive only.

    Args:
        explanation: of one record.
        path: of the call that would be made, if there is one.
    """
    record, outcome, request = explanation.record, explanation.outcome, explanation.request
    mapped = None
    if request is not None:
        mapped = {"method": "POST", "path": path, "body": Raw(request.payload)}
    return {
        "source": str(record.position),
        "type": record.type,
        "name": record.name,
        "messageId": record.message_id,
        "state": str(outcome.state),
        "reason": outcome.reason,
        "why": explanation.why or None,
        "event": record.fields if isinstance(record, Event) else None,
        **_trace_to_dict(explanation.trace or _NO_TRACE),
        "request": mapped,
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
        "rows": [
            {
                "row": applied.row.text,
                "default": applied.row.is_default,
                "source": path_text(applied.source),
                "value": applied.value,
                "destination": applied.row.destination.text,
                "not_sent": applied.result,
            }
            for applied in trace.rows
        ],
        "fallbacks": [
            {
                "destination": path_text(fallback.place),
                "value": fallback.value,
                "from": list(map(path_text, fallback.sources)),
            }
            for fallback in trace.fallbacks
        ],
        "constants": [
            {"destination": path_text(constant.place), "value": constant.value}
            for constant in trace.constants
        ],
        "carried": [_CarriedValue(path_text(keys), path_text(place)) for keys, place in trace.carried],
        "lost": [
            _UnmappedValue(path_text(value.keys), value.value, value.reason)
            for value in trace.values
            if value.reason is not None
        ],
    }


def path_text(keys: Keys) -> str:
    """Return keys as a path of the settings; an index into a list stands in brackets."""
    text = ""
    for key in keys:
        part = f"[{key}]" if isinstance(key, int) else path_of(key)
        text += part if not text or part.startswith("[") else f".{part}"
    return text
