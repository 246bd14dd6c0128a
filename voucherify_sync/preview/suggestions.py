"""Proposes settings by what events hold: for `init` out of a sample, for `coverage` out of its counts.

Both write the same rows, because both take them from a `Proposer`; `pasted_settings` writes them as YAML. Names of
events are data: a row is made of them only if the settings would take it, on one line of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, field

from voucherify_sync.events import SENT_TYPES, Batch, Event
from voucherify_sync.expressions.set_entries import set_entries
from voucherify_sync.fields import ADDRESS_ALIASES, CUSTOMER_ALIASES, NAME, NAME_PARTS
from voucherify_sync.paths import Keys, PathError, check_row, parse_destination, parse_source, path_of
from voucherify_sync.settings import Identify, Track
from voucherify_sync.settings.types import OF_PRODUCTS, REPLAY_ROWS, SAFE_TRACK_ROWS, destinations_of
from voucherify_sync.sources.decode import decode
from voucherify_sync.text import folded_key, similar

if TYPE_CHECKING:
    from voucherify_sync.preview.coverage import PathCounts

SAMPLE: Final = 10_000
"""Records that are read for a sample."""
MAX_NAME_LENGTH: Final = 301
"""Characters of a name that are kept; an event name of more than 300 is counted, and never written."""
MAX_ROWS: Final = 100
"""Rows that are proposed for one type of event, at most: metadata is no place for an archive."""

RENAMING_SOURCE: Final = "properties.name"
RENAMING_ROW: Final = f"{RENAMING_SOURCE}: customer.name"
"""The row of the default table that gives a customer the name of a product, in the events of a shop."""

_MAX_NAMES: Final = 20_000
"""Distinct names of one kind that are counted."""
_MAX_ROW_LENGTH: Final = 100
"""Characters of a source or a destination: with a longer one a row would not stand on one line of YAML."""
_MAX_BELOW: Final = 10
"""Values below one object that get a row each; of more, the object gets a wildcard."""
_MAX_NUMBERED: Final = 9
"""Keys that differ by a number only and get a row each: with more, the number is data."""
_RARE: Final = 1_000
"""A value gets no row if less than one event in 1,000 has it."""
_CLOSE: Final = 0.75
_CLOSE_KEY: Final = 0.6
"""The least similarity of two paths, and of their last keys: the roots alone make them similar."""

_ADDRESS_TRAITS: Final = frozenset(ADDRESS_ALIASES) - {"state", "region"}
"""Those that mean an address also where they are no part of one: the state of a customer may be `active`."""
_NAME_PARTS: Final = frozenset(path_of(*keys) for keys in NAME_PARTS)
_NOT_OF_EVENTS: Final = frozenset({"name", "description"})
"""Fields that a trait of this name means, and a property does not: there they are the product's."""

_IDS: Final = frozenset(
    ("id", "userid", "anonymousid", "customerid", "sourceid", "externalid", "accountid", "uid", "uuid")
)
_SECRETS: Final = frozenset(
    (
        *("password", "passwd", "passphrase", "pwd", "secret", "token", "otp", "pin", "cookie"),
        *("apikey", "accesskey", "privatekey", "credential", "credentials", "auth", "authorization"),
        *("creditcard", "creditcardnumber", "cardnumber", "cvv", "cvc", "iban"),
        *("ssn", "socialsecurity", "socialsecuritynumber", "passport", "passportnumber", "taxid"),
    )
)
_WORDS: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\W\d_]+")
_MAIL: Final = re.compile(r'"[^@\s"]+@[^@\s"]+\.[^@\s"]')

_EXTRA_CONSTANT: Final = "metadata.replayed"

_CONFIDENTIAL: Final = "it may be a secret"
_ID: Final = "an id: the customer has its own in source_id"
_DEEP: Final = "objects inside of objects, which a metadata schema refuses"
_WHOLE_NAME: Final = "it would win over firstName and lastName of the event"
_SET_WINS: Final = "an entry of set fills the same field, and wins where it gives a value"
_MAIL_OF_ANOTHER: Final = "a mail address, maybe of another person"


class SampleCounts(Struct):
    """Counts of a sample.

    Attributes:
        records: how many were read.
        identifies: identify events among them.
        tracks: track events among them.
        names: track events by their name.
        uncounted: track events with a name beyond the number that is kept.
    """

    records: int = 0
    identifies: int = 0
    tracks: int = 0
    names: dict[str, int] = field(default_factory=dict)
    uncounted: int = 0

    def add(self, event: Event) -> None:
        """Count an event."""
        if event.type == "identify":
            self.identifies += 1
        elif event.type == "track":
            self.tracks += 1
            name = None if event.name is None else event.name[:MAX_NAME_LENGTH]
            if name in self.names or (name is not None and len(self.names) < _MAX_NAMES):
                self.names[name] = self.names.get(name, 0) + 1
            elif name is not None:
                self.uncounted += 1


