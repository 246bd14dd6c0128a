"""Suggests settings by what events hold: for `init` out of a sample, for `coverage` out of its counts.

Names of events are data. A row is made of them only if the settings would take it, on one line of the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final, TypeVar

from msgspec import Struct, field

from voucherify_sync.events import Batch, Event
from voucherify_sync.fields import CUSTOMER_TEXTS
from voucherify_sync.paths import Keys, PathError, check_row, parse_destination, parse_source, path_of
from voucherify_sync.settings import DEFAULT_ROWS, Settings, template
from voucherify_sync.settings.template import escaped, to_yaml
from voucherify_sync.sources.decode import decode
from voucherify_sync.text import by_count, counted, similar

SAMPLE: Final = 10_000
"""Records that are read for a sample."""
MAX_LINES: Final = 200
"""Names or rows of one kind that `init` writes, at most."""
MAX_ROWS: Final = 20
"""Rows that `coverage` proposes for one type of event, at most."""

_MAX_NAMES: Final = 20_000
"""Distinct names of one kind that are counted."""
_MAX_NAME_LENGTH: Final = 301
"""Characters of a name that are kept; an event name of more than 300 is counted, and never written."""
_MAX_ROW_LENGTH: Final = 100
"""Characters of a source or a destination: with a longer one a row would not stand on one line of YAML."""
_CLOSE: Final = 0.75

_FIELDS: Final = {
    **{name: f"customer.{name}" for name in CUSTOMER_TEXTS if name not in {"id", "source_id"}},
    **{name: destination for name, destination in DEFAULT_ROWS.items() if name != "metadata"},
    "first_name": "customer.firstName",
    "last_name": "customer.lastName",
    "address.postal_code": "customer.address.postal_code",
    "birthday": "customer.birthdate",
}
"""Name of a trait -> the field of the customer that it belongs into."""

_Name = TypeVar("_Name")


class SampleCounts(Struct):
    """Counts of a sample.

    Attributes:
        records: how many were read.
        identifies: identify events among them.
        tracks: track events among them.
        names: track events by their name.
        traits: identify events by the trait that they have; an address is taken apart.
        properties: track events by the property that they have.
        uncounted: names, traits and properties beyond the number that is kept.
    """

    records: int = 0
    identifies: int = 0
    tracks: int = 0
    names: dict[str, int] = field(default_factory=dict)
    traits: dict[Keys, int] = field(default_factory=dict)
    properties: dict[Keys, int] = field(default_factory=dict)
    uncounted: int = 0

    def add(self, event: Event) -> None:
        """Count what an event holds."""
        if event.type == "identify":
            self.identifies += 1
            self._add_keys(event.fields.get("traits"), self.traits)
        elif event.type == "track":
            self.tracks += 1
            if event.name is not None:
                self._add(self.names, event.name[:_MAX_NAME_LENGTH])
            self._add_keys(event.fields.get("properties"), self.properties)

    def _add_keys(self, fields: Any, counts: dict[Keys, int]) -> None:
        for key, value in fields.items() if isinstance(fields, dict) else ():
            if key == "address" and isinstance(value, dict):
                for inner in value:
                    self._add(counts, (key, inner[:_MAX_NAME_LENGTH]))
            elif value is not None:
                self._add(counts, (key[:_MAX_NAME_LENGTH],))

    def _add(self, counts: dict[_Name, int], name: _Name) -> None:
        if name in counts or len(counts) < _MAX_NAMES:
            counts[name] = counts.get(name, 0) + 1
        else:
            self.uncounted += 1


def sample(batches: Iterable[Batch], counts: SampleCounts) -> Iterator[Event]:
    """Yield the events among the first SAMPLE records, and count what they hold.

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


def suggested_settings(batches: Iterable[Batch], named: str) -> str:
    """Return the text of a settings file with what the first SAMPLE records hold, ready to be uncommented.

    Args:
        batches: of a reader.
        named: the sources as the user named them.

    Raises:
        SourceError: a pipe holds something else than events.
    """
    counts = SampleCounts()
    for _ in sample(batches, counts):
        pass
    return settings_text(counts, named)


