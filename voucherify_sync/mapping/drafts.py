"""Define the bodies that are sent, and compile the functions that put values into them.

A value is brought to the type of its place as it is put; objects are merged key by key and deeply. A field that is
UNSET is not sent; None is sent as null, which erases the field. No event is ever changed: a draft may share the event's
metadata, and copies it before anything is written into it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET, Struct

from voucherify_sync.events import Json
from voucherify_sync.expressions.directives import Reading
from voucherify_sync.field_types import BLANK, MAX_NESTING, NOT_AN_OBJECT, Dropped, text_for
from voucherify_sync.fields import ORDER_VALUES, Address, CustomerBody
from voucherify_sync.paths import FREE_OBJECTS, Keys, is_in_free_object, object_at

if TYPE_CHECKING:
    from voucherify_sync.mapping.rules import Match, Route

NO_ADDRESS: Final = Address()
"""An address of which no field is sent, so that it is not sent either."""


Put = Callable[["Draft", Any], None]
"""Puts a value into a draft, and notes there what does not belong in its place."""

ORDER: Final = "order"
"""Where the parts of a draft hold what rows put into an order, but for its customer, its referrer and its metadata."""

TOTAL: Final = "total"
"""Where the default table puts the total of an order: it is its amount where no item has a price."""

_OF_ORDERS: Final = frozenset((*ORDER_VALUES, TOTAL))

WORKING: Final = {"firstName": "first", "lastName": "last"}
"""Fields that a mapping may fill and Voucherify does not have -> where a draft keeps them."""


class Draft(Struct, gc=False):
    """A request in the making, and what the walk of its event found.

    Attributes:
        customer: the customer, as it will be sent but for its name and ids.
        traits_or_properties: the event's own object.
        first, last: texts to make a name of.
        event: a name for the custom event, as it came.
        metadata: of the custom event.
        shares_metadata: an object of metadata is the event's own, and is copied before anything is written into it.
        parts: ``referral`` and ``loyalty``, and those of an order, as they came.
        dropped: values that could not be put in their places.
        unmapped: keys of that object that no row reads, and that were not carried to metadata.
        unmapped_inside: paths of values that no row reads inside objects of which rows read something.
        no_objects: traits or properties that are no object, and do not arrive as they are.
        carried: keys of that object whose values went to metadata without a row.
        half_name: the one of ``firstName`` and ``lastName`` of which alone the name was made; None for any other name.
        own_names: those of its ``firstName`` and ``lastName`` that served to make a name without a row.
        routes: those of objects of which they tell what was found and what is unmapped.
        outermost: the route of that object, if it is among them.
        filled: numbers of the entries of `set` that gave a value.
        set_values: these values and how they were read, in the same order; kept only where `matches` are.
        matched_rows: texts of the rows that found a value, where no route tells it.
        matches: leaves with the values that they found, in the order of their rows; empty where values are put at once.
    """

    customer: CustomerBody
    traits_or_properties: Json = {}
    first: str | None = None
    last: str | None = None
    event: Any = None
    metadata: Json | None = None
    shares_metadata: bool = False
    parts: dict[str, Json] = {}
    dropped: list[Dropped] = []
    unmapped: tuple[str, ...] = ()
    unmapped_inside: list[str] = []
    no_objects: list[Any] = []
    carried: tuple[str, ...] = ()
    half_name: str | None = None
    own_names: tuple[str, ...] = ()
    routes: list[Route] = []
    outermost: Route | None = None
    filled: list[int] = []
    set_values: list[tuple[Any, Reading]] = []
    matched_rows: list[str] = []
    matches: list[Match] = []

    def drop(self, place: Keys, reason: str) -> None:
        """Note a value that could not be put in its place."""
        self.dropped.append((".".join(map(str, place)), reason))

    def address(self) -> Address:
        """Return the customer's address, made where there is none."""
        address = self.customer.address
        if type(address) is not Address:
            address = self.customer.address = Address()
        return address

    def free_object(self, *, of_customer: bool) -> Json:
        """Return the metadata, made where there is none."""
        holder: Any = self.customer if of_customer else self
        if self.shares_metadata:
            self.shares_metadata = False
            self.metadata, self.customer.metadata = copied(self.metadata), copied(self.customer.metadata)
        if type(holder.metadata) is not dict:
            holder.metadata = {}
        metadata: Json = holder.metadata
        return metadata


def is_blank(value: Any) -> bool:
    """Tell whether a value is a text of blanks."""
    return type(value) is str and not value.strip()


def check_nesting(value: Any, levels: int = MAX_NESTING) -> None:
    """Raise RecursionError for an object or list that is nested on more levels than these."""
    if not levels:
        raise RecursionError
    for inside in value.values() if type(value) is dict else value:
        if type(inside) is dict or type(inside) is list:
            check_nesting(inside, levels - 1)