def sample(batches: Iterable[Batch], counts: SampleCounts) -> Iterator[Event]:
    """Yield the events among the first SAMPLE records, and count them.

    Args:
        batches: of a reader.
        counts: takes the counts.

    Raises:
        SourceError: a pipe holds something else than events.
    """
    for block in batches:
        for record in decode(block):
            if counts.records == SAMPLE:
                return
            counts.records += 1
            if isinstance(record, Event):
                counts.add(record)
                yield record


class ProposedRow(Struct, frozen=True):
    """A row that would map a value.

    Attributes:
        source: as it is written in the settings.
        destination: as it is written in the settings.
        count: events that have the value; 0 of a row that belongs to the others.
        remark: why a person should decide on it. Such a row is written as a comment.
    """

    source: str
    destination: str
    count: int = 0
    remark: str = ""


class Proposal(Struct, frozen=True):
    """What the settings of a type of event lack.

    Attributes:
        rows: in the order in which they must stand, so that the stronger source of a field wins.
        add: constants.
        extend_default: what the setting must be; None if it may stay as it is.
        events: of the type.
        more: values that get no row: too many, too rare, or their names differ by a number only.
    """

    rows: list[ProposedRow]
    add: dict[str, Any]
    extend_default: bool | None
    events: int
    more: int

    @property
    def row_texts(self) -> dict[str, str]:
        """Source and destination of the rows that are proposed without a remark."""
        return {row.source: row.destination for row in self.rows if not row.remark}


