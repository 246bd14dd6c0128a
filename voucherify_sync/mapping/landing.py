"""What of the writes into a request is there in the end: writes and the request in, why each arrived or not out."""

from __future__ import annotations

from typing import Final

from voucherify_sync.mapping.fields import NOT_AN_OBJECT, NOT_TEXT, present_text, text_of
from voucherify_sync.mapping.payload import Request
from voucherify_sync.mapping.writes import Write, located, overwritten
from voucherify_sync.model import Json, SegmentEvent
from voucherify_sync.paths import MISSING, WORKING_FIELDS, Keys

NULL: Final = "null"
BLANK: Final = "blank"
EMPTY: Final = "empty"
OVERWRITTEN: Final = "overwritten"
NAME_GIVEN: Final = "name_given"

_NAME: Final[Keys] = ("customer", "name")
_EVENT: Final[Keys] = ("event",)
_WORKING: Final = frozenset(("customer", field) for field in WORKING_FIELDS)


class Landing:
    """What of the writes into a request is there in the end.

    Attributes:
        writes: in the order in which they were made.
        name_is_given: a row or a constant brought a name, so first and last name make none.
    """

    def __init__(self, parts: Json, request: Request, writes: list[Write]) -> None:
        self.parts = parts
        self.writes = writes
        self._dropped = {drop.path: drop.reason for drop in request.dropped if drop.reason != NOT_AN_OBJECT}
        self._overwritten = overwritten(writes)
        self._touched = {
            write.place[:length]
            for write in writes
            if write.refused is None
            for length in range(1, len(write.place) + 1)
        }
        self.name_is_given = any(
            write.place == _NAME and not lost and not write.refused and present_text(write.value) is not None
            for write, lost in zip(writes, self._overwritten, strict=True)
        )

    def reason(self, number: int) -> str | None:
        """Return why a write left nothing in the request, or None if it did."""
        write = self.writes[number]
        if write.refused is not None:
            return write.refused
        if self._overwritten[number]:
            return OVERWRITTEN
        if write.place == _EVENT or write.place in _WORKING or write.place == _NAME:
            return self._reason_of_name(write)
        for length in range(1, len(write.place) + 1) if self._dropped else ():
            if reason := self._dropped.get(".".join(map(str, write.place[:length]))):
                return reason
        if located(self.parts, write.place) is MISSING:
            return NULL if write.value is None else EMPTY
        return None

    def _reason_of_name(self, write: Write) -> str | None:
        if write.value is None:
            return None if located(self.parts, write.place) is None else NULL
        if present_text(write.value) is None:
            return NOT_TEXT if text_of(write.value) is None else BLANK
        return NAME_GIVEN if write.place in _WORKING and self.name_is_given else None

    def arrival(self, write: Write) -> Keys:
        """Return where the value of a write stands in the request."""
        return _NAME if write.place in _WORKING else write.place

    def was_carried(self, metadata: Keys, inside: Keys) -> bool:
        """Tell whether a value came to metadata with the key that nobody took, and not by a row."""
        return (*metadata, inside[0]) not in self._touched and located(
            self.parts, (*metadata, *inside)
        ) is not MISSING

    def own_names(self, event: SegmentEvent, root: Keys) -> dict[Keys, str]:
        """Return the event's own first and last name, where they serve to make the customer's name."""
        if self.name_is_given:
            return {}
        names = {}
        for field in WORKING_FIELDS:
            mapped = any(
                write.place == ("customer", field) and self.reason(number) is None
                for number, write in enumerate(self.writes)
            )
            text = present_text(located(event.fields, keys := (*root, field)))
            if text is not None and not mapped:
                names[keys] = text
        return names
