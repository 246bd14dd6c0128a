"""What a sample of events holds -> lines of a settings file, ready to be uncommented. A name in them is data only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final, TypeVar

from msgspec import Struct, field

from voucherify_sync.paths import CUSTOMER_TEXTS, PathError, check_row, parse_destination, parse_source
from voucherify_sync.settings.defaults import DEFAULT_ROWS
from voucherify_sync.settings.effective import escaped, to_yaml

MAX_LINES: Final = 200
"""Names or rows that are written of one kind, at most."""

_MAX_KEY: Final = 100  # a longer key would not stand on one line of YAML with its value
_PLAIN_KEY: Final = re.compile(r"[^.\[\]\"'\\*\s]+")
_OTHER_SPELLINGS: Final = {
    "first_name": "customer.firstName",
    "last_name": "customer.lastName",
    "address.postal_code": "customer.address.postal_code",
    "birthday": "customer.birthdate",
}

Keys = tuple[str, ...]
_Name = TypeVar("_Name", str, Keys)


class Found(Struct):
    """Counts of a sample.

    Attributes:
        records: how many were read.
        identifies: identify events among them.
        tracks: track events among them.
        names: how many track events have which name.
        traits: how many identify events have which trait; an address is taken apart.
        properties: the same for track events.
        uncounted: names, traits and properties that found no room any more.
    """

    records: int = 0
    identifies: int = 0
    tracks: int = 0
    names: dict[str, int] = field(default_factory=dict)
    traits: dict[Keys, int] = field(default_factory=dict)
    properties: dict[Keys, int] = field(default_factory=dict)
    uncounted: int = 0


def name_lines(found: Found) -> Iterator[str]:
    """Yield a list item for each event name, the most frequent first, with its count."""
    names = [name for name in _by_count(found.names) if name.strip() and len(name) <= 3 * _MAX_KEY]
    for name in names[:MAX_LINES]:
        yield f"#- {_scalar(escaped(name))}  # {found.names[name]:,} of {found.tracks:,}"
    yield from _rest(len(found.names) - len(names[:MAX_LINES]), "name", "names")


def default_row(root: str, source: str, found: Found) -> str:
    """Return how often a row of the default table finds something, as a comment behind it."""
    counts, total = _counts(root, found)
    count = counts.get(tuple(source.removeprefix(f"{root}.").split(".")), 0)
    return f"  # {count:,} of {total:,}" if count else ""


def row_lines(root: str, found: Found) -> Iterator[str]:
    """Yield a row for each trait or property that the default table does not take, the most frequent first."""
    counts, total = _counts(root, found)
    others = [keys for keys in _by_count(counts) if ".".join(keys) not in DEFAULT_ROWS]
    if others:
        kind = "identify" if root == "traits" else "track"
        yield f"# Found besides, with the number of {kind} events that have it:"
    possible = ((keys, row) for keys in others if (row := _row(root, keys)) is not None)
    rows = list(islice(possible, MAX_LINES))
    for keys, row in rows:
        yield f"#{row}  # {counts[keys]:,} of {total:,}"
    one = "trait" if root == "traits" else "property"
    yield from _rest(len(others) - len(rows), one, root)


def path_of(*keys: str) -> str:
    """Return the path of keys, those in brackets and quotes that are no plain names."""
    parts = [key if _PLAIN_KEY.fullmatch(key) else f'["{_quoted(key)}"]' for key in keys]
    return ".".join(parts).replace(".[", "[")


def _quoted(key: str) -> str:
    return key.replace("\\", "\\\\").replace('"', '\\"')


def _counts(root: str, found: Found) -> tuple[Mapping[Keys, int], int]:
    return (found.traits, found.identifies) if root == "traits" else (found.properties, found.tracks)


def _row(root: str, keys: Keys) -> str | None:
    """Return a row for what lies at the keys; None for a name that no row should be made of."""
    if sum(map(len, keys)) > _MAX_KEY or not all(key.strip() for key in keys):
        return None
    source, destination = path_of(root, *keys), _destination(root, keys)
    try:
        check_row(parse_source(source), parse_destination(destination))
    except PathError:
        return None
    return f"{_scalar(source)}: {_scalar(escaped(destination))}"


def _scalar(text: str) -> str:
    """Return a text on one line; PyYAML's own pairs may take several, where the key has line breaks."""
    return to_yaml([text]).removeprefix("- ").rstrip("\n")


def _destination(root: str, keys: Keys) -> str:
    name = ".".join(keys)
    if root == "properties":
        return path_of("metadata", "_".join(keys))
    if name in CUSTOMER_TEXTS and name not in {"id", "source_id"}:
        return f"customer.{name}"
    return _OTHER_SPELLINGS.get(name) or path_of("customer", "metadata", "_".join(keys))


def _by_count(counts: Mapping[_Name, int]) -> list[_Name]:
    return sorted(counts, key=lambda name: (-counts[name], name))


def _rest(count: int, one: str, many: str) -> Iterable[str]:
    return [f"# … and {count:,} {one if count == 1 else many} more"] if count else []
