"""The rows of a mapping: settings in, parsed rows in their order out, the default tables among them.

The mapping of one type of event, compiled once: rows of the settings in, a tree of the keys of its object out.

The tree says at each level of `traits` or `properties` what becomes of a key: leaves put its value into the request,
nodes go on below it, and what is in neither is not mapped. What is done with an object is told by its keys alone, so it
is found out once for each set of keys, and remembered.

What of an event the mapping and its filters look at, but for its time: no more of it has to be decoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from voucherify_sync.mapping.drafts import IDS, WORKING, Put, put_at
from voucherify_sync.paths import FIELDS_OF, FieldPath, Keys, check_row, parse_destination, parse_source
from voucherify_sync.settings.types import DEFAULT_ROWS

OUR_INTEGRATIONS: Final = ("Voucherify", "Voucherify (Actions)")
"""Keys by which an event is kept from Voucherify."""

_SNAKE_CASE: Final = {
    "firstName": "first_name",
    "lastName": "last_name",
    "address.postalCode": "address.postal_code",
}


class Row(Struct, frozen=True):
    """One source and one of its destinations.

    Attributes:
        source: where the value is read.
        destination: where it goes.
        instead: where it is read if there is nothing at the source.
        default: the row is of a default table, not of the settings.
    """

    source: FieldPath
    destination: FieldPath
    instead: FieldPath | None = None
    default: bool = False

    @property
    def text(self) -> str:
        """The row as a line of the settings."""
        return f"{self.source.text}: {self.destination.text}"


def default_rows(root: str) -> list[Row]:
    """Return the seed's table for ``traits`` or ``properties``; three of its keys have a snake_case twin."""
    rows = []
    for name, destination in DEFAULT_ROWS.items():
        twin = _SNAKE_CASE.get(name)
        rows.append(
            Row(
                parse_source(f"{root}.{name}"),
                parse_destination(destination),
                parse_source(f"{root}.{twin}") if twin else None,
                default=True,
            )
        )
    return rows


def settled_rows(root: str, mapping: Mapping[str, Iterable[str]], *, extend_default: bool) -> list[Row]:
    """Return the rows that apply, in their order: the settings', or the default table, or both.

    Raises PathError for a row that cannot be.
    """
    rows = default_rows(root) if extend_default or not mapping else []
    for source_text, destinations in mapping.items():
        source = parse_source(source_text)
        for text in destinations:
            destination = parse_destination(text)
            check_row(source, destination)
            rows.append(Row(source, destination))
    return rows


_TEXTS: Final = frozenset({"id", "source_id", "name", "email", "description", "phone"})
"""Fields of a customer that take a text as it is."""
_MOST_REMEMBERED: Final = 4 << 20
"""Bytes of all routes that one node remembers, about."""
_BYTES_OF_ROUTE: Final = 1_000
_BYTES_OF_KEY: Final = 50
"""What they take beside the characters of their keys."""


class Leaf(Struct, frozen=True, gc=False, eq=False):
    """A place of the event at which a row finds a value.

    Attributes:
        row: number of the row, in the order in which rows are applied.
        path: where it reads.
        place: the keys of the destination.
        put: puts a value there.
        text: the field of the customer, of the address or of the draft that takes a text as it is; None for all other
            places.
        main: key beside it that is taken in its place, if that has a value.
        twin: key beside it that is taken in its place, if this one is null.
    """

    row: int
    path: FieldPath
    place: Keys
    put: Put
    text: str | None = None
    main: str | None = None
    twin: str | None = None


Hit = tuple[Leaf, Any]
"""A leaf that found a value, and the value."""


class Route(Struct, gc=False, eq=False):
    """What becomes of an object with certain keys, none of which holds a null.

    Attributes:
        leaves: keys whose values are put somewhere.
        texts: of those, the ones that go to a field of the customer that takes a text as it is.
        address: those that go to such a field of the address.
        names: those that go to the first and last name, of which a name is made.
        others: the other ones.
        below: keys whose objects are walked, too.
        unmapped: keys that no row takes.
        prefix: what stands before a key of the object in a path.
        has_dotted: a key is the dotted spelling of a path that a row reads: the tree cannot tell which of both counts.
        is_remembered: the next object with these keys takes the same route.
        times: so many objects took it.
        carried: so many of them did not leave the unmapped keys: these were carried, or served as a name.
    """

    leaves: list[tuple[str, Leaf]]
    below: list[tuple[str, Node]]
    unmapped: tuple[str, ...]
    prefix: str
    has_dotted: bool
    is_remembered: bool
    texts: list[tuple[str, str, Put]] = []
    address: list[tuple[str, str, Put]] = []
    names: list[tuple[str, str, Put]] = []
    others: list[tuple[str, Put]] = []
    times: int = 0
    carried: int = 0

    def __post_init__(self) -> None:
        """Tell the leaves apart by what is done with them."""
        for key, leaf in self.leaves:
            if leaf.text is None:
                self.others.append((key, leaf.put))
            else:
                is_name = leaf.text in WORKING.values()
                texts = self.names if is_name else self.texts if len(leaf.place) == 2 else self.address
                texts.append((key, leaf.text, leaf.put))


