"""The fields of Voucherify's requests: where a new field of the customer is added.

The order of the fields is the order in which they are sent. A field that is UNSET is not sent; None is sent as null,
which erases it. Which trait fills a field without a mapping is in `settings.types`.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import UNSET, Struct, UnsetType

from voucherify_sync.text import folded_key

Text = str | None | UnsetType


class Address(Struct, omit_defaults=True, gc=False):
    """A customer's address; the fields stand in the order in which they are sent."""

    city: Text = UNSET
    state: Text = UNSET
    line_1: Text = UNSET
    line_2: Text = UNSET
    country: Text = UNSET
    postal_code: Text = UNSET


class CustomerBody(Struct, omit_defaults=True, gc=False):
    """The body of a customer update, and the customer of a custom event."""

    source_id: Text = UNSET
    id: Text = UNSET
    name: Text = UNSET
    email: Text = UNSET
    description: Text = UNSET
    phone: Text = UNSET
    birthdate: Text = UNSET
    address: Address | UnsetType | None = UNSET
    metadata: dict[str, Any] | UnsetType | None = UNSET


class CustomEvent(Struct, omit_defaults=True, gc=False):
    """The body of a custom event."""

    event: str
    customer: CustomerBody
    metadata: dict[str, Any] | UnsetType = UNSET
    referral: dict[str, Any] | UnsetType = UNSET
    loyalty: dict[str, Any] | UnsetType = UNSET


class OrderItem(Struct, omit_defaults=True, gc=False):
    """An item of an order; the fields stand in the order in which they are sent. Prices are in minor units."""

    source_id: str | UnsetType = UNSET
    related_object: str | UnsetType = UNSET
    quantity: int | UnsetType = UNSET
    price: int | UnsetType = UNSET
    amount: int | UnsetType = UNSET
    product: dict[str, Any] | UnsetType = UNSET


ORDER_AMOUNTS: Final = ("amount", "initial_amount", "discount_amount")
"""Fields of an order that are numbers of minor units."""

ORDER_VALUES: Final = ("source_id", "status", *ORDER_AMOUNTS, "items")
"""Fields of an order that are filled as a whole."""

ORDER_STATUSES: Final = ("CREATED", "PAID", "CANCELED", "FULFILLED")
"""What the status of an order may be."""

MAX_ITEMS: Final = 500
"""Items that Voucherify takes in one order."""

MAX_EVENT_NAME: Final = 300
"""Characters that Voucherify takes for the name of a custom event."""

CUSTOMER_TEXTS: Final = tuple(
    name for name in CustomerBody.__struct_fields__ if name not in {"address", "metadata"}
)
"""The customer's fields that are text; `birthdate` must be a date as well."""

ADDRESS_FIELDS: Final = Address.__struct_fields__
"""What an address holds; each is text."""

WORKING_FIELDS: Final = ("firstName", "lastName")
"""What a mapping may fill to make a name of; Voucherify has no such fields."""

NAME: Final = ("customer", "name")
NAME_PARTS: Final = frozenset(("customer", name) for name in WORKING_FIELDS)
"""Destinations that are sent as a part of NAME."""

CUSTOMER_FIELDS: Final = (*CUSTOMER_TEXTS, *WORKING_FIELDS, "address", "metadata")

CUSTOMER_ALIASES: Final = {
    **{folded_key(name): name for name in CUSTOMER_TEXTS if name not in {"id", "source_id"}},
    **dict.fromkeys(("fullname",), "name"),
    **dict.fromkeys(("firstname", "givenname"), "firstName"),
    **dict.fromkeys(("lastname", "surname", "familyname"), "lastName"),
    **dict.fromkeys(("emailaddress", "mail"), "email"),
    **dict.fromkeys(("phonenumber", "mobile", "mobilephone", "mobilenumber", "telephone"), "phone"),
    **dict.fromkeys(("birthday", "dateofbirth", "dob"), "birthdate"),
}
"""What other tools call the fields of a customer, as `folded_key` returns it -> the field."""
ADDRESS_ALIASES: Final = {
    **{folded_key(name): name for name in ADDRESS_FIELDS},
    **dict.fromkeys(("street", "streetaddress", "address1", "addressline1"), "line_1"),
    **dict.fromkeys(("address2", "addressline2"), "line_2"),
    **dict.fromkeys(("province", "region"), "state"),
    **dict.fromkeys(("zip", "zipcode", "postcode"), "postal_code"),
}
"""The same of the keys of an address."""
