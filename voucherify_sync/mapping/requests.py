"""What is sent to Voucherify, typed: the body of a customer update and that of a custom event.

A field that is UNSET is not sent; None is sent as null, which erases the field.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import UNSET, Struct, UnsetType

from voucherify_sync.model import Json

Text = str | None | UnsetType


class Address(Struct, omit_defaults=True, gc=False):
    """A customer's address; the fields stand in the order in which they are sent."""

    city: Text = UNSET
    state: Text = UNSET
    line_1: Text = UNSET
    line_2: Text = UNSET
    country: Text = UNSET
    postal_code: Text = UNSET


class Customer(Struct, omit_defaults=True, gc=False):
    """The body of a customer update, and the customer of a custom event."""

    source_id: Text = UNSET
    id: Text = UNSET
    name: Text = UNSET
    email: Text = UNSET
    description: Text = UNSET
    phone: Text = UNSET
    birthdate: Text = UNSET
    address: Address | UnsetType | None = UNSET
    metadata: Json | UnsetType | None = UNSET


class CustomEvent(Struct, omit_defaults=True, gc=False):
    """The body of a custom event."""

    event: str
    customer: Customer
    metadata: Json | UnsetType = UNSET
    referral: dict[str, Any] | UnsetType = UNSET
    loyalty: dict[str, Any] | UnsetType = UNSET


NO_ADDRESS: Final = Address()
"""An address of which no field is sent, so that it is not sent either."""
