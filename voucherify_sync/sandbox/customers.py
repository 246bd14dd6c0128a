"""Customers as the sandbox stores and shows them, and how an update changes one."""

from __future__ import annotations

import random
from typing import Any

from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.structs import replace

from voucherify_sync.events import Json
from voucherify_sync.sandbox.options import SandboxOptions
from voucherify_sync.sandbox.times import iso
from voucherify_sync.sandbox.validation import ADDRESS_FIELDS, TEXT_FIELDS

_SUMMARY = Raw(
    b'{"redemptions":{"total_redeemed":0,"total_failed":0,"total_succeeded":0,"total_rolled_back":0,'
    b'"total_rollback_failed":0,"total_rollback_succeeded":0,"gift":{"redeemed_amount":0,"amount_to_go":0},'
    b'"loyalty_card":{"redeemed_points":0,"points_to_go":0}},'
    b'"orders":{"total_amount":0,"total_count":0,"average_amount":0,"last_order_amount":0}}'
)
_LOYALTY = Raw(b'{"points":0,"referred_customers":0,"campaigns":{}}')
_REFERRALS = Raw(b'{"total":0,"campaigns":[]}')

Text = str | UnsetType


class Customer(Struct, frozen=True, kw_only=True):
    """One customer; encoded, it is the object that the API answers. Fields never set are not shown."""

    id: str
    source_id: Text = UNSET
    name: Text = UNSET
    description: Text = UNSET
    email: Text = UNSET
    phone: Text = UNSET
    birthday: Text = UNSET
    birthdate: Text = UNSET
    address: dict[str, str] | None = None
    summary: Raw = _SUMMARY
    loyalty: Raw = _LOYALTY
    referrals: Raw = _REFERRALS
    metadata: dict[str, Any] = {}
    system_metadata: dict[str, Any] = {}
    created_at: str
    updated_at: Text = UNSET
    object: str = "customer"

    def brief(self) -> Json:
        """Return the few fields that an event shows of its customer."""
        shown: Json = {"id": self.id, "object": "customer", "metadata": self.metadata}
        known = {"name": self.name, "email": self.email, "source_id": self.source_id}
        return shown | {name: value for name, value in known.items() if value is not UNSET}


def create(fields: Json, now: float, options: SandboxOptions) -> Customer:
    """Make a customer of a request's fields."""
    blank = Customer(id=f"cust_{random.getrandbits(96):024x}", created_at=iso(now))
    source_id = fields.get("source_id")
    return replace(blank, source_id=source_id or UNSET, **_changes(blank, fields, options))


def update(customer: Customer, fields: Json, now: float, options: SandboxOptions) -> Customer:
    """Return the customer as a request leaves it; what it does not name stays, and so does the source_id."""
    return replace(customer, updated_at=iso(now), **_changes(customer, fields, options))


def _changes(customer: Customer, fields: Json, options: SandboxOptions) -> Json:
    clears = options.nulls == "clear"
    changes: Json = {}
    for name in TEXT_FIELDS[1:]:
        if name in fields and (fields[name] is not None or clears):
            changes[name] = UNSET if fields[name] is None else fields[name]
    if "address" in fields and (fields["address"] is not None or clears):
        changes["address"] = _address(customer.address, fields["address"], options)
    for name in ("metadata", "system_metadata"):
        if name in fields and (fields[name] is not None or clears):
            merges = options.metadata_update == "merge"
            changes[name] = (
                {**(getattr(customer, name) if merges else {}), **(fields[name] or {})}
                if fields[name]
                else {}
            )
    return changes


def _address(old: dict[str, str] | None, new: Json | None, options: SandboxOptions) -> dict[str, str] | None:
    if new is None:
        return None
    merged = dict(old or {}) if options.address_update == "merge" else {}
    for name, part in new.items():
        if name not in ADDRESS_FIELDS:
            continue
        if part is not None:
            merged[name] = part
        elif options.nulls == "clear":
            merged.pop(name, None)
    return merged or None
