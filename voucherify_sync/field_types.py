"""Field types of Voucherify: numbers in text fields become their exact decimal text, and what fits no field is dropped.

Ids are never trimmed. The mapping brings values of events to these types; the settings are asked beforehand whether
their constants have them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import Any, Final

from voucherify_sync.events import Json
from voucherify_sync.fields import MAX_EVENT_NAME, ORDER_AMOUNTS, ORDER_STATUSES
from voucherify_sync.paths import HOLDERS, Keys, is_in_free_object
from voucherify_sync.text import text_of

MAX_NESTING: Final = 500
"""Levels of objects and lists in a value of a request; Python cannot walk through twice as many."""

NOT_TEXT: Final = "not_text"
NOT_AN_OBJECT: Final = "not_an_object"
NOT_A_DATE: Final = "not_a_date"
NOT_A_NUMBER: Final = "not_a_number"
NOT_A_STATUS: Final = "not_a_status"
NOT_A_LIST: Final = "not_a_list"
BLANK: Final = "blank"
NO_CODE: Final = "no_code"
BLANK_ID: Final = "blank_id"
DOES_NOT_FIT: Final = "apply_failed"
"""Reasons of dropped values."""

TOO_LONG: Final = "event_name_too_long"
"""Reason of an event that is not sent."""

IDS: Final = ("id", "source_id")
"""The customer's fields by which Voucherify knows it."""

Dropped = tuple[str, str]
"""A value that a row found and that is not sent: the path of its destination, such as ``customer.phone``, and why."""

_NUMBER: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_MAX_AMOUNT: Final = 40
"""Characters of an amount."""
_TOO_MUCH: Final = 2**53
"""Minor units that not every JSON reader can tell from the next number."""
_DATE: Final = re.compile(r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})(?:[Tt ][0-9]{2}.*)?", re.DOTALL)


def present_text(value: object) -> str | None:
    """Return the text of a value, or None if it is none or blank: then a fallback takes its place."""
    if value is None:
        return None
    text = value if type(value) is str else text_of(value)
    return text if text and not text.isspace() else None


def date_of(birthdate: str) -> str | None:
    """Return a date of the calendar as YYYY-MM-DD; None if the text is none.

    A datetime is cut to its date, as it is written: a birthday has no time zone. YYYYMMDD is a date, too.
    """
    found = _DATE.fullmatch(birthdate.strip())
    if found is None:
        return None
    text = "-".join(found.groups())
    try:
        date.fromisoformat(text)
    except ValueError:
        return None
    return text


def text_for(name: str, value: object) -> tuple[str | None, str | None]:
    """Return the text that a field of a customer or an address gets, or why the value is dropped.

    A blank id is no text to drop here: which id stands in for it is known once all rows are read.

    Args:
        name: of the field.
        value: not null.
    """
    text = text_of(value)
    if text is None:
        return None, NOT_TEXT
    if name in IDS:
        return text, None
    if not text.strip():
        return None, BLANK
    if name == "birthdate":
        day = date_of(text)
        return day, NOT_A_DATE if day is None else None
    return text, None


def reason_of_misfit(place: Keys, value: object) -> str | None:
    """Return why a value never arrives at a place of a request, whatever the event; None for one that can.

    Args:
        place: keys of a destination.
        value: a constant; null is none.
    """
    if place in _ORDER_MISFITS and value is not None:
        is_fit, misfit = _ORDER_MISFITS[place]
        return None if is_fit(value) else misfit
    if value is None or (is_in_free_object(place) and place not in HOLDERS):
        return None
    if place in HOLDERS:
        return None if type(value) is dict else NOT_AN_OBJECT
    text, reason = text_for(str(place[-1]), value)
    if reason is None and place == ("event",) and text is not None and len(text) > MAX_EVENT_NAME:
        return TOO_LONG
    if text is not None and not text.strip():
        return BLANK_ID
    return None if place == ("referral", "referrer_id") and reason == BLANK else reason


def amount_of(value: Any, minor_units: int) -> int | None:
    """Return an amount in minor units, rounded half up; it may be negative. None for what is no decimal number.

    Args:
        value: a number, or the text of one.
        minor_units: of one unit of the archive.
    """
    if type(value) is int:
        amount = value * minor_units
        return amount if abs(amount) < _TOO_MUCH else None
    is_read = type(value) is float or (type(value) is str and len(value) <= _MAX_AMOUNT)
    return _amount_of_decimal(value, minor_units) if is_read else None


@lru_cache(maxsize=4_096)  # the prices of a shop come again and again
def _amount_of_decimal(value: float | str, minor_units: int) -> int | None:
    number = number_of(value)
    exact = None if number is None else number * minor_units
    if exact is None or abs(exact) >= _TOO_MUCH:
        return None
    return int(exact.to_integral_value(ROUND_HALF_UP))


def number_of(value: object) -> Decimal | None:
    """Return the decimal number that a number or its text is, exactly; None for anything else."""
    text = value.strip() if type(value) is str else repr(value) if type(value) in (int, float) else ""
    if len(text) > _MAX_AMOUNT or not _NUMBER.fullmatch(text):
        return None
    number = Decimal(text)
    return number if abs(number) < _TOO_MUCH else None


def _is_amount(value: object) -> bool:
    amount = amount_of(value, 1)
    return amount is not None and amount >= 0


_ORDER_MISFITS: Final[dict[Keys, tuple[Callable[[Any], bool], str]]] = {
    ("status",): (lambda value: value in ORDER_STATUSES, NOT_A_STATUS),
    ("items",): (
        lambda value: type(value) is list and all(type(item) is dict for item in value),
        NOT_A_LIST,
    ),
    **{(name,): (_is_amount, NOT_A_NUMBER) for name in ORDER_AMOUNTS},
}
"""Place of an order -> what fits there, and why anything else does not."""


def normalize_coded(part: Json, path: str, dropped: list[Dropped]) -> bool:
    """Bring the fields of ``referral`` or ``loyalty`` to text, in place; what is no text is taken out and reported.

    Returns:
        Whether it has a code, without which Voucherify refuses it.
    """
    odd = [name for name, value in part.items() if type(value) is not str and value is not None]
    for name in odd:
        text = text_of(part[name])
        if text is None:
            del part[name]
            dropped.append((f"{path}.{name}", NOT_TEXT))
        else:
            part[name] = text
    if present_text(part.get("code")) is not None:
        return True
    dropped.append((path, NO_CODE))
    return False
