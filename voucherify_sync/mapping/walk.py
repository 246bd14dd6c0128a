"""The walk of one event along the tree of its rules: values go to their places, and it is noted what no row takes.

Where the order of rows counts, what is found is gathered first. Where the tree cannot tell which of two spellings of a
path counts, the rows are read one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct, field

from voucherify_sync.mapping.drafts import Draft
from voucherify_sync.mapping.fields import MAX_NESTING
from voucherify_sync.mapping.requests import Customer
from voucherify_sync.mapping.rules import Leaf, Node, Route, Rules
from voucherify_sync.model import Json, SegmentEvent
from voucherify_sync.paths import MISSING, read

Hit = tuple[Leaf, Any]
"""A leaf that found a value, and the value."""

_DEEP_LENGTH = 2 * MAX_NESTING
"""Bytes that objects and lists take at least that are nested too deep."""


class WalkLog(Struct):
    """What the walk of one event did, for those who explain it.

    Attributes:
        hits: leaves with the values that they found, in the order in which their rows are applied.
        carried: keys of the event's object whose values went to metadata without a row.
        own_names: keys of the event's object that served to make a name, without a row.
    """

    hits: list[Hit] = field(default_factory=list)
    carried: list[str] = field(default_factory=list)
    own_names: tuple[str, ...] = ()


def walked(rules: Rules, event: SegmentEvent, own_id: str | None, given: Json, log: WalkLog | None) -> Walk:
    """Walk an event.

    Args:
        rules: of its type.
        event: which.
        own_id: of its customer.
        given: its traits or properties.
        log: takes note of what was found.
    """
    raw = event.raw
    may_be_deep = len(raw) > _DEEP_LENGTH and raw.count(b"[") + raw.count(b"{") > MAX_NESTING
    gathers = rules.are_gathered or event.unsafe or log is not None
    walk = Walk(rules, Draft(_customer(own_id), may_be_deep=may_be_deep), gathers=gathers)
    if rules.dotted not in raw and walk.take(rules.tree, given):
        if rules.elsewhere:
            walk.read(rules.elsewhere, event.fields)
    else:
        walk = Walk(rules, Draft(_customer(own_id), may_be_deep=may_be_deep), gathers=True)
        walk.find_unmapped(rules.tree, given)
        walk.read(rules.leaves, event.fields)
    if walk.hits or rules.constants:
        walk.put()
    if log is not None:
        log.hits = walk.hits
    return walk


def _customer(own_id: str | None) -> Customer:
    return Customer() if own_id is None else Customer(own_id)


def _row_of(hit: Hit) -> int:
    return hit[0].row


class Walk:
    """One walk of an event along the tree.

    Args:
        rules: of its type.
        draft: filled.
        gathers: what is found is put later, in the order of the rows.

    Attributes:
        draft: the request in the making.
        unmapped: keys of the event's object that no row takes.
        lost_inside: paths of values that no row takes inside objects of which rows take something.
        outermost: the route of the event's own object, if it is among the routes.
        routes: those of objects that had a value at each of their keys: they tell what fired and what is unmapped.
        fired: numbers of the rows that found a value, where no route tells it.
        hits: what was found, where it is not put as it is met.
    """

    __slots__ = (
        "_gathers",
        "_rules",
        "draft",
        "fired",
        "hits",
        "lost_inside",
        "outermost",
        "routes",
        "unmapped",
    )

    def __init__(self, rules: Rules, draft: Draft, *, gathers: bool) -> None:
        self._rules = rules
        self.draft = draft
        self._gathers = gathers
        self.unmapped: tuple[str, ...] = ()
        self.lost_inside: list[str] = []
        self.routes: list[Route] = []
        self.outermost: Route | None = None
        self.fired: list[int] = []
        self.hits: list[Hit] = []

    def take(self, node: Node, given: Json) -> bool:
        """Take the values of an object, and of those inside it, to their places.

        Returns:
            False if there is a key with dots in it that a row may mean, and then some values are in their places.
        """
        keys = tuple(given)
        route = node.routes.get(keys) or node.new_route(keys)
        if route.has_dotted:
            return False
        if route.is_plain and None not in given.values():
            self.routes.append(route)
            if node is self._rules.tree:
                self.outermost = route
                self.unmapped = route.unmapped
            self._take_leaves(route.leaves, given)
        else:
            self._take_leaves(self._of_some_values(node, route, given), given)
        for key, below in route.below:
            value = given[key]
            if type(value) is dict:
                if not self.take(below, value):
                    return False
            elif value is not None and not below.takes_all:
                self._lose(node, key)
        return True

    def _take_leaves(self, leaves: list[tuple[str, Leaf]], given: Json) -> None:
        if self._gathers:
            self.hits += [(leaf, given[key]) for key, leaf in leaves]
            return
        draft = self.draft
        customer = draft.customer
        for key, leaf in leaves:
            value = given[key]
            if leaf.text is not None and type(value) is str:
                setattr(customer, leaf.text, value)
            else:
                leaf.put(draft, value)

    def find_unmapped(self, node: Node, given: Json) -> None:
        """Note what no row takes, of an event whose rows are read one by one."""
        keeps = self._rules.keep_nulls and node is self._rules.tree
        for key, value in given.items():
            below = node.below.get(key)
            if below is None:
                is_taken = node.takes_all or key in node.leaves or key in node.taken
                if not is_taken and (value is not None or keeps):
                    self._lose(node, key)
            elif type(value) is dict:
                self.find_unmapped(below, value)
            elif value is not None and not below.takes_all:
                self._lose(node, key)

    def _of_some_values(self, node: Node, route: Route, given: Json) -> list[tuple[str, Leaf]]:
        """Return the leaves that count where some values are null, or one key is taken in the place of another."""
        keep_nulls = self._rules.keep_nulls
        found = []
        for key, leaf in route.leaves:
            if given[key] is None:
                if not keep_nulls or leaf.main in given or given.get(leaf.twin or "") is not None:
                    continue
            elif given.get(leaf.main or "") is not None:
                continue
            found.append((key, leaf))
            self.fired.append(leaf.row)
        for key in route.unmapped:
            if given[key] is not None or (keep_nulls and node is self._rules.tree):
                self._lose(node, key)
        return found

    def _lose(self, node: Node, key: str) -> None:
        if node is self._rules.tree:
            self.unmapped = (*self.unmapped, key)
        else:
            self.lost_inside.append(node.path_of(key))

    def read(self, leaves: Sequence[Leaf], fields: Json) -> None:
        """Read rows one by one, by their paths."""
        for leaf in leaves:
            value = read(fields, leaf.path)
            instead = self._rules.rows[leaf.row].instead
            if instead is not None and (value is MISSING or value is None):
                other = read(fields, instead)
                value = value if other is MISSING else other
            if value is not MISSING and (value is not None or self._rules.keep_nulls):
                self.fired.append(leaf.row)
                self.hits.append((leaf, value))

    def put(self) -> None:
        """Put what was gathered, in the order of the rows, and the constants."""
        self.hits.sort(key=_row_of)
        for leaf, value in self.hits:
            leaf.put(self.draft, value)
        for _, put, value in self._rules.constants:
            put(self.draft, value)