def copied(value: Any, levels: int = MAX_NESTING) -> Any:
    """Return a value whose objects may be written into without changing the event; lists are shared.

    Raises:
        RecursionError: it is nested too deep to be sent.
    """
    if type(value) is list:
        check_nesting(value, levels)
    elif type(value) is dict:
        if not levels:
            raise RecursionError
        return {
            key: copied(inside, levels - 1) if type(inside) is dict or type(inside) is list else inside
            for key, inside in value.items()
        }
    return value


def merge(target: Json, value: Json, levels: int = MAX_NESTING) -> None:
    """Merge an object of the event into one of the request.

    Raises:
        RecursionError: it is nested too deep to be sent.
    """
    if not levels:
        raise RecursionError
    for key, inside in value.items():
        below = target.get(key)
        if type(inside) is dict and type(below) is dict:
            merge(below, inside, levels - 1)
        else:
            target[key] = copied(inside, levels - 1)


def put_at(place: Keys, *, each_key: bool, keep_nulls: bool) -> Put:
    """Compile the putting at a destination, by what belongs there.

    Args:
        place: the keys of the destination.
        each_key: the value stands for its keys, each as if it had a row of its own.
        keep_nulls: a null erases the field; else it is as if it were not there.
    """
    if place in FREE_OBJECTS or each_key:
        # A null at the first level of metadata is like one at a row of its own; deeper ones are data.
        return _whole_object(place, skips_nulls=(each_key or place in FREE_OBJECTS) and not keep_nulls)
    if is_in_free_object(place):
        return _free_value(place)
    if len(place) == 1 and place[0] in _OF_ORDERS:
        return lambda draft, value: draft.parts.setdefault(ORDER, {}).__setitem__(str(place[0]), value)
    if place == ("event",):
        return lambda draft, value: setattr(draft, "event", value)
    if place[0] != "customer":
        return lambda draft, value: draft.parts.setdefault(str(place[0]), {}).__setitem__(
            str(place[1]), value
        )
    return _text(place)


def _text(place: Keys) -> Put:
    """Put a text at a field of the customer or of the address."""
    name = str(place[-1])
    in_address, working = len(place) == 3, WORKING.get(name)
    as_blank = (".".join(map(str, place)), BLANK)

    def put(draft: Draft, value: Any) -> None:
        text, reason = (None, None) if value is None else text_for(name, value)
        if reason is BLANK:
            draft.dropped.append(as_blank)  # as if the field were not there: only a null erases
            return
        holder: Any = draft if working else draft.address() if in_address else draft.customer
        if reason is not None:
            draft.drop(place, reason)
            setattr(holder, working or name, None if working else UNSET)
        else:
            setattr(holder, working or name, text)

    return put


def _whole_object(place: Keys, *, skips_nulls: bool) -> Put:
    """Put an object where any key may stand."""
    is_all, of_customer = place in FREE_OBJECTS, place[0] == "customer"

    def put(draft: Draft, value: Any) -> None:
        if type(value) is not dict:
            _refuse(draft, place, value)
            return
        if skips_nulls and None in value.values():
            value = {key: inside for key, inside in value.items() if inside is not None}
        holder: Any = draft.customer if of_customer else draft
        if is_all and type(holder.metadata) is not dict:
            check_nesting(value)
            holder.metadata, draft.shares_metadata = value, True
        else:
            merge(_object_of(draft, place), value)

    return put


def _free_value(place: Keys) -> Put:
    """Put anything at a key of metadata; two objects are merged."""
    last = str(place[-1])

    def put(draft: Draft, value: Any) -> None:
        if type(value) is dict:
            merge(_object_of(draft, place), value)
        else:
            _object_of(draft, place[:-1])[last] = copied(value)

    return put


def _object_of(draft: Draft, place: Keys) -> Json:
    """Return the object at a place in metadata, made where there is none."""
    of_customer = place[0] == "customer"
    return object_at(draft.free_object(of_customer=of_customer), place[2 if of_customer else 1 :])


def refuse_at(place: Keys) -> Put:
    """Compile what an object row does with a value that is no object; its parts take what is in an object."""

    def put(draft: Draft, value: Any) -> None:
        if type(value) is not dict:
            _refuse(draft, place, value)

    return put


def _refuse(draft: Draft, place: Keys, value: Any) -> None:
    """Handle a value that is no object where one belongs: a null erases the object, anything else is dropped."""
    if value is not None:
        draft.drop(place, NOT_AN_OBJECT)
    elif place in (("customer", "address"), ("customer", "metadata")):
        setattr(draft.customer, str(place[1]), None)
    elif len(place) > 1:
        _object_of(draft, place[:-1])[str(place[-1])] = None
