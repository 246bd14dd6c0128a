"""Coverage as JSON values: what `--json` prints, and what a program reads. Additive only."""

from __future__ import annotations

from typing import Any

from voucherify_sync.model import Json, State
from voucherify_sync.paths import Keys
from voucherify_sync.previewing.coverage.advice import idle_rows, proposed_rows
from voucherify_sync.previewing.coverage.counting import Coverage
from voucherify_sync.previewing.coverage.facts import PathFacts, PlaceFacts, share
from voucherify_sync.previewing.coverage.section import Section
from voucherify_sync.settings import path_of
from voucherify_sync.stop import Stop


def to_dict(coverage: Coverage, stop: Stop | None = None) -> Json:
    """Return all that was counted; lists are sorted, the most frequent first. A stop ends the search for advice."""
    sections = coverage.sections
    ends: dict[str, dict[str, int]] = {"skipped": {}, "invalid": {}}
    for (state, reason), times in coverage.ends.items():
        ends["skipped" if state is State.SKIPPED else "invalid"][reason] = times
    return {
        "events": {
            "read": coverage.read,
            "counted": sum(section.events for section in sections.values()),
            **{name: _by_count(counts) for name, counts in ends.items()},
        },
        "values": values_of(*sections.values()),
        **{kind: _section(section, stop) for kind, section in sections.items()},
    }


def values_of(*sections: Section) -> Json:
    """Return how many values were seen, how many are mapped, and the share, rounded down."""
    seen = sum(section.seen for section in sections)
    mapped = sum(section.mapped for section in sections)
    return {"seen": seen, "mapped": mapped, "share": share(mapped, seen)}


def _section(section: Section, stop: Stop | None) -> Json:
    return {
        "events": section.events,
        "values": values_of(section),
        "paths": [_path(section, keys, facts) for keys, facts in _sorted_paths(section)],
        "more_paths": section.more_paths.count,
        "destinations": [_place(section, keys, facts) for keys, facts in _sorted_places(section)],
        "more_destinations": section.more_places.count,
        "rows": [
            {"row": row, "default": is_default, "fired": times}
            for (row, is_default), times in zip(section.rows, section.fired, strict=True)
        ],
        "idle_rows": [
            {"row": idle.row, "did_you_mean": list(idle.meant)} for idle in idle_rows(section, stop)
        ],
        "proposed_rows": proposed_rows(section),
    }


def _path(section: Section, keys: Keys, facts: PathFacts) -> Json:
    return {
        "path": text_of(keys),
        "events": facts.seen,
        "share": share(facts.seen, section.events),
        "types": _by_count(facts.types),
        "mapped": facts.mapped,
        "destinations": {text_of(place): times for place, times in _by_count(facts.places).items()},
        "lost": _by_count(facts.reasons),
        "example": None if facts.example is None else facts.example.text,
    }


def _place(section: Section, keys: Keys, facts: PlaceFacts) -> Json:
    return {
        "path": text_of(keys),
        "filled": facts.filled,
        "share": share(facts.filled, section.events),
        "types": _by_count(facts.types),
        "refused": _by_count(facts.refused),
        "type_conflict": facts.conflicts,
    }


def text_of(keys: Keys) -> str:
    """Return a path as it is written in settings."""
    return path_of(*map(str, keys))


def _sorted_paths(section: Section) -> list[tuple[Keys, PathFacts]]:
    return sorted(section.paths.items(), key=lambda item: (-item[1].seen, item[0]))


def _sorted_places(section: Section) -> list[tuple[Keys, PlaceFacts]]:
    return sorted(section.places.items(), key=lambda item: (-item[1].filled, item[0]))


def _by_count(counts: dict[Any, int]) -> dict[Any, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
