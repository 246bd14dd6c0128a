"""The shape of an event: all that decides which of its values are mapped and where, and nothing else.

Events of one shape are traced once and counted together. An event whose shape would not tell enough has none.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from types import NoneType
from typing import Any, Final

from voucherify_sync.mapping.fields import MAX_EVENT_NAME, present_text
from voucherify_sync.mapping.payload import Mapping
from voucherify_sync.mapping.rows import Row
from voucherify_sync.mapping.tracing import ROOTS
from voucherify_sync.model import Json, SegmentEvent
from voucherify_sync.paths import FieldPath, Keys, read
from voucherify_sync.settings import Settings

MAX_BYTES: Final = 16 * 1024
"""A longer event has no shape: what is remembered of many such would fill the memory."""

_MAX_DEPTH: Final = 16
_BLANK, _TEXT, _LONG, _NUMBER, _BOOLEAN, _NULL, _LIST, _NOTHING, _SAYS_LITTLE = range(9)
_ABSENT: Final = object()  # a null is counted, what is not there is not
_KINDS: Final[dict[type, int]] = {
    int: _NUMBER,
    float: _NUMBER,
    bool: _BOOLEAN,
    NoneType: _NULL,
    list: _LIST,
}


class _TooDeepError(Exception):
    """An object is nested too deeply for a shape."""


class Shaper:
    """Takes the shapes of events for one mapping.

    Args:
        settings: those of the mapping.
        mapping: whose rows tell what else of an event decides.
    """

    def __init__(self, settings: Settings, mapping: Mapping) -> None:
        self._roots = {kind: each.root for kind, each in mapping.translators.items()}
        self._has_personas = not settings.personas.disabled
        rows = {kind: each.table.rows for kind, each in mapping.translators.items()}
        self._watched = {kind: list(_watched(each, ROOTS[kind])) for kind, each in rows.items()}
        self._joined = {kind: _joined(each) for kind, each in rows.items()}

    def shape(self, event: SegmentEvent) -> Hashable:
        """Return the shape of an identify or a track event, or None."""
        if event.unsafe or len(event.raw) > MAX_BYTES:
            return None
        fields, kind = event.fields, event.type
        context = fields.get("context")
        if type(context) is not dict:
            context = {}
        at_top, in_context = self._joined[kind]
        if not at_top.isdisjoint(fields) or not in_context.isdisjoint(context):
            return None
        try:
            return (
                kind,
                _kind(fields.get(self._roots[kind], _ABSENT)),
                _kind(context.get("traits", _ABSENT)),
                _has_id(fields),
                kind == "track" and event.name is not None and len(event.name) > MAX_EVENT_NAME,
                self._computed(context) if kind == "identify" else None,
                tuple([_kind(read(fields, path)) for path in self._watched[kind]]),
            )
        except _TooDeepError:
            return None

    def _computed(self, context: Json) -> str | bool:
        personas = context.get("personas")
        if not self._has_personas or not isinstance(personas, dict):
            return False
        key = personas.get("computation_key")
        return key if isinstance(key, str) else True


def _kind(value: Any, depth: int = 0) -> Hashable:
    """Return of a value what decides where it goes: of an object its keys and the kinds of its values."""
    if type(value) is not dict:
        return _kind_of_text(value) if type(value) is str else _kind_of_other(value)
    if depth == _MAX_DEPTH:
        raise _TooDeepError
    kinds: list[Hashable] = []
    for inside in value.values():
        cls = type(inside)
        if cls is str:
            kinds.append(_kind_of_text(inside))
        elif cls is dict:
            kinds.append(_kind(inside, depth + 1))
        else:
            kinds.append(_kind_of_other(inside))
    return (*value, *kinds)


def _kind_of_text(text: str) -> int:
    if not text:
        return _SAYS_LITTLE  # as an example it gives way, even to white space
    if text.isspace():
        return _BLANK
    return _LONG if len(text) > MAX_EVENT_NAME else _TEXT


def _kind_of_other(value: Any) -> Hashable:
    """Tell 0 and the empty list apart: as examples they give way to a value that says more."""
    kind = _KINDS.get(type(value), _NOTHING)
    return kind if value or kind not in (_NUMBER, _LIST) else (kind, _SAYS_LITTLE)


def _has_id(fields: Json) -> bool:
    return (
        present_text(fields.get("userId")) is not None or present_text(fields.get("anonymousId")) is not None
    )


def _watched(rows: Iterable[Row], roots: tuple[Keys, ...]) -> Iterator[FieldPath]:
    """Yield the paths whose values lie outside of the objects that make the shape, or inside of lists."""
    for row in rows:
        for path in (row.source, row.instead):
            if path is None:
                continue
            is_inside = any(path.keys[: len(root)] == root for root in roots)
            if not is_inside or any(isinstance(key, int) for key in path.keys):
                yield path


def _joined(rows: Iterable[Row]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the keys with dots in them that a row would read, at the top of an event and in its context."""
    at_top, in_context = set(), set()
    for row in rows:
        for path in (row.source, row.instead):
            steps = path.steps if path is not None else ()
            if steps and steps[0].whole is not None:
                at_top.add(steps[0].whole)
            if len(steps) > 1 and steps[0].key == "context" and steps[1].whole is not None:
                in_context.add(steps[1].whole)
    return frozenset(at_top), frozenset(in_context)
