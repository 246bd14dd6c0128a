"""The default table of Segment's classic Voucherify destination, one for traits and for properties. Data only."""

from __future__ import annotations

from typing import Final

DEFAULT_ROWS: Final = {
    "name": "customer.name",
    "firstName": "customer.firstName",
    "lastName": "customer.lastName",
    "email": "customer.email",
    "description": "customer.description",
    "phone": "customer.phone",
    "address.city": "customer.address.city",
    "address.state": "customer.address.state",
    "address.street": "customer.address.line_1",
    "address.country": "customer.address.country",
    "address.postalCode": "customer.address.postal_code",
    "metadata": "customer.metadata",
}
"""Source below `traits` or `properties` -> destination."""

IDENTIFY_ROWS: Final = {f"traits.{source}": destination for source, destination in DEFAULT_ROWS.items()}
"""What an identify event gives, unless the settings say otherwise."""

TRACK_ROWS: Final = {f"properties.{source}": destination for source, destination in DEFAULT_ROWS.items()}
"""What a track event gives, unless the settings say otherwise."""
