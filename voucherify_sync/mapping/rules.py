"""Compile the mapping of one event type into a tree of the keys of its ``traits`` or ``properties``.

At each level of the tree, leaves put a value into the request, nodes go on below a key, and a key that is in neither
is not mapped. Only the keys of an object decide what happens to it, so that is worked out once for each set of keys and
remembered as a route.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct, structs

from voucherify_sync.events import Json
from voucherify_sync.expressions.directives import Reading
from voucherify_sync.expressions.row_filters import APPLY_FAILED, RowFilters, parse_filters
from voucherify_sync.expressions.set_entries import SetEntry
from voucherify_sync.field_types import DOES_NOT_FIT, IDS, date_of
from voucherify_sync.fields import CUSTOMER_TEXTS
from voucherify_sync.mapping.drafts import TOTAL, WORKING, Draft, Put, is_blank, put_at, refuse_at
from voucherify_sync.paths import (
    FIELDS_OF,
    MISSING,
    FieldPath,
    Keys,
    check_row,
    destination_parser,
    outside_lists,
    parse_destination,
    parse_source,
    path_of,
    read,
)
from voucherify_sync.settings.types import DEFAULT_ROWS, DEFAULT_TABLES, Rows, RowTarget, destinations_of

OUR_INTEGRATIONS: Final = ("Voucherify", "Voucherify (Actions)")
"""Keys by which an event is kept from Voucherify."""

CONTEXT_TRAITS: Final = ("context", "traits")
"""Where RudderStack puts the traits of an identify."""

WHOSE_TRAITS: Final = frozenset({"userId", "anonymousId", "id"})
"""Of the traits of a context, those that tell whose they are: they say nothing of the customer."""

_TWINS: Final[dict[tuple[str | int, Keys], str]] = {
    ("firstName", ("customer", "firstName")): "first_name",
    ("lastName", ("customer", "lastName")): "last_name",
    ("postalCode", ("customer", "address", "postal_code")): "postal_code",
}
"""Last key of a source and its destination -> the other spelling of the key: Segment takes both."""
_OWN_TABLES: Final[dict[Keys, dict[str, str]]] = {
    ("customer",): {name: name for name in DEFAULT_ROWS if "." not in name},
    ("customer", "address"): {
        name.removeprefix("address."): destination.removeprefix("customer.address.")
        for name, destination in DEFAULT_ROWS.items()
        if name.startswith("address.")
    },
}
"""Destination of an object row -> how it reads the object: key of the object -> field of the destination."""
_TEXTS: Final = frozenset(CUSTOMER_TEXTS) - {"birthdate"}
"""Fields of a customer that take a text as it is."""
_MAX_ROUTES_BYTES: Final = 4 << 20
"""Memory of all routes of one node, about."""
_ROUTE_BYTES: Final = 1_000
_KEY_BYTES: Final = 50
"""Memory of a route, and of each of its keys beside its characters, about."""

VALUE: Final = parse_source("value")
"""Where the fields of an object are read that is not read at a place of its own."""

_NOT_PLAIN: Final = frozenset(',[]{}#"')
"""Of these, YAML takes none in a text without quotes that stands in braces."""

_PLACES_OF_IDS: Final = tuple(("customer", name) for name in IDS)
_ALWAYS: Final = ("type", "event", "messageId", "userId", "anonymousId", "groupId", "traits", "properties")


class MappingRow(Struct, frozen=True):
    """One source and one of its destinations.

    Attributes:
        source: where the value is read.
        destination: where it goes.
        fallback_source: where it is read if the source holds nothing, null or, for a text field, a blank.
        others: where it is read next if all before hold nothing or null.
        filters: what is done with the value; None for nothing.
        is_default: the row is of a default table, not of the settings.
        whole: the row as it is written, of which this one is a part; None if it is written so itself.
        written: the row as a line of the settings, where it reads at another place than it says there.
    """

    source: FieldPath
    destination: FieldPath
    fallback_source: FieldPath | None = None
    is_default: bool = False
    whole: MappingRow | None = None
    written: str | None = None
    others: tuple[FieldPath, ...] = ()
    filters: RowFilters | None = None

    @property
    def text(self) -> str:
        """The row as a line of the settings."""
        if self.written is not None:
            return self.written
        if not self.is_computed:
            return f"{self.source.text}: {self.destination.text}"
        parts = {"to": self.destination.text, **self.computing}
        return f"{self.source.text}: {{{', '.join(f'{key}: {text}' for key, text in parts.items())}}}"

    @property
    def computing(self) -> dict[str, str]:
        """The keys `or` and `apply`, as far as it has them, each with its value as text of the settings."""
        parts = {}
        if self.others:
            parts["or"] = f"[{', '.join(other.text for other in self.others)}]"
        if self.filters is not None:
            text = self.filters.text
            is_plain = _NOT_PLAIN.isdisjoint(text) and ": " not in text
            parts["apply"] = text if is_plain else json.dumps(text, ensure_ascii=False)
        return parts

    @property
    def is_computed(self) -> bool:
        """Tell whether its value is not simply that of one key."""
        return bool(self.others) or self.filters is not None

    @property
    def sources(self) -> list[FieldPath]:
        """Where it reads, in the order in which it does."""
        own = [self.source] if self.fallback_source is None else [self.source, self.fallback_source]
        return [*own, *self.others]

    @property
    def depth(self) -> int:
        """How deep its destination lies as the row is written: a deeper row wins over an object row."""
        return len((self.whole or self).destination.keys)

    @property
    def place(self) -> Keys:
        """Where its value is put: at its destination, but for the total of an order in the default table."""
        keys = self.destination.keys
        return (TOTAL,) if self.is_default and keys == ("amount",) else keys

    @property
    def has_parts(self) -> bool:
        """Tell whether it reads an object whose fields Voucherify knows: its parts say where each of them goes."""
        return self.destination.keys in FIELDS_OF and not self.is_computed

    def with_parts(self) -> Iterator[MappingRow]:
        """Yield the row and the rows that it stands for.

        ``traits: customer`` is the default table in short, as the seed has it. Beyond that it takes what bears the name
        of one of Voucherify's fields, but never an id: Segment's ``traits.id`` would turn one customer into another.
        A wildcard stands for its keys, so each of them goes to the field of its own name.
        """
        yield self
        if not self.has_parts:
            return
        place, source = self.destination.keys, self.source.text.removesuffix(".*")
        table = {} if self.source.wildcard else _OWN_TABLES.get(place, {})
        keys_of: dict[str, list[str]] = {}
        for key, field in (*table.items(), *zip(FIELDS_OF[place], FIELDS_OF[place], strict=True)):
            if field not in IDS and key not in keys_of.setdefault(field, []):
                keys_of[field].append(key)
        for field, keys in keys_of.items():
            sources = [parse_source(f"{source}.{key}") for key in keys]
            destination = parse_destination(path_of(*place, field))
            yield from _row(*sources, destination=destination, whole=self.whole or self).with_parts()


def _row(
    source: FieldPath,
    fallback_source: FieldPath | None = None,
    *,
    destination: FieldPath,
    is_default: bool = False,
    whole: MappingRow | None = None,
) -> MappingRow:
    """Return a row. A source that has a snake_case twin is read there, too, wherever the row stands."""
    twin = _twin_of(source, destination)
    return MappingRow(source, destination, twin or fallback_source, is_default, whole)


def _twin_of(source: FieldPath, destination: FieldPath) -> FieldPath | None:
    twin = _TWINS.get((source.keys[-1], destination.keys))
    return None if twin is None else parse_source(path_of(*source.keys[:-1], twin))


def default_rows(kind: str) -> list[MappingRow]:
    """Return the default table of a section. The other source of a row is read as a twin is: by the tree."""
    rows = [structs.replace(row, is_default=True) for row in _parsed(kind, DEFAULT_TABLES[kind])]
    return [
        structs.replace(row, fallback_source=row.others[0], others=()) if row.others else row for row in rows
    ]


def effective_rows(
    kind: str, mapping: Rows, *, extend_default: bool | None, has_set: bool = False
) -> list[MappingRow]:
    """Return the rows that apply, in their order: the settings', or the default table, or both.

    Args:
        kind: name of the section.
        mapping: rows of the settings.
        extend_default: as in the settings.
        has_set: `set` has entries, which stand in place of the default table, too.

    Raises:
        PathError: a row cannot be.
    """
    rows = default_rows(kind) if extend_default or not (mapping or has_set) else []
    return [*rows, *_parsed(kind, mapping)]


def _parsed(kind: str, mapping: Rows) -> Iterator[MappingRow]:
    parse = destination_parser(kind)
    for source_text, target in mapping.items():
        source = parse_source(source_text)
        for text in destinations_of(target):
            destination = parse(text)
            check_row(source, destination)
            row = _row(source, destination=destination)
            if isinstance(target, RowTarget):
                row = structs.replace(
                    row,
                    others=tuple(_with_twins(target.or_, destination)),
                    filters=None if target.apply is None else parse_filters(target.apply),
                )
            yield row


def _with_twins(sources: Iterable[str], destination: FieldPath) -> Iterator[FieldPath]:
    for source in map(parse_source, sources):
        yield source
        if (twin := _twin_of(source, destination)) is not None:
            yield twin


def _moved(row: MappingRow) -> MappingRow:
    """Return a row that reads in ``context.traits`` what this one reads in ``traits``."""
    moved = _row(_source_in_context(row.source), destination=row.destination, is_default=row.is_default)
    others = tuple(map(_source_in_context, row.others))
    return structs.replace(moved, written=row.text, others=others, filters=row.filters)


def _source_in_context(source: FieldPath) -> FieldPath:
    if source.keys[0] != CONTEXT_TRAITS[-1]:
        return source
    return parse_source(path_of(CONTEXT_TRAITS[0], *source.keys) + (".*" if source.wildcard else ""))


class Leaf(Struct, frozen=True, gc=False, eq=False):
    """A place of the event at which a row finds a value.

    Attributes:
        row: number of the row, in the order in which rows are applied.
        path: where it reads.
        place: the keys of the destination.
        put: puts a value there.
        text: the field of the customer, of the address or of the draft that takes a text as it is; None for all other
            places.
        fallback: the leaf of the row's fallback source, which is another key of the same object.
        main_key: of a fallback, the key of the row's own source: if it holds a value, the fallback is not read.
        others: where it reads next; see MappingRow.
        filters: what is done with the value.
        parts: of an object whose fields have places of their own, the leaves that put them there.
    """

    row: int
    path: FieldPath
    place: Keys
    put: Put
    text: str | None = None
    fallback: Leaf | None = None
    main_key: str | None = None
    others: tuple[FieldPath, ...] = ()
    filters: RowFilters | None = None
    parts: Sequence[Leaf] = ()

    def find(self, fields: Json) -> Match:
        """Return what the row finds in an event, and the leaf that found it; MISSING or APPLY_FAILED for nothing."""
        leaf, value = self, read(fields, self.path)
        if self.fallback is not None and (value is MISSING or value is None or is_blank(value)):
            other = read(fields, self.fallback.path)
            if other is not MISSING and (other is not None or value is MISSING):
                leaf, value = self.fallback, other
        for path in self.others:
            if value is not MISSING and value is not None:
                break
            other = read(fields, path)
            if other is not MISSING:
                value = other
        return leaf, value if self.filters is None else self.filters.apply(value)

    @property
    def twin_key(self) -> str | None:
        """The key of the same object at which a blank text is looked for again; None where there is none."""
        return None if self.fallback is None else str(self.fallback.path.keys[-1])

    def applies(self, key: str, values: set[str], nulls: set[str]) -> bool:
        """Tell whether the row reads this key of an object that holds values and nulls at these keys."""
        if key in values:
            return self.main_key not in values
        is_second = self.main_key in nulls or self.main_key in values
        return not is_second and self.twin_key not in values


Match = tuple[Leaf, Any]
"""A leaf that found a value, and the value."""

Signature = tuple[str | tuple[str], ...]
"""The keys of an object in their order; those of nulls, where a null is a value, each in a tuple."""

TextPut = tuple[str, str, Put, str | None]
"""A key, the attribute of the holder that takes its text, what puts any other value there, and the key of its twin."""


class Route(Struct, gc=False, eq=False):
    """What becomes of an object with certain keys.

    Attributes:
        leaves: keys whose values are put somewhere.
        texts: of those, the ones that go to a field of the customer that takes a text as it is.
        address: those that go to such a field of the address.
        names: those that go to the first and last name, of which a name is made.
        others: the other ones.
        below: keys whose objects are walked, too.
        unmapped: keys that no row reads.
        unmapped_paths: paths of those that hold no null, as they are counted.
        is_unclear: a key is the dotted spelling of a path that a row reads, or a twin that holds more than one row
            reads: the tree cannot tell which of both counts.
        is_remembered: the next object with these keys takes the same route.
        twins: a key and its other spelling, which is read only if the key itself holds a blank.
        items: keys of which only items of a list are read, with the leaves or the paths that read them: there may be no
            such item.
        is_flat: there is nothing below, and the keys alone tell what is not mapped.
        taken_count: objects that took it since the statistics were read.
        carried_count: those of them whose unmapped keys are counted one by one: they were carried, or served as a name.
    """

    leaves: list[tuple[str, Leaf]]
    below: list[tuple[str, Node]]
    unmapped: tuple[str, ...]
    unmapped_paths: list[str]
    is_unclear: bool
    is_remembered: bool
    twins: list[tuple[str, str]] = []
    items: list[tuple[str, list[Leaf], list[FieldPath]]] = []
    is_flat: bool = False
    texts: list[TextPut] = []
    address: list[TextPut] = []
    names: list[TextPut] = []
    others: list[tuple[str, Put]] = []
    taken_count: int = 0
    carried_count: int = 0

    def __post_init__(self) -> None:
        """Tell the leaves apart by what is done with them."""
        self.is_flat = not (self.below or self.twins or self.items)
        for key, leaf in self.leaves:
            if leaf.text is None:
                self.others.append((key, leaf.put))
            else:
                is_name = leaf.text in WORKING.values()
                texts = self.names if is_name else self.texts if len(leaf.place) == 2 else self.address
                texts.append((key, leaf.text, leaf.put, leaf.twin_key))


class Node:
    """One level of the tree.

    Attributes:
        path: the keys of the object in the event.
        leaves: by key.
        item_leaves: those that read an item of a list, by the key of the list. They are read one by one.
        taken_keys: those at which something is read beside the tree.
        taken_items: by the key of a list, the items of which something is read beside the tree; each path begins there.
        below: by key.
        maps_all: an object row maps all that is there.
        dotted_keys: keys with dots in them that a row reads here.
        is_object: a row reads the object here by its parts; what is no object is dropped.
        routes: by the keys of an object.
    """

    def __init__(self, path: tuple[str, ...]) -> None:
        self.path = path
        self.leaves: dict[str, list[Leaf]] = {}
        self.item_leaves: dict[str, list[Leaf]] = {}
        self.taken_keys: set[str] = set()
        self.taken_items: dict[str, list[FieldPath]] = {}
        self.below: dict[str, Node] = {}
        self.maps_all = False
        self.is_object = False
        self.dotted_keys: set[str] = set()
        self.routes: dict[Signature, Route] = {}
        self._free_bytes = _MAX_ROUTES_BYTES

    def reads_items_of(self, key: str) -> bool:
        """Tell whether items of a list at this key are read."""
        return key in self.item_leaves or key in self.taken_items

    def node(self, keys: Sequence[str]) -> Node:
        """Return the node below, made where there is none."""
        node = self
        for key in keys:
            node = node.below.setdefault(key, Node((*node.path, key)))
        return node

    def nodes(self) -> Iterator[Node]:
        """Yield this node and all below."""
        yield self
        for node in self.below.values():
            yield from node.nodes()

    def new_route(self, signature: Signature) -> Route:
        """Find out what becomes of an object with these keys, and remember it if there is memory left for it."""
        values = {key for key in signature if type(key) is str}
        nulls = {key[0] for key in signature if type(key) is tuple}
        keys = [key if type(key) is str else key[0] for key in signature]
        leaves = [
            (key, leaf)
            for key in keys
            for leaf in self.leaves.get(key, ())
            if leaf.applies(key, values, nulls)
        ]
        known = self.leaves.keys() | self.below.keys() | self.taken_keys
        unmapped = (
            []
            if self.maps_all
            else [key for key in keys if key not in known and not self.reads_items_of(key)]
        )
        keys_read = {key for key, _ in leaves}
        twins = [] if self.maps_all else list(self._unread_twins(keys, values, keys_read))
        size = _ROUTE_BYTES + sum([_KEY_BYTES + len(key) for key in keys])
        route = Route(
            leaves,
            [(key, self.below[key]) for key in keys if key in self.below],
            # Nulls deeper in the event are neither counted nor carried.
            tuple([key for key in unmapped if key in values or len(self.path) == 1]),
            [self.path_of(key) for key in unmapped if key in values],
            is_unclear=not self.dotted_keys.isdisjoint(keys) or any(key in self.below for _, key in twins),
            is_remembered=size <= self._free_bytes,
            twins=twins,
            items=[]
            if self.maps_all
            else [
                (key, self.item_leaves.get(key, []), self.taken_items.get(key, []))
                for key in keys
                if self.reads_items_of(key)
                and key in values
                and key not in self.leaves
                and key not in self.taken_keys
            ],
        )
        if route.is_remembered:
            self._free_bytes -= size
            self.routes[signature] = route
        return route

    def _unread_twins(
        self, keys: Sequence[str], values: set[str], keys_read: set[str]
    ) -> Iterator[tuple[str, str]]:
        """Yield keys that hold a value, each with its other spelling, which holds one, too, and that no row reads."""
        for key in keys:
            is_read = key in keys_read or key in self.taken_keys
            if key in values and key in self.leaves and not is_read:
                yield str(self.leaves[key][0].main_key), key

    def path_of(self, key: str) -> str:
        """Return the path of a key of this object, as it is counted."""
        return ".".join((*self.path, key))


class CompiledEntry(SetEntry, frozen=True, gc=False, eq=False):
    """An entry of `set`, ready to be put.

    Attributes:
        leaf: puts its value, as that of a row that comes after all rows.
    """

    leaf: Leaf


class Rules:
    """The compiled rows, `set` and constants of one section.

    Attributes:
        root: keys of the object that the tree reads: that of ``traits``, ``properties`` or ``context.traits``.
        rows: as they are applied: an object row before the deeper ones that win over it, a later row last.
        row_texts: by number of the row, under which text it is counted; None for a part, which is not counted itself.
        tree: the rows that read the object at the root, by its keys.
        context_tree: of an identify, those that read ``context.traits``: it tells what no row reads there.
        elsewhere: the rows that read something else of the event, the object as a whole, or an item of a list.
        computed: of those, the rows with `or` or `apply`.
        objects: the rows of which only the parts are read, by what they do with a value that is no object.
        object_places: where objects lie that rows, or entries of `set`, read by their parts.
        taken: where values are read that are not simply put at one place.
        leaves: of all other rows, in their order: how each reads on its own.
        entries: those of `set`, in the order in which they are put, after the rows.
        constants: what is put in the end, with its place.
        are_gathered: what the rows find is put in their order: they write to the same place or into one another's.
        keep_nulls: nulls erase fields.
        reads_whole_events: an entry of `set` may read any place of an event.
        makes_ids: an id of the customer may be made of other text than that of the event.
        set_sources: where the entries of `set` read; in the context where its traits stand in.
        filled_counts: how often each entry of `set` gave a value since the statistics were read.
        dotted_keys: keys, above the root, that are the dotted spelling of a path that a row reads.
        taken_routes: routes that have counted objects, in the order in which they were taken first.
    """

    def __init__(
        self,
        root: Keys,
        rows: Sequence[MappingRow],
        entries: Sequence[SetEntry],
        constants: Mapping[str, Any],
        *,
        keep_nulls: bool,
        parse: Callable[[str], FieldPath] = parse_destination,
    ) -> None:
        self.root = root
        self.rows = sorted([part for row in rows for part in row.with_parts()], key=lambda row: row.depth)
        self.row_texts = [None if row.whole else row.text for row in self.rows]
        self.keep_nulls = keep_nulls
        self.tree = Node(tuple(map(str, root)))
        self.context_tree = Node(tuple(map(str, CONTEXT_TRAITS))) if root == CONTEXT_TRAITS[1:] else None
        self.taken_routes: list[Route] = []
        self.elsewhere: list[Leaf] = []
        self.objects: list[Leaf] = []
        self.object_places: list[Keys] = []
        self.taken: list[FieldPath] = []
        self.leaves: list[Leaf] = []
        for number, row in enumerate(self.rows):
            self._add(row, self._leaf(number, row))
        self.computed = [leaf for leaf in self.elsewhere if leaf.others or leaf.filters is not None]
        self.entries = [
            CompiledEntry(
                each.destination,
                each.expression,
                each.keys,
                self._leaf_of_made(number, MappingRow(VALUE, each.destination)),
            )
            for number, each in enumerate(entries, len(self.rows))
        ]
        self.filled_counts = [0] * len(self.entries)
        self.reads_whole_events = any(entry.expression.reads_whole_event for entry in entries)
        computed_places = [leaf.place for leaf in (*self.computed, *[each.leaf for each in self.entries])]
        self.makes_ids = any(place in _PLACES_OF_IDS for place in computed_places)
        self.set_sources: list[FieldPath] = []
        for entry in entries:
            for source in entry.expression.sources:
                self._add_source_of_set(
                    entry, _source_in_context(source) if root == CONTEXT_TRAITS else source
                )
        for tree in filter(None, (self.tree, self.context_tree)):
            for node in tree.nodes():
                for key, below in node.below.items():
                    below.maps_all = (
                        below.maps_all or node.maps_all or key in (node.leaves.keys() | node.taken_keys)
                    )
        places = [leaf.place for leaf in self.leaves]
        erases = keep_nulls and bool(self.objects)  # before deeper rows fill anything
        distinct = set(places)
        self.are_gathered = (
            erases
            or len(distinct) < len(places)
            or any(place[:length] in distinct for place in distinct for length in range(1, len(place)))
        )
        self.constants: list[tuple[Keys, Put, Any]] = []
        for text, value in constants.items():
            if value is not None or keep_nulls:
                keys = parse(text).keys
                self.constants.append((keys, put_at(keys, each_key=False, keep_nulls=keep_nulls), value))
        self.dotted_keys = frozenset(
            {step.dotted_key for source in self.sources() for step in source.steps[: len(root)]} - {None}
        )

    def shapes(self, fields: Json) -> Hashable:
        """Return what decides where the values go that are computed: which of them are there, and how they look."""
        shapes: list[Hashable] = []
        for leaf in self.computed:
            are_there = [read(fields, path) in (None, MISSING) for path in (leaf.path, *leaf.others)]
            shapes.append((_shape(leaf.find(fields)[1]), tuple(are_there)))
        for entry in self.entries:
            reading = Reading([], [])
            shapes.append((_shape(entry.expression.read(fields, reading)), tuple(reading.keys)))
        return tuple(shapes)

    def sources(self) -> Iterator[FieldPath]:
        """Yield where rows read, with their fallback sources."""
        for row in self.rows:
            yield from row.sources
        yield from self.set_sources

    def count_filled(self, numbers: Iterable[int]) -> None:
        """Count entries of `set` that gave a value."""
        for number in numbers:
            self.filled_counts[number] += 1

    def _leaf(self, number: int, row: MappingRow) -> Leaf:
        place = row.place
        if row.has_parts:
            return Leaf(number, row.source, place, refuse_at(place))
        if row.is_computed:
            return self._leaf_of_made(number, row)
        put = put_at(place, each_key=row.source.wildcard, keep_nulls=self.keep_nulls)
        name = str(place[-1])
        is_text = place[0] == "customer" and (
            (len(place) == 2 and (name in _TEXTS or name in WORKING))
            or (len(place) == 3 and place[1] == "address")
        )
        text = WORKING.get(name, name) if is_text else None
        fallback = None
        if row.fallback_source is not None:
            fallback = Leaf(number, row.fallback_source, place, put, text, main_key=str(row.source.keys[-1]))
        return Leaf(number, row.source, place, put, text, fallback)

    def _leaf_of_made(self, number: int, row: MappingRow) -> Leaf:
        """Return what puts a value that is not simply that of one key."""
        place, parts = row.place, self._parts_of(row.destination, number)
        if parts:
            put = self._put_object(place, parts)
        else:
            put = put_at(place, each_key=row.source.wildcard, keep_nulls=self.keep_nulls)
        if row.filters is not None:
            put = _unless_failed(place, put)
        others = tuple(row.sources[1:])
        return Leaf(number, row.source, place, put, others=others, filters=row.filters, parts=parts)

    def _add(self, row: MappingRow, leaf: Leaf) -> None:
        """Put a leaf where its value is found: into the tree, or among those that read elsewhere."""
        keys = leaf.path.keys
        if row.has_parts:
            self.objects.append(leaf)
            self._note_object(keys)
            return
        self.leaves.append(leaf)
        if row.is_computed:
            for source in row.sources:
                self._take(source)
            self.elsewhere.append(leaf)
            return
        if self.context_tree is not None and keys[:2] == CONTEXT_TRAITS:
            _grow(self.context_tree, leaf)
        if keys[: len(self.root)] != self.root or not _grow(self.tree, leaf):
            self.elsewhere.append(leaf)

    def _note_object(self, keys: Keys) -> None:
        """Note that an object is read by its parts."""
        self.object_places.append(keys)
        for tree in filter(None, (self.tree, self.context_tree)):
            if keys[: len(tree.path)] == tree.path and outside_lists(keys) == keys:
                tree.node(_names(keys[len(tree.path) :])).is_object = True

    def _parts_of(self, destination: FieldPath, number: int = 0) -> list[Leaf]:
        parts = MappingRow(VALUE, destination).with_parts()
        next(parts)  # the object as a whole
        return [self._leaf(number, part) for part in parts]

    def _put_object(self, place: Keys, parts: Sequence[Leaf]) -> Put:
        """Compile the putting of an object whose fields have places of their own; it never fills ids."""
        put_whole, keep_nulls = refuse_at(place), self.keep_nulls

        def put(draft: Draft, value: Any) -> None:
            put_whole(draft, value)
            if type(value) is not dict:
                return
            for part in parts:
                leaf, inside = part.find({VALUE.text: value})
                if inside is not MISSING and (inside is not None or keep_nulls):
                    leaf.put(draft, inside)

        return put

    def _add_source_of_set(self, entry: SetEntry, source: FieldPath) -> None:
        """Take what an entry of `set` reads; like an object row, of an object only what has a place."""
        self.set_sources.append(source)
        if entry.expression.path is None or entry.destination.keys not in FIELDS_OF:
            self._take(source)
            return
        self._note_object(source.keys)
        for part in self._parts_of(entry.destination):
            for leaf in filter(None, (part, part.fallback)):
                keys = *source.keys, *leaf.path.keys[1:]
                if leaf.place in FIELDS_OF:
                    self._note_object(keys)
                else:
                    self._take(parse_source(path_of(*keys)))

    def _take(self, source: FieldPath) -> None:
        """Note that something is read beside the tree, so that it is not unmapped."""
        self.taken.append(source)
        for tree in filter(None, (self.tree, self.context_tree)):
            depth_of_root = len(tree.path)
            if source.keys[:depth_of_root] != tree.path:
                continue
            path = source.keys[depth_of_root:]
            keys = _names(path)
            if not keys:
                tree.maps_all = True
                continue
            node = tree.node(keys[:-1])
            if len(keys) == len(path):
                node.taken_keys.add(keys[-1])
            else:
                inside = parse_source(path_of(*path[len(keys) - 1 :]))
                node.taken_items.setdefault(keys[-1], []).append(inside)
            _note_dotted_keys(tree, source, keys)


def _unless_failed(place: Keys, put: Put) -> Put:
    """Compile the putting of what filters have made; what one of them does not take is dropped."""

    def put_or_drop(draft: Draft, value: Any) -> None:
        if value is APPLY_FAILED:
            draft.drop(place, DOES_NOT_FIT)
        else:
            put(draft, value)

    return put_or_drop


def _grow(tree: Node, leaf: Leaf) -> bool:
    """Put a leaf into a tree; False for one that the tree cannot read: an item of a list, or the object as a whole."""
    depth_of_root = len(tree.path)
    path = leaf.path.keys[depth_of_root:]
    keys = _names(path)
    _note_dotted_keys(tree, leaf.path, keys)
    both = (leaf, leaf.fallback) if leaf.fallback else (leaf,)
    if len(keys) < len(path):
        if keys:
            tree.node(keys[:-1]).item_leaves.setdefault(keys[-1], []).extend(both)
        return False
    if not keys:
        tree.maps_all = True
        return False
    for each in both:
        own = _names(each.path.keys[depth_of_root:])
        tree.node(own[:-1]).leaves.setdefault(own[-1], []).append(each)
    return True


def _note_dotted_keys(tree: Node, path: FieldPath, keys: Sequence[str]) -> None:
    """Note in a tree the dotted spellings of a path, of which these keys lie in the tree."""
    for depth, step in enumerate(path.steps[len(tree.path) :][: len(keys)]):
        if step.dotted_key is not None:
            tree.node(keys[:depth]).dotted_keys.add(step.dotted_key)


def _shape(value: Any) -> Hashable:
    """Return what of a value decides where it goes: its type, whether it is blank or a date, the keys of an object."""
    if type(value) is dict:
        return tuple([(key, _shape(inside)) for key, inside in value.items()])
    if type(value) is str:
        return is_blank(value), date_of(value) is not None
    is_nothing = value is None or value is APPLY_FAILED or value is MISSING
    return str(value) if is_nothing else type(value).__name__


def in_context(
    rows: Sequence[MappingRow],
    entries: Sequence[SetEntry],
    constants: Mapping[str, Any],
    *,
    keep_nulls: bool,
) -> Rules:
    """Return the rules of an identify whose traits stand in its context; rows count as those of the settings."""
    return Rules(CONTEXT_TRAITS, list(map(_moved, rows)), entries, constants, keep_nulls=keep_nulls)


def _names(keys: Keys) -> list[str]:
    """Return the keys up to the first index into a list."""
    return list(map(str, outside_lists(keys)))


Projection = dict[str, frozenset[str] | None]
"""Top-level key of an event -> the keys of the object there that are decoded; None: all that is there."""


def projection_of(sources: Iterable[FieldPath]) -> Projection:
    """Return what record keys and these sources look at, but for the event's time: no more has to be decoded.

    A source looks at its keys, and at the spellings of a path as one key.
    """
    projection: Projection = {
        **dict.fromkeys(_ALWAYS),
        "integrations": frozenset(OUR_INTEGRATIONS),
        "context": frozenset({"personas", "traits"}),
    }
    for source in sources:
        first = source.steps[0]
        if first.dotted_key is not None:
            projection.setdefault(first.dotted_key, None)
        root = str(first.key)
        inside = projection.get(root, frozenset())
        if len(source.steps) < 2 or inside is None:
            projection[root] = None
        else:
            second = source.steps[1]
            projection[root] = inside | set(map(str, {second.key, second.dotted_key} - {None}))
    return projection
