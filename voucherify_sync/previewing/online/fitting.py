"""The customer mapping held against the project's metadata schema: what will be refused, and what stored as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

from voucherify_sync.mapping.filters import Selection
from voucherify_sync.mapping.rows import settled_rows
from voucherify_sync.model import Json, Kind, Operation, SegmentEvent
from voucherify_sync.paths import parse_destination
from voucherify_sync.previewing.online.schema import CustomerSchema
from voucherify_sync.running.pipeline import Pipeline
from voucherify_sync.settings import Settings

MAX_FINDINGS: Final = 1_000
"""Keys that are told of, at most."""

_METADATA: Final = ("customer", "metadata")


class Sort(StrEnum):
    """What is wrong with a metadata key."""

    UNDEFINED = "undefined"
    """The project does not define it: it is stored as text."""
    NOT_ALLOWED = "not_allowed"
    """The project does not define it and takes defined keys only: the request is refused."""
    MISFIT = "misfit"
    """Its value is none that the project takes: the request is refused."""
    MISSING = "missing"
    """The project demands it: the request is refused if the customer is new."""

    @property
    def refused(self) -> bool:
        """Whether Voucherify refuses the request, whoever the customer is."""
        return self in (Sort.NOT_ALLOWED, Sort.MISFIT)


class Finding(Struct):
    """One key of the customers' metadata.

    Attributes:
        key: its name.
        sort: what is wrong.
        demand: what the project wants of its value; empty for a key that it does not define.
        count: requests that it concerns; 0 where none were looked at.
        where: the first of them, or the row or constant of the settings.
        value: of the first of them.
    """

    key: str
    sort: Sort
    demand: str = ""
    count: int = 0
    where: str = ""
    value: Any = None


class Fit(Struct):
    """How requests fit.

    Attributes:
        requests: with the customers that were looked at.
        findings: what does not fit, in the order in which it was met.
    """

    requests: int
    findings: list[Finding]


def planned_findings(settings: Settings, schema: CustomerSchema) -> list[Finding]:
    """Return what the rows and constants of the settings alone tell; values of events are not known to them."""
    found: dict[tuple[str, Sort], Finding] = {}
    for key, where in _mapped_keys(settings):
        sort = _sort_of_key(schema, key)
        if sort is not None:
            found.setdefault((key, sort), Finding(key, sort, where=where))
    for key, where, value in _constants(settings):
        for finding in _judged(schema, {key: value}):
            finding.where = where
            found.setdefault((key, finding.sort), finding)
    return list(found.values())


def sampled_findings(settings: Settings, schema: CustomerSchema, events: Iterable[SegmentEvent]) -> Fit:
    """Return what the requests made of events tell."""
    found: dict[tuple[str, Sort], Finding] = {}
    fit = Fit(0, [])
    for operation in _operations(settings, events):
        body = operation.body
        customer = body if operation.kind is Kind.CUSTOMER else body["customer"]
        fit.requests += 1
        metadata = customer.get("metadata") or {}
        for finding in (*_judged(schema, metadata), *_missing(schema, metadata)):
            place = (finding.key, finding.sort)
            if place not in found and len(found) < MAX_FINDINGS:
                finding.where = str(operation.event.position)
                found[place] = finding
            if place in found:
                found[place].count += 1
    fit.findings = list(found.values())
    return fit


def _operations(settings: Settings, events: Iterable[SegmentEvent]) -> Iterator[Operation]:
    for decision in map(Pipeline(settings, Selection()).decide, events):
        if isinstance(decision, Operation):
            yield decision


def _judged(schema: CustomerSchema, metadata: Json) -> Iterator[Finding]:
    for key, value in metadata.items():
        sort = _sort_of_key(schema, key)
        if sort is not None:
            yield Finding(key, sort, value=value)
        elif not (definition := schema.definitions[key]).takes(value):
            yield Finding(key, Sort.MISFIT, definition.demand, value=value)


def _missing(schema: CustomerSchema, metadata: Json) -> Iterator[Finding]:
    for key, definition in schema.definitions.items():
        if not definition.optional and metadata.get(key) is None:
            yield Finding(key, Sort.MISSING, definition.demand)


def _sort_of_key(schema: CustomerSchema, key: str) -> Sort | None:
    if key in schema.definitions:
        return None
    return Sort.NOT_ALLOWED if schema.defined_only else Sort.UNDEFINED


def _mapped_keys(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield each metadata key of customers that a row names, and the row."""
    for name, root in (("identify", "traits"), ("track", "properties")):
        section = getattr(settings, name)
        rows = settled_rows(root, section.mapping, extend_default=section.extend_default)
        for row in [] if section.disabled else rows:
            keys = row.destination.keys
            if keys[:2] == _METADATA and len(keys) > 2:
                yield str(keys[2]), f"{name}.mapping: {row.text}"


def _constants(settings: Settings) -> Iterator[tuple[str, str, Any]]:
    """Yield each metadata key of customers that gets a constant, where that stands, and the value."""
    for name in ("identify", "track"):
        section = getattr(settings, name)
        for text, value in () if section.disabled else section.add.items():
            keys = parse_destination(text).keys
            if keys[:2] == _METADATA and len(keys) == 3:
                yield str(keys[2]), f"{name}.add: {text}", value
