"""Fold all that an archive says of one customer, as a run in bulk does, and tell which event each value came from.

Only the updates of this customer are kept. Records that are repeated in the input count once.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import Struct

from voucherify_sync.events import Event, Kind, Request
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.mapping.fold import CustomerFold, Profile, Version
from voucherify_sync.outcomes import Decision
from voucherify_sync.paths import Keys, path_of
from voucherify_sync.run.bulk_run import fold_updates
from voucherify_sync.run.options import Input, is_worth_processes
from voucherify_sync.run.pipeline import Pipeline
from voucherify_sync.settings import Settings
from voucherify_sync.state.deduplication import Deduplicator, ResendPolicy
from voucherify_sync.state.ledger_reader import LedgerReader
from voucherify_sync.stop import Stop

_OBJECTS: Final = ("address", "metadata")
_FIRST: Final = datetime.min.replace(tzinfo=UTC)


class Origin(Struct, frozen=True):
    """The event that something came from.

    Attributes:
        position: where it stands, as ``file:line``.
        time: when it happened; None if it does not say.
        type: ``identify`` or ``track``.
        name: of a track event.
    """

    position: str
    time: datetime | None
    type: str
    name: str | None

    @classmethod
    def of(cls, event: Event) -> Origin:
        """Return the origin that an event is."""
        return cls(str(event.position), event.time, event.type, event.name)


class FieldState(Struct, frozen=True):
    """A field of the customer.

    Attributes:
        path: such as ``email`` or ``metadata.plan``.
        value: as Voucherify would hold it; None was erased.
        origins: the event that it came from; two, if a name is made of a first and a last name that came apart.
    """

    path: str
    value: Any
    origins: list[Origin]


class EventsOfName(Struct):
    """Events of one name that are sent as custom events, or as parts of orders.

    Attributes:
        name: as it is sent.
        count: how many.
        first: the earliest.
        last: the latest.
        of_orders: they are parts of orders.
    """

    name: str
    count: int
    first: Origin
    last: Origin
    of_orders: bool = False


class CustomerState(Struct, frozen=True):
    """What Voucherify would hold of one customer after all events of an archive.

    Attributes:
        source_id: of the customer.
        fields: in the order in which they are sent.
        updates: events that say something of the customer.
        unfolded: customer updates by Voucherify's own ``id``, which a run in bulk sends one by one, and which are not
            in the fields.
        events: custom events and those of orders by name, in the order of their first ones.
        repeated: records that repeat an earlier one of the input, and are not sent.
        read: records read.
        notices: sentences on what may be meant, where no event is of this customer.
    """

    source_id: str
    fields: list[FieldState]
    updates: int
    unfolded: int
    events: list[EventsOfName]
    repeated: int
    read: int
    notices: list[str]

    @property
    def is_known(self) -> bool:
        """Whether any request is of this customer."""
        return bool(self.updates or self.unfolded or self.events)


class CustomerHistory:
    """Gathers what the events say of one customer.

    Args:
        settings: whose mapping and filters decide.
        source_id: of the customer.

    Attributes:
        read: records read.
    """

    def __init__(self, settings: Settings, source_id: str) -> None:
        self.read = 0
        self._source_id = source_id
        selection = Selection(users=frozenset({source_id}), needs_times=True)
        self._pipeline = Pipeline(settings, selection, folds=True)
        self._deduplicator = Deduplicator(LedgerReader(), ResendPolicy())
        self._origins: list[Origin] = []  # by number of the update in the fold
        self._events: dict[str, EventsOfName] = {}
        self._unfolded = self._repeated = 0

    def read_all(self, source: Input, jobs: int, stop: Stop) -> CustomerState:
        """Read an input to its end, or until the run stops, and return what it amounts to."""
        with CustomerFold() as fold:
            if is_worth_processes(source, jobs):
                for decisions in self._pipeline.shared(source, jobs, stop):
                    self._add(fold, decisions)
            else:
                for batch in source:
                    for decisions in self._pipeline.batches(batch, stop):
                        self._add(fold, decisions)
                    if stop.requested:
                        break
            fields = [each for _, profile in fold.profiles() for each in self._fields_of(profile)]
        return CustomerState(
            self._source_id,
            fields,
            len(self._origins),
            self._unfolded,
            sorted(self._events.values(), key=lambda events: _moment(events.first)),
            self._repeated,
            self.read,
            [notice.replace("--user:", "--final:", 1) for notice in self._pipeline.filters.notices(stop)],
        )

    def _add(self, fold: CustomerFold, decisions: Iterable[Decision]) -> None:
        """Take what the pipeline made of records: requests are all of this customer."""
        decisions = list(decisions)
        self.read += len(decisions)
        requests = [each for each in decisions if isinstance(each, Request)]
        for request, decision in zip(requests, self._deduplicator.decide(requests), strict=True):
            fold_updates(fold, [request], [decision])
            if fold.updates > len(self._origins):
                self._origins.append(Origin.of(request.event))
            if not isinstance(decision, Request):
                self._repeated += 1
            elif request.is_by_id and request.kind is Kind.CUSTOMER:
                self._unfolded += 1
            elif request.name is not None:
                self._count(request.name, Origin.of(request.event), of_order=request.kind is Kind.ORDER)

    def _count(self, name: str, origin: Origin, *, of_order: bool) -> None:
        known = self._events.get(name)
        if known is None:
            self._events[name] = EventsOfName(name, 1, origin, origin, of_order)
            return
        known.count += 1
        if _moment(origin) < _moment(known.first):
            known.first = origin
        if _moment(origin) >= _moment(known.last):
            known.last = origin

    def _fields_of(self, profile: Profile) -> Iterable[FieldState]:
        body = msgspec.json.decode(profile.folded(self._source_id).payload)
        versions = profile.versions()
        for name, value in body.items():
            if name == "source_id":
                continue
            if name in _OBJECTS and value is not None:
                for key, inside in value.items():
                    yield self._field((name, key), inside, versions.get((name, key)) or versions[name,])
            else:
                yield self._field((name,), value, versions[name,])

    def _field(self, keys: Keys, value: Any, versions: list[Version]) -> FieldState:
        origins = dict.fromkeys(self._origins[version[-1]] for version in versions)
        return FieldState(path_of(*keys), value, list(origins))


def _moment(origin: Origin) -> datetime:
    """Return when an event happened; one without a time is the earliest."""
    return _FIRST if origin.time is None else origin.time
