"""What to do about a mapping: counts in, rows that would keep what is lost and rows that find nothing out.

Names of events are data: a row is made of them only if the settings would take it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from voucherify_sync.paths import CUSTOMER_TEXTS, Keys, PathError, check_row, parse_destination, parse_source
from voucherify_sync.previewing.coverage.facts import PathFacts
from voucherify_sync.previewing.coverage.section import Section
from voucherify_sync.settings import DEFAULT_ROWS, Settings, path_of
from voucherify_sync.settings.effective import escaped, to_yaml
from voucherify_sync.similar import similar
from voucherify_sync.stop import Stop

MAX_ROWS: Final = 20
"""Rows that are proposed for one type of event, at most."""

_MAX_KEYS_LENGTH: Final = 100
_NOT_TAKEN: Final = {"no_row", "no_field"}
_CLOSE: Final = 0.75


class Idle(Struct, frozen=True):
    """A row of the settings that found nothing.

    Attributes:
        row: as it stands in the settings.
        meant: paths that were seen and come near to its source, the nearest first.
    """

    row: str
    meant: tuple[str, ...]


def proposed_rows(section: Section) -> dict[str, str]:
    """Return rows for the most frequent values that no row takes: source to destination, best first.

    Where an event's own trait and one of its context have the same name, the own one gets the row.
    """
    filled = {path_of(*map(str, place)) for place in section.places}
    found: list[tuple[int, str, str]] = []
    for keys, facts in sorted(
        _lost(section), key=lambda item: (item[0][0] == "context", -item[1].seen, item[0])
    ):
        source = path_of(*map(str, keys))
        for destination in _destinations(keys):
            if destination not in filled and _can_be(source, destination):
                found.append((-facts.seen, source, destination))
                filled.add(destination)
                break
    return {source: destination for _, source, destination in sorted(found)[:MAX_ROWS]}


def proposed_yaml(rows_by_kind: dict[str, dict[str, str]], settings: Settings) -> str:
    """Return the rows as lines of a settings file; empty if there are none."""
    sections: dict[str, object] = {}
    for kind, rows in rows_by_kind.items():
        if rows:
            own = settings.identify if kind == "identify" else settings.track
            section: dict[str, object] = {} if own.mapping or own.extend_default else {"extend_default": True}
            sections[kind] = {**section, "mapping": {source: escaped(to) for source, to in rows.items()}}
    return to_yaml(sections) if sections else ""


def idle_rows(section: Section, stop: Stop | None = None) -> list[Idle]:
    """Return the rows of the settings that found no value, each with what may be meant by its source.

    Once the run stops, it is not looked for.
    """
    by_count = sorted(section.paths.items(), key=lambda item: -item[1].seen)
    seen = {path_of(*map(str, keys)): keys for keys, _ in by_count}
    idle = []
    for (row, is_default), times in zip(section.rows, section.fired, strict=True):
        if not is_default and not times:
            is_over = stop is not None and stop.requested
            idle.append(Idle(row, () if is_over else _meant(row.rpartition(": ")[0], seen)))
    return idle


def _meant(source: str, seen: dict[str, Keys]) -> tuple[str, ...]:
    near = similar(source, seen, fold=_folded, most=2, cutoff=_CLOSE)
    return tuple(near) or _same_ending(source, seen)


def _lost(section: Section) -> Iterator[tuple[Keys, PathFacts]]:
    for keys, facts in section.paths.items():
        if not facts.mapped and not _NOT_TAKEN.isdisjoint(facts.reasons):
            yield keys, facts


def _destinations(keys: Keys) -> Iterator[str]:
    """Yield where a value may go, the best place first."""
    names = [str(key) for key in keys if key not in ("traits", "context", "properties")] or [str(keys[-1])]
    if keys[0] == "properties":
        yield path_of("metadata", "_".join(names))
        yield path_of("metadata", *names)
        return
    name = ".".join(names)
    if name in CUSTOMER_TEXTS and name not in {"id", "source_id"}:
        yield f"customer.{name}"
    elif name in DEFAULT_ROWS and name != "metadata":
        yield DEFAULT_ROWS[name]
    yield path_of("customer", "metadata", "_".join(names))
    yield path_of("customer", "metadata", *names)


def _can_be(source: str, destination: str) -> bool:
    """Tell whether the settings would take a row, on one line of a file."""
    if max(len(source), len(destination)) > _MAX_KEYS_LENGTH:
        return False
    try:
        check_row(parse_source(source), parse_destination(destination))
    except PathError:
        return False
    return True


def _folded(text: str) -> str:
    return text.lower().replace("_", "")


def _same_ending(source: str, seen: dict[str, Keys]) -> tuple[str, ...]:
    """Return paths that end in the same key somewhere else, such as in the context."""
    wanted = _folded(source.rpartition(".")[2])
    return tuple(text for text, keys in seen.items() if _folded(str(keys[-1])) == wanted)[:2]