def settings_text(counts: SampleCounts, named: str) -> str:
    """Return the text of a settings file with what was counted; see `suggested_settings`."""
    shown = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in named)
    introduction = (
        f"#\n# init read the first {counts.records:,} records of {shown}: "
        f"{counts.identifies:,} identify and {counts.tracks:,} track events.\n"
        "# It lists what it found below, with counts. Remove the # to use a line.\n"
    )
    if counts.uncounted:
        introduction += (
            f"# Names beyond the limit of init are not counted; they occurred {counts.uncounted:,} times.\n"
        )
    examples = {
        "identify.mapping": _row_lines("traits", counts.traits, counts.identifies),
        "track.mapping": _row_lines("properties", counts.properties, counts.tracks),
    }
    if counts.names:
        examples["track.events_filter"] = _name_lines(counts.names, counts.tracks)
    return template(introduction, examples)


def _name_lines(names: dict[str, int], total: int) -> Iterator[str]:
    """Yield a list item for each event name, the most frequent first, with its count."""
    written = [name for name in by_count(names) if name.strip() and len(name) < _MAX_NAME_LENGTH][:MAX_LINES]
    for name in written:
        yield f"#- {_scalar(escaped(name))}  # {names[name]:,} of {total:,}"
    if len(names) > len(written):
        yield f"# … and {counted(len(names) - len(written), 'name')} more"


def _row_lines(root: str, counts: Mapping[Keys, int], total: int) -> Iterator[str]:
    """Yield the default table, then a row for each other trait or property, the most frequent first, with counts."""
    for source, destination in DEFAULT_ROWS.items():
        count = counts.get(tuple(source.split(".")), 0)
        yield f"#{root}.{source}: {destination}" + (f"  # {count:,} of {total:,}" if count else "")
    others = [keys for keys in by_count(counts) if ".".join(map(str, keys)) not in DEFAULT_ROWS]
    if others:
        kind = "identify" if root == "traits" else "track"
        yield f"# Found besides, with the number of {kind} events that have it:"
    rows = ((keys, next(_rows((root, *keys)), None)) for keys in others)
    written = list(islice((row for row in rows if row[1]), MAX_LINES))
    for keys, row in written:
        source, destination = row or ("", "")
        yield f"#{_scalar(source)}: {_scalar(escaped(destination))}  # {counts[keys]:,} of {total:,}"
    if len(others) > len(written):
        one = "trait" if root == "traits" else "property"
        yield f"# … and {counted(len(others) - len(written), one, root)} more"


def _scalar(text: str) -> str:
    """Return a text on one line; PyYAML's own pairs may take several, where the key has line breaks."""
    return to_yaml([text]).removeprefix("- ").rstrip("\n")


def _rows(keys: Keys) -> Iterator[tuple[str, str]]:
    """Yield rows, source and destination, that would map the value at some keys of an event, the best first."""
    source = path_of(*keys)
    names = list(map(str, keys[2 if keys[0] == "context" else 1 :] or keys[-1:]))
    places = [] if keys[0] == "properties" else ["customer"]
    destinations = [path_of(*places, "metadata", "_".join(names)), path_of(*places, "metadata", *names)]
    if places and (known := _FIELDS.get(".".join(names))):
        destinations.insert(0, known)
    for destination in destinations:
        try:
            check_row(parse_source(source), parse_destination(destination))
        except PathError:
            continue
        if max(len(source), len(destination)) <= _MAX_ROW_LENGTH and all(name.strip() for name in names):
            yield source, destination


def proposed_rows(unmapped: Mapping[Keys, int], filled: set[str]) -> dict[str, str]:
    """Return rows for the most frequent values that are not mapped: source to destination, best first.

    Where an event's own trait and one of its context have the same name, the own one gets the row.

    Args:
        unmapped: keys of such values, each with the number of events that have it.
        filled: destinations that something fills already.
    """
    found: list[tuple[int, str, str]] = []
    taken = set(filled)
    for keys, count in sorted(
        unmapped.items(), key=lambda item: (item[0][0] == "context", -item[1], item[0])
    ):
        for source, destination in _rows(keys):
            if destination not in taken:
                found.append((-count, source, destination))
                taken.add(destination)
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


def similar_paths(source: str, seen: dict[str, Keys]) -> list[str]:
    """Return paths that the source of a row may mean, the nearest first.

    Args:
        source: which found nothing.
        seen: text and keys of the paths that were seen, the most frequent first.
    """

    def folded(text: str) -> str:
        return text.lower().replace("_", "")

    near = similar(source, seen, fold=folded, most=2, cutoff=_CLOSE)
    last_key = folded(source.rpartition(".")[2])  # the same key may lie elsewhere, such as in the context
    return near or [text for text, keys in seen.items() if folded(str(keys[-1])) == last_key][:2]
