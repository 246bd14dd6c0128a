"""The rows of a mapping: settings in, parsed rows in their order out, the default tables among them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

from voucherify_sync.paths import FieldPath, check_row, parse_destination, parse_source
from voucherify_sync.settings.defaults import DEFAULT_ROWS

_SNAKE_CASE: Final = {
    "firstName": "first_name",
    "lastName": "last_name",
    "address.postalCode": "address.postal_code",
}


class Row(Struct, frozen=True):
    """One source and one of its destinations.

    Attributes:
        source: where the value is read.
        destination: where it goes.
        instead: where it is read if there is nothing at the source.
        default: the row is of a default table, not of the settings.
    """

    source: FieldPath
    destination: FieldPath
    instead: FieldPath | None = None
    default: bool = False

    @property
    def text(self) -> str:
        """The row as a line of the settings."""
        return f"{self.source.text}: {self.destination.text}"


def default_rows(root: str) -> list[Row]:
    """Return the seed's table for ``traits`` or ``properties``; three of its keys have a snake_case twin."""
    rows = []
    for name, destination in DEFAULT_ROWS.items():
        twin = _SNAKE_CASE.get(name)
        rows.append(
            Row(
                parse_source(f"{root}.{name}"),
                parse_destination(destination),
                parse_source(f"{root}.{twin}") if twin else None,
                default=True,
            )
        )
    return rows


def settled_rows(root: str, mapping: Mapping[str, Iterable[str]], *, extend_default: bool) -> list[Row]:
    """Return the rows that apply, in their order: the settings', or the default table, or both.

    Raises PathError for a row that cannot be.
    """
    rows = default_rows(root) if extend_default or not mapping else []
    for source_text, destinations in mapping.items():
        source = parse_source(source_text)
        for text in destinations:
            destination = parse_destination(text)
            check_row(source, destination)
            rows.append(Row(source, destination))
    return rows