class Proposer:
    """Finds the rows that would map the values of one type of event that no row reads.

    Args:
        kind: type of the events.
        own: their settings.
        paths: of the values of the events, with counts.
        filled: destinations at which something stands in a request.
        events: how many become requests.
    """

    def __init__(
        self,
        kind: str,
        own: Identify | Track,
        paths: Mapping[Keys, PathCounts],
        filled: Iterable[Keys],
        events: int,
    ) -> None:
        self._kind, self._own, self._paths, self._events = kind, own, paths, events
        self._read = {parse_source(source).keys for source in own.mapping}
        entries = set_entries(own.set)
        self._set = {entry.destination.text for entry in entries}
        self._read_by_set = {source.keys for entry in entries for source in entry.expression.sources}
        renames = NAME in getattr(paths.get(("properties", "name")), "destinations", ())
        self._without_name = kind == "track" and (
            not (own.mapping or own.set)
            or bool(
                own.extend_default
                and renames
                and "customer.name" not in destinations_of(own.mapping.get(RENAMING_SOURCE, []))
            )
        )
        self._rows: dict[str, ProposedRow] = {}
        self._taken = {path_of(*keys) for keys in filled} | {*own.add, _EXTRA_CONSTANT, *REPLAY_ROWS.values()}
        self._taken |= self._set
        self._unmapped = {
            keys: count
            for keys, counts in paths.items()
            if keys not in self._read
            and not self._is_carried_inside(keys)
            and (count := self._unmapped_count(keys, counts))
        }

    def _is_carried_inside(self, keys: Keys) -> bool:
        """Tell whether a value may lie in an object that is carried whole: a row for it would cost the others there."""
        return self._own.unmapped == "metadata" and keys[0] != "context" and len(keys) > 2

    def proposal(self, more: int) -> Proposal:
        """Return what the settings lack; `more` paths are not counted one by one."""
        by_field: dict[str | None, list[Keys]] = {}
        for keys in sorted(self._unmapped, key=lambda keys: (-self._unmapped[keys], keys)):
            by_field.setdefault(self._field_of(keys), []).append(keys)
        others = by_field.pop(None, [])
        for place, sources in by_field.items():
            if place is not None:
                self._add_field(place, sources)
        if self._without_name and self._events:
            for source, destination in SAFE_TRACK_ROWS.items():
                if source not in self._rows and (keys := parse_source(source).keys) not in self._read:
                    self._put(keys, destination)
        add = self._add_extras(has_rows=bool(by_field or others)) if self._kind == "track" else {}
        more += self._add_metadata(others)
        has_rows = any(not row.remark for row in self._rows.values())
        extend = None
        if self._without_name and (has_rows or self._own.extend_default):
            extend = False
        elif has_rows and not (self._own.mapping or self._own.set):
            extend = True
        return Proposal(list(self._rows.values()), add, extend, self._events, more)

    def _add_extras(self, *, has_rows: bool) -> dict[str, Any]:
        """Add the rows that every replay is better with, and return the constants that are."""
        if not self._events or not (has_rows or not self._own.mapping):
            return {}
        targets = {*chain.from_iterable(map(destinations_of, self._own.mapping.values())), *self._set}
        for source, destination in REPLAY_ROWS.items():
            is_read = (source,) in self._read or (source,) in self._read_by_set
            if not is_read and destination not in targets:
                self._put((source,), destination)
        return {} if _EXTRA_CONSTANT in {*self._own.add, *targets} else {_EXTRA_CONSTANT: True}

    def _unmapped_count(self, keys: Keys, counts: PathCounts) -> int:
        """Return how many values no row reads, or would read no longer."""
        field = OF_PRODUCTS.get(path_of(*keys)) if self._without_name else None
        if field is not None and [path_of(*to) for to in counts.destinations] == [field]:
            return counts.mapped
        return counts.reasons.get("no_row", 0) + counts.reasons.get("no_field", 0)

    def _field_of(self, keys: Keys) -> str | None:
        """Return the field of the customer that a value belongs into by its name; None if there is none."""
        in_context = keys[0] == "context"
        names = [folded_key(str(key)) for key in keys[2 if in_context else 1 :]]
        is_trait = in_context or self._kind == "identify"
        if self._paths[keys].types.keys().isdisjoint({"string", "number"}) or not names:
            return None
        if len(names) == 2 and names[0] == "address" and names[1] in ADDRESS_ALIASES:
            return f"customer.address.{ADDRESS_ALIASES[names[1]]}"
        if len(names) > 1:
            return None
        if (name := CUSTOMER_ALIASES.get(names[0])) and (is_trait or name not in _NOT_OF_EVENTS):
            return f"customer.{name}"
        if is_trait and names[0] in _ADDRESS_TRAITS:
            return f"customer.address.{ADDRESS_ALIASES[names[0]]}"
        return None

    def _add_field(self, place: str, sources: list[Keys]) -> None:
        """Add the rows of a field: of several sources the weakest first, since a later row wins.

        What fills the field already is stronger than what nothing reads, and an event's own trait than one of its
        context.
        """
        is_name = place == "customer.name"
        filled_by = [
            keys
            for keys, counts in self._paths.items()
            if counts.mapped and keys not in self._unmapped and keys not in self._read
        ]
        parts = [keys for keys in filled_by if self._field_of(keys) in _NAME_PARTS and keys[0] != "context"]
        stronger = [
            keys
            for keys in filled_by
            if self._field_of(keys) == place
            or (not is_name and place in {path_of(*to) for to in self._paths[keys].destinations})
        ]
        if place in self._set:  # it wins over rows, whatever their order
            stronger = []
        field_name = place.rpartition(".")[2]

        def strength(keys: Keys) -> tuple[bool, bool, int, Keys]:
            return keys[0] != "context", keys[-1] == field_name, self._paths[keys].count, keys

        for keys in (*sorted(sources, key=strength), *sorted(stronger, key=strength)):
            is_doubtful = is_name and bool(parts) and keys[0] == "context"
            remark = _SET_WINS if place in self._set else _WHOLE_NAME if is_doubtful else ""
            self._put(keys, place, remark)

    def _add_metadata(self, sources: list[Keys]) -> int:
        """Add rows to metadata for values that have no field; return how many get none."""
        below: dict[Keys, list[Keys]] = {}
        numbered: dict[str, list[Keys]] = {}
        for keys in sources:
            depth = 3 if keys[0] == "context" else 2
            below.setdefault(keys[:depth], []).append(keys)
            numbered.setdefault(re.sub(r"\d+", "0", path_of(*keys[:depth])), []).append(keys[:depth])
        # A row for a value that is an object elsewhere would take the object, too.
        objects = {keys[:length] for keys in self._paths for length in range(2, len(keys))}
        without_row = set[Keys]()
        for alike in numbered.values():
            if len(set(alike)) > _MAX_NUMBERED:
                without_row.update(alike)
        more = written = 0
        for keys in sources:
            top = keys[: 3 if keys[0] == "context" else 2]
            inside = below[top]
            count = self._unmapped[keys]
            if top in without_row or keys in objects or count * _RARE < self._events or written >= MAX_ROWS:
                more += 1
            elif len(inside) > _MAX_BELOW or _are_numbered(inside, len(top)):
                if inside[0] != keys:  # the most frequent one stands for all
                    continue
                is_added = self._add_wildcard(top, inside, count)
                written, more = written + is_added, more + (0 if is_added else len(inside))
            elif self._add_own(keys):
                written += 1
            else:
                more += 1
        return more

    def _add_wildcard(self, top: Keys, inside: list[Keys], count: int) -> bool:
        """Add one row for all that is inside an object; one for deeper objects is left to a person."""
        remark = next(filter(None, map(self._remark_on, inside)), "")
        if not remark and any(len(keys) > len(top) + 1 for keys in inside):
            remark = _DEEP
        name = str(top[-1])
        to = path_of(*self._metadata_of(top), name)
        if not name.strip() or to in self._taken:
            return False
        self._taken.add(to)
        return self._put_text(path_of(*top) + ".*", to + ".*", count, remark)

    def _add_own(self, keys: Keys) -> bool:
        """Add the row of one value; that of the context stands before the event's own of the same name, which wins."""
        names = [str(key) for key in keys[2 if keys[0] == "context" else 1 :]]
        metadata = self._metadata_of(keys)
        own_places = {path_of(*to) for to in self._paths[keys].destinations}
        if keys[0] == "context" and self._kind == "identify":
            own = (SENT_TYPES[self._kind].root, *names)
            if own in self._unmapped and self._field_of(own) is None and self._add_own(own):
                row = self._rows.pop(path_of(*own))
                is_put = self._put(keys, row.destination)
                self._rows[path_of(*own)] = row
                return is_put
        if path_of(*keys) in self._rows:
            return True
        if not names or not all(name.strip() for name in names):
            return False
        for place in ((*metadata, "_".join(names)), (*metadata, *names)):
            to = path_of(*place)
            if (to not in self._taken or to in own_places) and self._put(keys, to):
                self._taken.add(to)
                return True
        return False

    def _metadata_of(self, keys: Keys) -> Keys:
        return ("metadata",) if keys[0] == "properties" else ("customer", "metadata")

    def _put(self, keys: Keys, destination: str, remark: str = "") -> bool:
        """Add a row; False if the settings would not take it."""
        counts = self._paths.get(keys)
        count = 0 if counts is None else counts.count - counts.types.get("null", 0)
        if counts is not None and destination.startswith(("metadata", "customer.metadata")):
            remark = self._remark_on(keys)
        return self._put_text(path_of(*keys), destination, count, remark)

    def _put_text(self, source: str, destination: str, count: int, remark: str = "") -> bool:
        try:
            check_row(parse_source(source), parse_destination(destination))
        except PathError:
            return False
        if max(len(source), len(destination)) > _MAX_ROW_LENGTH:
            return False
        self._rows[source] = ProposedRow(source, destination, count, remark)
        return True

    def _remark_on(self, keys: Keys) -> str:
        """Return why a person should look at a value before it is sent as metadata."""
        words = [word.lower() for word in _WORDS.findall(" ".join(map(str, keys[1:])))]
        joined = {
            "".join(words[start:end])
            for start in range(len(words))
            for end in range(start + 1, len(words) + 1)
        }
        if joined & _SECRETS:
            return _CONFIDENTIAL
        if re.sub(r"[\W_]", "", str(keys[-1])).lower() in _IDS:
            return _ID
        return _MAIL_OF_ANOTHER if _MAIL.match(self._paths[keys].example[1]) else ""


def _are_numbered(keys: list[Keys], depth: int) -> bool:
    """Tell whether more than a few keys below an object differ by a number only."""
    alike: dict[str, set[str]] = {}
    for each in keys:
        if len(each) > depth:
            name = str(each[depth])
            alike.setdefault(re.sub(r"\d+", "0", name), set()).add(name)
    return any(len(names) > _MAX_NUMBERED for names in alike.values())


def similar_paths(source: str, seen: dict[str, Keys]) -> list[str]:
    """Return paths that the source of a row may mean, the nearest first.

    Args:
        source: which found nothing.
        seen: text and keys of the paths that were seen, the most frequent first.
    """
    last_key = folded_key(source.rpartition(".")[2])
    near = [
        text
        for text in similar(source, seen, fold=folded_key, most=2, cutoff=_CLOSE)
        if similar(last_key, [str(seen[text][-1])], fold=folded_key, most=1, cutoff=_CLOSE_KEY)
    ]
    # The same key may lie elsewhere, such as in the context.
    return near or [text for text, keys in seen.items() if folded_key(str(keys[-1])) == last_key][:2]
