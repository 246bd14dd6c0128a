"""Which rows of a mapping are ordinary: a translator in, what they read and where it goes out.

Ordinary is a row that takes one text, or anything for metadata, from one place to another. Where an event has something
for a row that is not, or has it at an odd place, the whole event is not ordinary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from voucherify_sync.mapping.narrow import Needs, Taken
from voucherify_sync.mapping.rows import Row
from voucherify_sync.mapping.translator import Translator
from voucherify_sync.paths import (
    ADDRESS_FIELDS,
    CUSTOMER_TEXTS,
    WORKING_FIELDS,
    FieldPath,
    Keys,
    parse_destination,
)

METADATA: Final[tuple[Keys, ...]] = (("metadata",), ("customer", "metadata"))
TEXTS: Final[frozenset[Keys]] = frozenset(
    {
        ("event",),
        *(("customer", name) for name in (*CUSTOMER_TEXTS, *WORKING_FIELDS)),
        *(("customer", "address", name) for name in ADDRESS_FIELDS),
    }
)


class Plan:
    """What the ordinary rows of one type of event do.

    Attributes:
        root: ``traits`` or ``properties``.
        rows: number of each ordinary row -> where its value is read: at the first of these paths that has one.
        free: numbers of those rows that take any value, an object or a list among them.
        places: destination -> numbers of the rows that fill it, in their order; the last with a value wins.
        constants: destination -> what is put there in the end.
        is_possible: an event can be ordinary at all.
    """

    def __init__(self, translator: Translator, constants: Mapping[str, Any]) -> None:
        self.root = translator.root
        self.rows: dict[int, tuple[Keys, ...]] = {}
        self.free: list[int] = []
        self.places: dict[Keys, list[int]] = {}
        self.constants = {
            parse_destination(path).keys: value
            for path, value in constants.items()
            if value is not None or translator.keep_nulls
        }
        self.is_possible = translator.spare_place is None
        self._text = Taken.GIVEN_TEXT if translator.keep_nulls else Taken.TEXT
        self._asked: list[tuple[Keys, Taken]] = [((self.root, name), Taken.TEXT) for name in WORKING_FIELDS]
        for number, row in enumerate(translator.table.rows):
            self._add(number, row)
        if not all(self._is_ordinary_constant(keys, value) for keys, value in self.constants.items()):
            self.is_possible = False
        if translator.keep_nulls and any(keys[0] != self.root for keys, _ in self._asked):
            self.is_possible = False  # a null that is none of the traits' may be needed elsewhere

    def ask(self, needs: Needs) -> None:
        """Ask for all that the ordinary rows read, and for the absence of what the others do."""
        for keys, taken in self._asked:
            needs.value(keys, taken)

    def _add(self, number: int, row: Row) -> None:
        sources = [row.source] if row.instead is None else [row.source, row.instead]
        for source in sources:
            self._asked += [(keys, Taken.NEVER) for keys in _written_as_one_key(source)]
        is_first = row.destination.keys not in self.places
        is_text = row.destination.keys in TEXTS
        is_free = row.destination.keys[:-1] in METADATA and is_first and not row.destination.wildcard
        if (is_text or is_free) and all(map(_is_ordinary_source, sources)):
            self.rows[number] = tuple(source.keys for source in sources)
            self.places.setdefault(row.destination.keys, []).append(number)
            self.free += [number] if is_free else []
            needed = Taken.ANYTHING if is_free and self._text is Taken.TEXT else self._text
            self._asked += [(source.keys, needed) for source in sources]
        else:
            self._leave_to_the_general_mapping(sources)

    def _is_ordinary_constant(self, keys: Keys, value: Any) -> bool:
        if keys in TEXTS:
            return isinstance(value, str)
        return keys[:-1] in METADATA and keys not in self.places and isinstance(value, str | int | float)

    def _leave_to_the_general_mapping(self, sources: list[FieldPath]) -> None:
        absent = Taken.NOTHING if self._text is Taken.TEXT else Taken.NEVER
        for source in sources:
            keys = _before_an_index(source.keys)
            if len(keys) == 1 and keys[0] == self.root:
                self.is_possible = False
            elif keys:
                self._asked.append((keys, absent))


def _written_as_one_key(source: FieldPath) -> list[Keys]:
    """Return the keys by which a path may lie in an event from some level on as one, such as "address.city"."""
    return [
        (*source.keys[:depth], step.whole)
        for depth, step in enumerate(source.steps)
        if step.whole is not None
    ]


def _is_ordinary_source(source: FieldPath) -> bool:
    return not source.wildcard and all(isinstance(key, str) for key in source.keys)


def _before_an_index(keys: Keys) -> Keys:
    for depth, key in enumerate(keys):
        if isinstance(key, int):
            return keys[:depth]
    return keys
