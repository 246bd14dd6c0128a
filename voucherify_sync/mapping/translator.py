"""The compiled mapping of one event type: an event's fields in, the draft of a request out.

Its parts are as the rows made them: types, ids and fallbacks are settled by payload.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from voucherify_sync.mapping.places import own
from voucherify_sync.mapping.rows import Row
from voucherify_sync.mapping.tables import Table
from voucherify_sync.mapping.taken import Taken, lost_inside, taken_of
from voucherify_sync.mapping.tally import Section
from voucherify_sync.model import Dropped, Json
from voucherify_sync.paths import Keys, object_at

_NO_KEYS: Final[Taken] = {}


class Draft(Struct, gc=False):
    """The parts of a request in the making.

    Attributes:
        parts: ``customer`` and, where rows fill them, ``event``, ``metadata``, ``referral``, ``loyalty``.
        given: the event's traits or properties; empty if it has none.
        left: keys of ``given`` that no row took; nulls count only where they erase fields.
        left_inside: paths of values that no row took inside an object of which rows took something.
        dropped: what could not be put into the parts.
    """

    parts: Json
    given: Json
    left: list[str]
    left_inside: list[str]
    dropped: list[Dropped]


class Translator:
    """Rows, constants and counts of one event type.

    Attributes:
        root: ``traits`` or ``properties``, whose keys are looked after.
        rows: what is mapped.
        constants: what is added, by destination.
        keep_nulls: nulls erase fields.
        spare_place: the metadata object that takes all values that no row takes, or None to drop them.
    """

    def __init__(
        self,
        root: str,
        rows: Sequence[Row],
        constants: Mapping[str, Any],
        *,
        keep_nulls: bool = False,
        spare_place: Keys | None = None,
    ) -> None:
        self.root = root
        self.table = Table(rows, constants, keep_nulls=keep_nulls)
        self.section = Section(root, [row.text for row in self.table.rows], self.table.fired)
        self._taken = taken_of(root, rows)
        self.keep_nulls = keep_nulls
        self.spare_place = spare_place

    def draft(self, fields: Json, customer: Json) -> Draft:
        """Fill the parts of a request, beginning with what is known of the customer."""
        dropped: list[Dropped] = []
        parts: Json = {"customer": customer}
        self.table.fill(fields, parts, dropped)
        given = fields.get(self.root)
        if not isinstance(given, dict):
            given = {}
        left, left_inside = self._left(given)
        draft = Draft(parts, given, left, left_inside, dropped)
        if self.spare_place is not None:
            self.carry(draft, draft.left, self.spare_place)
        return draft

    def carry(self, draft: Draft, keys: Sequence[str], place: Keys) -> None:
        """Put values of the traits or properties into a metadata object, where no row has put that key."""
        if not keys:
            return
        metadata = object_at(draft.parts, place)
        for key in keys:
            if key not in metadata:
                metadata[key] = own(draft.given[key])
        carried = set(keys)
        draft.left = [key for key in draft.left if key not in carried]

    def count(self, draft: Draft, used: Sequence[str]) -> None:
        """Book what was lost of an event. ``used`` are keys that no row took, but a fallback."""
        lost = draft.left
        if used or self.keep_nulls:
            lost = [key for key in lost if key not in used and draft.given[key] is not None]
        if lost:
            self.section.leave(tuple(lost))
        for path in draft.left_inside:
            self.section.leave_inside(path)
        if draft.dropped:
            self.section.drop(draft.dropped)

    def _left(self, given: Json) -> tuple[list[str], list[str]]:
        left: list[str] = []
        left_inside: list[str] = []
        taken = self._taken
        if taken is None:
            return left, left_inside
        for key, value in given.items():
            deeper = taken.get(key, _NO_KEYS)
            if deeper is None or (value is None and not self.keep_nulls):
                continue
            if deeper and isinstance(value, dict):
                left_inside += lost_inside(f"{self.root}.{key}", value, deeper)
            elif value is not None or not deeper:
                left.append(key)
        return left, left_inside
