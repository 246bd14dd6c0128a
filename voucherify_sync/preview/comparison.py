"""Compare what two versions of the settings make of the same events: which requests change, where, and by which rows.

The earlier version is called *before*, the one in use *after*. Both map each event as a replay would, and their
requests are compared by what they say, not by their bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from msgspec import UNSET, Struct, field

from voucherify_sync.events import BadRecord, Batch, Event, Json, Kind, Request
from voucherify_sync.fields import NAME, NAME_PARTS
from voucherify_sync.mapping.filters import FiltersMet, Selection
from voucherify_sync.mapping.mapper import MappedRecord, Mapper
from voucherify_sync.mapping.rules import MappingRow
from voucherify_sync.mapping.trace import located
from voucherify_sync.outcomes import Decision, Outcome
from voucherify_sync.paths import MISSING, Keys, parse_destination, path_of, row_parts
from voucherify_sync.run.options import Input
from voucherify_sync.run.pipeline import Pipeline, decode_for
from voucherify_sync.settings import Settings
from voucherify_sync.settings.types import TrackEntry
from voucherify_sync.sources.decode import Record, portions, until_stopped
from voucherify_sync.stop import Stop
from voucherify_sync.text import by_count

if TYPE_CHECKING:
    from voucherify_sync.run.workers import Work

MAX_EXAMPLES: Final = 3
"""Places that are named of each change."""

MAX_FIELDS: Final = 500
"""Fields of requests that are counted each."""

_ROW_FIELDS: Final = frozenset({"mapping", "set", "add", "extend_default"})
"""Fields of a section of the settings that are compared row by row."""
_MAX_COMPARED: Final = 20_000
"""Records in one message from a process."""


class Difference(Struct, frozen=True):
    """One place at which two JSON values differ.

    Attributes:
        keys: of the place.
        expected: the value there, in the first one; UNSET where there is none at all, as a null is None.
        got: the value there in the second one, likewise.
    """

    keys: Keys
    expected: Any
    got: Any

    @property
    def path(self) -> str:
        """The place as text, such as ``body.customer.email``."""
        return path_of(*self.keys)

    def __str__(self) -> str:
        return f"{self.path}: expected {side_text(self.expected)}, got {side_text(self.got)}"


def differences(expected: Any, got: Any, *, partial: bool, keys: Keys = ()) -> Iterator[Difference]:
    """Yield where two JSON values differ, in the order of the first one.

    Numbers are equal if they are so by value; true and false are no numbers. Lists are compared item by item.

    Args:
        expected: one value.
        got: the other one.
        partial: an object may hold more than is expected, at any depth.
        keys: where both stand.
    """
    if isinstance(expected, dict) and isinstance(got, dict):
        for key in expected if partial else expected | got:
            one, other = expected.get(key, UNSET), got.get(key, UNSET)
            yield from differences(one, other, partial=partial, keys=(*keys, key))
    elif isinstance(expected, list) and isinstance(got, list):
        for index in range(max(len(expected), len(got))):
            one, other = (values[index] if index < len(values) else UNSET for values in (expected, got))
            yield from differences(one, other, partial=partial, keys=(*keys, index))
    elif isinstance(expected, bool) is not isinstance(got, bool) or expected != got:
        yield Difference(keys, expected, got)


def side_text(value: Any) -> str:
    """Return one side of a difference as text."""
    if value is UNSET:
        return "nothing"
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "a value that is nested too deep to be shown"


def request_differences(before: Request | None, after: Request | None) -> list[Difference]:
    """Return the fields of which two requests hold other values, by their destinations, such as ``customer.email``.

    Of an object that only one of them holds, each value is a field.
    """
    if before is not None and after is not None and before.payload == after.payload:
        return []
    found = differences(_parts_of(before), _parts_of(after), partial=False)
    return [each for difference in found for each in _by_value(difference)]


def _parts_of(request: Request | None) -> Json:
    if request is None:
        return {}
    return {"customer": request.body} if request.kind is Kind.CUSTOMER else request.body


def _by_value(difference: Difference) -> Iterable[Difference]:
    for one, other in ((difference.expected, difference.got), (difference.got, difference.expected)):
        if one is UNSET and isinstance(other, dict) and other:
            sides = ({}, other) if difference.expected is UNSET else (other, {})
            return chain.from_iterable(
                map(_by_value, differences(*sides, partial=False, keys=difference.keys))
            )
    return [difference]


class RequestChange(Struct, frozen=True):
    """What two versions of the settings make of one record.

    Attributes:
        record: which one.
        before: its request by the earlier settings, or how it ends without one.
        after: its request by the settings in use, or how it ends without one.
        fields: of both requests, where they differ; empty if there is only one.
    """

    record: Event | BadRecord
    before: Decision
    after: Decision
    fields: list[Difference]

    @property
    def is_changed(self) -> bool:
        """Whether it is another request, or only one version makes one."""
        return bool(self.fields) or isinstance(self.before, Request) is not isinstance(self.after, Request)

    def to_dict(self) -> Json:
        """Return the change as JSON values."""
        return {
            "source": str(self.record.position),
            "type": self.record.type,
            "name": self.record.name,
            "messageId": self.record.message_id,
            "before": _side(self.before),
            "after": _side(self.after),
            "changes": [
                {
                    "path": each.path,
                    "change": kind_of(each),
                    **({} if each.expected is UNSET else {"before": each.expected}),
                    **({} if each.got is UNSET else {"after": each.got}),
                }
                for each in self.fields
            ],
        }


def kind_of(difference: Difference) -> Literal["added", "removed", "changed"]:
    """Return what happened to a field of a request."""
    if difference.expected is UNSET:
        return "added"
    return "removed" if difference.got is UNSET else "changed"


def _side(decision: Decision) -> Json:
    if isinstance(decision, Outcome):
        return {"state": str(decision.state), "reason": decision.reason, "request": None}
    return {"state": "planned", "reason": None, "request": decision.body}


_Change = Literal["added", "removed", "moved", "changed"]


class RowChange(Struct, frozen=True):
    """A row, an entry of `set` or a constant that only one version of the settings has, or that differs.

    Attributes:
        section: of the settings: a type of event, or ``events.`` and the name of an entry of `track.events`.
        change: ``added``, ``removed``, ``moved``: its source stayed, and its destination is another one, or
            ``changed``: its destination stayed, and what goes there is made in another way.
        row: its text; of a moved or changed one, as it is now.
        before: of these, its text before.
        now: of these, what is new.
        default: it is one of the default table.
        requests: requests that it changes.
        examples: the first places of these.
    """

    section: str
    change: _Change
    row: str
    before: str | None
    now: str | None
    default: bool
    requests: int
    examples: list[str]


class SettingChange(Struct, frozen=True):
    """A setting that is no row, and has another value.

    Attributes:
        setting: its path.
        before: its value, as JSON text.
        after: its value now.
    """

    setting: str
    before: str
    after: str


class FieldChanges(Struct):
    """How often a field of requests changes.

    Attributes:
        added: requests that hold it only now.
        removed: requests that held it before.
        changed: requests in which it has another value.
        examples: the first places of these.
    """

    added: int = 0
    removed: int = 0
    changed: int = 0
    examples: list[str] = field(default_factory=list)


class ComparisonReport(Struct, frozen=True):
    """What changes between two versions of the settings: the shape that `coverage --against --json` prints.

    Attributes:
        read: records read.
        unchanged: requests that stay the same.
        changed: requests that say something else.
        only_before: records that were sent only before.
        only_after: records that are sent only now.
        not_sent: records of which neither version makes a request.
        reasons_before: of those sent only now, why they were not sent before, each with how often.
        reasons_after: of those sent only before, why they are not sent now.
        rows: those that only one of the versions has.
        settings: other settings that have another value.
        by_other_settings: changed requests that no row of these explains, at least in part.
        fields: destinations in the changed requests, the most frequent first.
        more_fields: fields beyond the first 500 change, too.
        examples: the first places of changed requests.
        notices: sentences on names of the command line that no event had.
    """

    read: int
    unchanged: int
    changed: int
    only_before: int
    only_after: int
    not_sent: int
    reasons_before: dict[str, int]
    reasons_after: dict[str, int]
    rows: list[RowChange]
    settings: list[SettingChange]
    by_other_settings: int
    fields: dict[str, FieldChanges]
    more_fields: bool
    examples: list[str]
    notices: list[str]


class _Counts(Struct):
    """What was compared in a part of the input."""

    read: int = 0
    unchanged: int = 0
    changed: int = 0
    only_before: int = 0
    only_after: int = 0
    by_other_settings: int = 0
    reasons_before: dict[str, int] = {}
    reasons_after: dict[str, int] = {}
    rows: dict[int, tuple[int, list[str]]] = {}
    fields: dict[str, FieldChanges] = {}
    more_fields: bool = False
    examples: list[str] = []

    def add_field(self, path: str, kind: str, times: int, examples: list[str]) -> None:
        """Count a field."""
        counts = self.fields.get(path)
        if counts is None:
            if len(self.fields) == MAX_FIELDS:
                self.more_fields = True
                return
            counts = self.fields[path] = FieldChanges()
        setattr(counts, kind, getattr(counts, kind) + times)
        counts.examples = (counts.examples + examples)[:MAX_EXAMPLES]

    def add_row(self, number: int, times: int, examples: list[str]) -> None:
        """Count a row that changes requests."""
        known, places = self.rows.get(number, (0, []))
        self.rows[number] = (known + times, (places + examples)[:MAX_EXAMPLES])

    def merge(self, later: _Counts) -> None:
        """Add the counts of a later part of the input."""
        for name in ("read", "unchanged", "changed", "only_before", "only_after", "by_other_settings"):
            setattr(self, name, getattr(self, name) + getattr(later, name))
        for one, other in (
            (self.reasons_before, later.reasons_before),
            (self.reasons_after, later.reasons_after),
        ):
            for reason, times in other.items():
                one[reason] = one.get(reason, 0) + times
        for number, (times, places) in later.rows.items():
            self.add_row(number, times, places)
        for path, counts in later.fields.items():
            for kind in ("added", "removed", "changed"):
                if times := getattr(counts, kind):
                    self.add_field(path, kind, times, counts.examples)
        self.more_fields = self.more_fields or later.more_fields
        self.examples = (self.examples + later.examples)[:MAX_EXAMPLES]


_encode = msgspec.msgpack.Encoder().encode
_decode_counted = msgspec.msgpack.Decoder(tuple[_Counts, FiltersMet]).decode


class Comparison:
    """Compares the requests that two versions of the settings make of records, and counts the changes.

    Args:
        before: the earlier settings.
        after: the settings in use.
        selection: what the command line picks.

    Attributes:
        decode: makes records of a batch.
    """

    def __init__(self, before: Settings, after: Settings, selection: Selection | None = None) -> None:
        self._arguments = before, after, selection or Selection()
        self._before, self._after = (Pipeline(each, self._arguments[2]) for each in (before, after))
        mappers = self._before.mapper, self._after.mapper
        self.decode = decode_for(self._before, self._after)
        self._counts = _Counts()
        self._rows, self._numbers = _changed_rows(*mappers)
        self._constants: dict[str, list[tuple[Keys, int]]] = {}
        for name in _section_names(*mappers):
            sections = [mapper.sections.named(name) for mapper in mappers]
            compiled = [each for each in sections if each is not None]
            constants = [each.settings.add for each in compiled]
            entries = [
                {entry.destination.text: entry.expression.value for entry in each.rules.entries}
                for each in compiled
            ]
            for what, values in (("add", constants), ("set", entries)):
                if len(values) < len(sections):  # of a type that one version leaves out
                    values.insert(0 if sections[0] is None else 1, {})
                self._add_constants(name, what, *values)

    @property
    def read(self) -> int:
        """Records read."""
        return self._counts.read

    def change(self, record: Record) -> RequestChange:
        """Return what both versions make of a record."""
        before, after = self._before.decide(record), self._after.decide(record)
        own = record.record if isinstance(record, Outcome) else record
        if isinstance(before, Outcome) or isinstance(after, Outcome):
            return RequestChange(own, before, after, [])
        return RequestChange(own, before, after, request_differences(before, after))

    def add_shared(self, source: Input, jobs: int, stop: Stop) -> None:
        """Count the changes of an input on several processes, until the run stops."""
        from voucherify_sync.run import workers  # of no use to a small input, and slow to import

        for result in workers.results(source, jobs, stop, _comparing, *self._arguments):
            counts, met = _decode_counted(result)
            self._counts.merge(counts)
            self._after.filters.merge(met)

    def counted(self, blocks: Iterable[Batch], stop: Stop) -> Iterator[bytes]:
        """Yield the counts of blocks, part by part, for the process that merges them."""
        for records in portions(chain.from_iterable(map(self.decode, blocks)), _MAX_COMPARED):
            self._counts = _Counts()
            self.add(until_stopped(records, stop))
            yield _encode((self._counts, self._after.filters.cut_met()))
            if stop.requested:
                return

    def report(self, stop: Stop | None = None) -> ComparisonReport:
        """Return all that was counted; once the run stops no name counts as one that no event had."""
        counts, (before, after, _) = self._counts, self._arguments
        sent = counts.unchanged + counts.changed + counts.only_before + counts.only_after
        rows = []
        for number, row in enumerate(self._rows):
            times, examples = counts.rows.get(number, (0, []))
            rows.append(msgspec.structs.replace(row, requests=times, examples=examples))

        def times_changed(item: tuple[str, FieldChanges]) -> int:
            return item[1].added + item[1].removed + item[1].changed

        return ComparisonReport(
            read=counts.read,
            unchanged=counts.unchanged,
            changed=counts.changed,
            only_before=counts.only_before,
            only_after=counts.only_after,
            not_sent=counts.read - sent,
            reasons_before=by_count(counts.reasons_before),
            reasons_after=by_count(counts.reasons_after),
            rows=rows,
            settings=list(_changed_settings(before, after)),
            by_other_settings=counts.by_other_settings,
            fields=dict(sorted(counts.fields.items(), key=times_changed, reverse=True)),
            more_fields=counts.more_fields,
            examples=counts.examples,
            notices=list(self._after.filters.notices(stop)),
        )

    def add(self, records: Iterable[Record]) -> None:
        """Count the changes of records."""
        counts = self._counts
        for record in records:
            counts.read += 1
            change = self.change(record)
            before, after = change.before, change.after
            if isinstance(before, Outcome):
                if not isinstance(after, Outcome):
                    counts.only_after += 1
                    _count(counts.reasons_before, before.reason)
            elif isinstance(after, Outcome):
                counts.only_before += 1
                _count(counts.reasons_after, after.reason)
            elif change.fields:
                self._count_changed(before.event, change.fields)
            else:
                counts.unchanged += 1

    def _count_changed(self, event: Event, fields: list[Difference]) -> None:
        counts, place = self._counts, str(event.position)
        counts.changed += 1
        counts.examples = [*counts.examples, place][:MAX_EXAMPLES]
        writers = list(self._writers(event))
        found: set[int] = set()
        is_explained = True
        for each in fields:
            counts.add_field(each.path, kind_of(each), 1, [place])
            numbers = {number for keys, value, number in writers if _covers(keys, value, each.keys)}
            is_explained = is_explained and bool(numbers)
            found |= numbers
        for number in sorted(found):
            counts.add_row(number, 1, [place])
        counts.by_other_settings += not is_explained

    def _writers(self, event: Event) -> Iterator[tuple[Keys, Any, int]]:
        """Yield where the rows that only one version has put what in the requests of an event, and their numbers."""
        sections = [pipeline.mapper.sections.of(event) for pipeline in (self._after, self._before)]
        # What is compared with what goes by the narrower one: an entry for one name, one for several, all events.
        name = max(
            [section.name for section in sections if section is not None],
            key=lambda each: ("." in each, "*" not in each),
        )
        for pipeline, numbers in zip((self._before, self._after), self._numbers, strict=True):
            if not numbers:
                continue
            mapped = pipeline.mapper.mapped(event, traces=True)
            assert isinstance(mapped, MappedRecord)  # noqa: S101  # a request was made of it
            rows = mapped.rules.rows
            for leaf, value in mapped.draft.matches:
                row = rows[leaf.row]
                number = numbers.get((name, (row.whole or row).text))
                if number is not None:
                    place = row.destination.keys
                    yield (NAME if place in NAME_PARTS else place), value, number
            for put, (value, _) in zip(mapped.draft.filled, mapped.draft.set_values, strict=True):
                place = mapped.rules.entries[put].leaf.place
                number = numbers.get((name, _set_text(path_of(*place))))
                if number is not None:
                    yield (NAME if place in NAME_PARTS else place), value, number
        for keys, number in self._constants.get(name, ()):
            yield keys, None, number

    def _add_constants(self, section: str, what: str, before: Json, after: Json) -> None:
        """Note the constants, or entries of `set`, that only one version has or that differ, beside the rows."""
        for destination in before | after:
            one, other = (side.get(destination, UNSET) for side in (before, after))
            if not list(differences(one, other, partial=False)):
                continue
            texts = [f"{what}: {destination}: {side_text(value)}" for value in (one, other)]
            if destination not in after:
                change = RowChange(section, "removed", texts[0], None, None, False, 0, [])
            elif destination not in before:
                change = RowChange(section, "added", texts[1], None, None, False, 0, [])
            else:
                change = RowChange(section, "changed", texts[1], texts[0], side_text(other), False, 0, [])
            number = _number_of(change, self._rows)
            keys = parse_destination(destination).keys
            if what == "add":
                self._constants.setdefault(section, []).append((keys, number))
                continue
            for numbers, side in zip(self._numbers, (before, after), strict=True):
                if destination in side:
                    numbers[section, _set_text(path_of(*keys))] = number


def _set_text(destination: str) -> str:
    """Return what tells an entry of `set` from a row."""
    return f"set: {destination}"


def _comparing(before: Settings, after: Settings, selection: Selection) -> Work:
    """Prepare what a process does."""
    return Comparison(before, after, selection).counted


def _changed_rows(before: Mapper, after: Mapper) -> tuple[list[RowChange], tuple[dict[Any, int], ...]]:
    """Return the rows that only one version has; and for each version, of section and text, their numbers."""
    rows: list[RowChange] = []
    numbers: tuple[dict[Any, int], ...] = ({}, {})
    for section in _section_names(before, after):
        rows_before, rows_after = (_written_rows(mapper, section) for mapper in (before, after))
        removed = [row for text, row in rows_before.items() if text not in rows_after]
        added = [row for text, row in rows_after.items() if text not in rows_before]
        pairs = _same_rows(removed, added)
        for row in added:
            if earlier := pairs.get(row.text):
                removed.remove(earlier)
                kind, now = _what_is_new(earlier, row)
                change = RowChange(section, kind, row.text, earlier.text, now, row.is_default, 0, [])
                numbers[0][section, earlier.text] = numbers[1][section, row.text] = _number_of(change, rows)
            else:
                change = RowChange(section, "added", row.text, None, None, row.is_default, 0, [])
                numbers[1][section, row.text] = _number_of(change, rows)
        for row in removed:
            change = RowChange(section, "removed", row.text, None, None, row.is_default, 0, [])
            numbers[0][section, row.text] = _number_of(change, rows)
    return rows, numbers


def _same_rows(removed: list[MappingRow], added: list[MappingRow]) -> dict[str, MappingRow]:
    """Return what a row was before, by its text now: one of its source, to the same destination if there is one."""
    pairs: dict[str, MappingRow] = {}
    for is_same_place in (True, False):
        for row in added:
            left = [
                each for each in removed if each not in pairs.values() and each.source.text == row.source.text
            ]
            places = [each for each in left if each.destination.keys == row.destination.keys]
            if row.text not in pairs and (earlier := next(iter(places if is_same_place else left), None)):
                pairs[row.text] = earlier
    return pairs


def _what_is_new(before: MappingRow, row: MappingRow) -> tuple[_Change, str]:
    """Return how a row differs from what it was, and what is new."""
    if before.destination.keys != row.destination.keys:
        return "moved", row_parts(row.text)[1]
    was, now = before.computing, row.computing
    changed = [key for key in was | now if was.get(key) != now.get(key)]
    told = [f"{key}: {now[key]}" if key in now else f"no {key}" for key in changed]
    return "changed", ", ".join(told) or row_parts(row.text)[1]


def _number_of(change: RowChange, rows: list[RowChange]) -> int:
    """Return the number of a change, and list it. What an entry takes over from track changes there, and only once."""
    if "." in change.section:
        change_of_track = msgspec.structs.replace(change, section="track")
        if change_of_track in rows:
            return rows.index(change_of_track)
    rows.append(change)
    return len(rows) - 1


def _section_names(before: Mapper, after: Mapper) -> list[str]:
    return list(before.sections.by_name | after.sections.by_name)


def _written_rows(mapper: Mapper, name: str) -> dict[str, MappingRow]:
    section = mapper.sections.named(name)
    rows = [] if section is None else section.rules.rows
    return {row.text: row for row in rows if row.whole is None}


def _changed_settings(before: Settings, after: Settings) -> Iterator[SettingChange]:
    """Yield the settings that decide about requests, are no rows, and have another value."""
    for section in before.__struct_fields__:
        if section in ("api", "delivery"):
            continue
        one, other = (msgspec.to_builtins(getattr(each, section)) for each in (before, after))
        if section == "track":  # the events of orders have a status each, and no settings of their own
            entries = one.pop("events"), other.pop("events")
            nothing = msgspec.to_builtins(TrackEntry())
            for name in entries[0] | entries[1]:
                given = (each.get(name, nothing) for each in entries)
                yield from _changes_of_section(f"{section}.events.{name}", *given)
        yield from _changes_of_section(section, one, other)
        rows_before, rows_after = one.get("mapping", {}), other.get("mapping", {})
        order_before = [row for row in rows_before if row in rows_after]
        order_after = [row for row in rows_after if row in rows_before]
        if order_before != order_after:
            yield SettingChange(
                f"{section}.mapping, order of rows", side_text(order_before), side_text(order_after)
            )


def _changes_of_section(section: str, one: Json, other: Json) -> Iterator[SettingChange]:
    for name in one:
        if name not in _ROW_FIELDS and one[name] != other[name]:
            yield SettingChange(f"{section}.{name}", side_text(one[name]), side_text(other[name]))


def _covers(place: Keys, value: Any, keys: Keys) -> bool:
    """Tell whether what a row put at a place may be, or hold, what stands at the keys."""
    if len(place) >= len(keys):
        return place[: len(keys)] == keys
    below = keys[len(place) :]
    return keys[: len(place)] == place and (
        not isinstance(value, dict) or located(value, below[:1]) is not MISSING
    )


def _count(reasons: dict[str, int], reason: str | None) -> None:
    reasons[reason or ""] = reasons.get(reason or "", 0) + 1
