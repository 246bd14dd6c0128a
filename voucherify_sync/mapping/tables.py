"""The compiled mapping tables: rows in, closures out that fill the parts of a request from each event.

Paths are taken apart once, here. The event is never changed: whatever object goes into the parts is a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

from msgspec import Struct

from voucherify_sync.mapping.places import Writer, writer
from voucherify_sync.mapping.rows import Row
from voucherify_sync.model import Dropped, Json
from voucherify_sync.paths import MISSING, Keys, parse_destination, read

Step = Callable[[Json, Json, list[Dropped]], None]
"""Reads an event's fields and fills the parts of a request, for one row or some."""


class Table:
    """The compiled rows and constants of one event type.

    Attributes:
        rows: as they are applied: an object row before the deeper ones that win over it, a later row last.
        fired: for each of the rows, how often it found a value.
    """

    def __init__(self, rows: Sequence[Row], constants: Mapping[str, Any], *, keep_nulls: bool) -> None:
        self.rows = sorted(rows, key=lambda row: len(row.destination.keys))
        self.fired = [0] * len(self.rows)
        self._keep_nulls = keep_nulls
        compiled = [
            _Compiled(
                row, number, writer(row.destination, each_key=row.source.wildcard, keep_nulls=keep_nulls)
            )
            for number, row in enumerate(self.rows)
        ]
        self._steps: list[Step] = []
        for parent, neighbours in groupby(compiled, key=_shared_parent):
            siblings = list(neighbours)
            self._steps += [self._read_parent(parent, siblings)] if parent else map(self._read_row, siblings)
        self._constants: list[tuple[Writer, Any]] = [
            (writer(parse_destination(text), each_key=False, keep_nulls=keep_nulls), value)
            for text, value in constants.items()
            if value is not None or keep_nulls
        ]

    def fill(self, fields: Json, parts: Json, dropped: list[Dropped]) -> None:
        """Apply every row to an event's fields, then the constants.

        ``parts`` holds a ``customer`` object, however empty; ``dropped`` takes what cannot be put there.
        """
        for step in self._steps:
            step(fields, parts, dropped)
        for put, value in self._constants:
            put(parts, value, dropped)

    def _read_row(self, compiled: _Compiled) -> Step:
        row, number, put = compiled.row, compiled.number, compiled.put
        keep_nulls, fired = self._keep_nulls, self.fired

        def step(fields: Json, parts: Json, dropped: list[Dropped]) -> None:
            value = read(fields, row.source)
            if row.instead is not None and (value is MISSING or value is None):
                instead = read(fields, row.instead)
                value = value if instead is MISSING else instead
            if value is MISSING or (value is None and not keep_nulls):
                return
            fired[number] += 1
            put(parts, value, dropped)

        return step

    def _read_parent(self, parent: Keys, siblings: list[_Compiled]) -> Step:
        """Compile rows that read keys of one object, as default tables and most settings do: it is found once."""
        keep_nulls, fired = self._keep_nulls, self.fired
        one_by_one = list(map(self._read_row, siblings))
        levels = [
            (key, frozenset(whole for each in siblings if (whole := each.row.source.steps[depth].whole)))
            for depth, key in enumerate(parent)
        ]
        keys = [
            (each.row.source.keys[-1], each.row.instead and each.row.instead.keys[-1], each.number, each.put)
            for each in siblings
        ]

        def step(fields: Json, parts: Json, dropped: list[Dropped]) -> None:
            place: Any = fields
            for key, wholes in levels:
                if not wholes.isdisjoint(place):
                    for each in one_by_one:
                        each(fields, parts, dropped)
                    return
                place = place.get(key)
                if not isinstance(place, dict):
                    return
            for key, twin, number, put in keys:
                value = place.get(key)
                if value is None and twin:
                    value = place.get(twin)
                if value is None and not (keep_nulls and (key in place or twin in place)):
                    continue
                fired[number] += 1
                put(parts, value, dropped)

        return step


class _Compiled(Struct, frozen=True):
    row: Row
    number: int
    put: Writer


def _shared_parent(compiled: _Compiled) -> Keys:
    """Return the keys of the object that a row reads a key of; nothing where it must be read on its own."""
    source, instead = compiled.row.source, compiled.row.instead
    parent = source.keys[:-1]
    if not all(isinstance(key, str) for key in source.keys) or (instead and instead.keys[:-1] != parent):
        return ()
    return parent
