"""The beginning of the sources, for those who want to know what is there: events in order, or counts of names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

from voucherify_sync.events import Event
from voucherify_sync.settings import Found
from voucherify_sync.sources.decode import decode
from voucherify_sync.sources.reader import Reader, Source
from voucherify_sync.stop import Stop

SAMPLE: Final = 10_000
"""Records that are read."""

_MAX_NAMES: Final = 20_000
"""Distinct names that are counted of one kind."""

_MAX_LENGTH: Final = 301
"""Characters that are kept of a name; names of more than 300 are counted, and not written down."""

_Name = TypeVar("_Name")


def sample(sources: Sequence[Source], stop: Stop, found: Found) -> Iterator[Event]:
    """Yield the events among the first SAMPLE records, and count what they hold.

    Args:
        sources: what is read.
        stop: looked at while a pipe is silent.
        found: takes the counts.

    Raises:
        SourceError: a pipe holds something else than events.
    """
    for block in Reader(sources, stop):
        for record in decode(block):
            if found.records == SAMPLE:
                return
            found.records += 1
            if isinstance(record, Event):
                _count(record, found)
                yield record


def look(sources: Sequence[Source], stop: Stop) -> Found:
    """Return what the first SAMPLE records hold."""
    found = Found()
    for _ in sample(sources, stop, found):
        pass
    return found


def _count(event: Event, found: Found) -> None:
    if event.type == "identify":
        found.identifies += 1
        _count_keys(event.fields.get("traits"), found.traits, found)
    elif event.type == "track":
        found.tracks += 1
        if event.name is not None:
            _add(found.names, event.name[:_MAX_LENGTH], found)
        _count_keys(event.fields.get("properties"), found.properties, found)


def _count_keys(given: Any, counts: dict[tuple[str, ...], int], found: Found) -> None:
    for key, value in given.items() if isinstance(given, dict) else ():
        if key == "address" and isinstance(value, dict):
            for inner in value:
                _add(counts, (key, inner[:_MAX_LENGTH]), found)
        elif value is not None:
            _add(counts, (key[:_MAX_LENGTH],), found)


def _add(counts: dict[_Name, int], name: _Name, found: Found) -> None:
    if name in counts:
        counts[name] += 1
    elif len(counts) < _MAX_NAMES:
        counts[name] = 1
    else:
        found.uncounted += 1