class Node:
    """One level of the tree.

    Attributes:
        path: the keys of the object in the event.
        leaves: by key.
        below: by key.
        taken: keys that object rows take, so that they count as mapped.
        takes_all: an object row takes whatever is there.
        dotted: keys with dots in them that a row reads here.
        routes: by the keys of an object.
    """

    def __init__(self, path: tuple[str, ...]) -> None:
        self.path = path
        self.leaves: dict[str, list[Leaf]] = {}
        self.below: dict[str, Node] = {}
        self.taken: set[str] = set()
        self.takes_all = False
        self.dotted: set[str] = set()
        self.routes: dict[tuple[str, ...], Route] = {}
        self._room = _MOST_REMEMBERED

    def node(self, keys: Sequence[str]) -> Node:
        """Return the node below, made where there is none."""
        node = self
        for key in keys:
            found = node.below.get(key)
            if found is None:
                found = node.below[key] = Node((*node.path, key))
            node = found
        return node

    def nodes(self) -> Iterator[Node]:
        """Yield this node and all below."""
        yield self
        for node in self.below.values():
            yield from node.nodes()

    def new_route(self, keys: tuple[str, ...]) -> Route:
        """Find out what becomes of an object with these keys, and remember it if there is room.

        Of a key and the one that is taken in its place the first counts, as neither holds a null.
        """
        leaves = [(key, leaf) for key in keys for leaf in self.leaves.get(key, ()) if leaf.main not in keys]
        below = [(key, self.below[key]) for key in keys if key in self.below]
        taken = self.leaves.keys() | self.taken | self.below.keys()
        unmapped = () if self.takes_all else tuple(key for key in keys if key not in taken)
        size = _BYTES_OF_ROUTE + sum([_BYTES_OF_KEY + len(key) for key in keys])
        fits = size <= self._room
        route = Route(
            leaves,
            below,
            unmapped,
            self.path_of(""),
            has_dotted=not self.dotted.isdisjoint(keys),
            is_remembered=fits,
        )
        if fits:
            self._room -= size
            self.routes[keys] = route
        return route

    def path_of(self, key: str) -> str:
        """Return the path of a key of this object, as it is counted."""
        return ".".join((*self.path, key))


class Rules:
    """The compiled rows and constants of one type of event.

    Attributes:
        root: ``traits`` or ``properties``.
        rows: as they are applied: an object row before the deeper ones that win over it, a later row last.
        tree: the rows that read the object at the root, by its keys.
        elsewhere: the rows that read something else of the event, the object as a whole, or an item of a list.
        leaves: of all rows, in their order: how each reads on its own.
        constants: what is put in the end, with its place.
        are_gathered: what the rows find is put in their order: they write to the same place or into one another's, or
            some of them read elsewhere.
        keep_nulls: nulls erase fields.
        dotted: keys of an event that are the dotted spelling of a path that a row reads from its top.
    """

    def __init__(
        self, root: str, rows: Sequence[Row], constants: Mapping[str, Any], *, keep_nulls: bool
    ) -> None:
        self.root = root
        self.rows = sorted(rows, key=lambda row: len(row.destination.keys))
        self.keep_nulls = keep_nulls
        self.tree = Node((root,))
        self.elsewhere: list[Leaf] = []
        self.leaves = [self._leaf(number, row) for number, row in enumerate(self.rows)]
        for leaf, row in zip(self.leaves, self.rows, strict=True):
            self._place(leaf, row)
        for node in self.tree.nodes():
            for key, below in node.below.items():
                whole = any(leaf.place not in FIELDS_OF for leaf in node.leaves.get(key, ()))
                below.takes_all = below.takes_all or node.takes_all or whole or key in node.taken
        places = [row.destination.keys for row in self.rows]
        self.are_gathered = bool(self.elsewhere) or any(
            number != other and place == place_of_other[: len(place)]
            for number, place in enumerate(places)
            for other, place_of_other in enumerate(places)
        )
        self.constants: list[tuple[Keys, Put, Any]] = []
        for text, value in constants.items():
            if value is not None or keep_nulls:
                keys = parse_destination(text).keys
                self.constants.append((keys, put_at(keys, each_key=False, keep_nulls=keep_nulls), value))
        sources = [source for row in rows for source in (row.source, row.instead) if source is not None]
        self.dotted = frozenset(source.steps[0].whole for source in sources) - {None}

    def _leaf(self, number: int, row: Row) -> Leaf:
        place, each_key = row.destination.keys, row.source.wildcard
        put = put_at(place, each_key=each_key, keep_nulls=self.keep_nulls)
        name = str(place[-1])
        is_text = place[:1] == ("customer",) and (
            (len(place) == 2 and (name in _TEXTS or name in WORKING))
            or (len(place) == 3 and place[1] == "address")
        )
        return Leaf(number, row.source, place, put, WORKING.get(name, name) if is_text else None)

    def _place(self, leaf: Leaf, row: Row) -> None:
        """Put a row where it is found: into the tree, or among those that read elsewhere."""
        source, instead = row.source, row.instead
        if source.keys[0] != self.root:
            self.elsewhere.append(leaf)
            return
        split = _names(source.keys[1:])
        if len(split) < len(source.keys) - 1 or not split:  # an item of a list, or the object as a whole
            self.elsewhere.append(leaf)
            self._take(split, leaf.place)
            return
        replace = _replace(leaf, twin=None if instead is None else str(instead.keys[-1]))
        self._grow(split, replace)
        if instead is not None:
            self._grow(_names(instead.keys[1:]), _replace(leaf, main=split[-1]))
        for depth, step in enumerate(source.steps[1:]):
            if step.whole is not None:
                self.tree.node(split[:depth]).dotted.add(step.whole)
                self._take([*split[:depth], step.whole], leaf.place)

    def _grow(self, keys: list[str], leaf: Leaf) -> None:
        self.tree.node(keys[:-1]).leaves.setdefault(keys[-1], []).append(leaf)
        if leaf.place in FIELDS_OF:
            self._take(keys, leaf.place)

    def _take(self, keys: list[str], place: Keys) -> None:
        """Note which keys of the object at these keys a row takes that puts it as a whole at a place."""
        known = FIELDS_OF.get(place)
        if known is not None:
            for name in known:
                if name not in IDS:
                    self._take([*keys, name], (*place, name))
        elif keys:
            self.tree.node(keys[:-1]).taken.add(keys[-1])
        else:
            self.tree.takes_all = True


def _names(keys: Keys) -> list[str]:
    """Return the keys up to the first index into a list."""
    names: list[str] = []
    for key in keys:
        if isinstance(key, int):
            break
        names.append(key)
    return names


def _replace(leaf: Leaf, *, main: str | None = None, twin: str | None = None) -> Leaf:
    return Leaf(leaf.row, leaf.path, leaf.place, leaf.put, leaf.text, main, twin)


Needs = dict[str, frozenset[str] | None]
"""Top-level key of an event -> the keys of the object there that are looked at; None: all that is there."""

_ALWAYS: Final = ("type", "event", "messageId", "userId", "anonymousId", "traits", "properties")
_CONTEXT: Final = frozenset({"personas", "traits"})


def needs_of(compiled: Iterable[Rules]) -> Needs:
    """Return what filters, keys and rows look at.

    Rows look at the keys of their sources, and at the spellings of a path as one key.
    """
    needs: Needs = {
        **dict.fromkeys(_ALWAYS),
        "integrations": frozenset(OUR_INTEGRATIONS),
        "context": _CONTEXT,
    }
    for rules in compiled:
        for row in rules.rows:
            for source in (row.source, row.instead):
                if source is not None:
                    _add(needs, source)
    return needs


def _add(needs: Needs, source: FieldPath) -> None:
    first = source.steps[0]
    if first.whole is not None:
        needs.setdefault(first.whole, None)
    root = str(first.key)
    inside = needs.get(root, frozenset())
    if len(source.steps) < 2 or inside is None:
        needs[root] = None
        return
    second = source.steps[1]
    names = {second.key, second.whole} - {None}
    needs[root] = inside | frozenset(map(str, names))
