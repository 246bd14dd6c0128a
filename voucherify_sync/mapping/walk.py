"""The walk of one event along the tree of its rules: values go to their places, and it is noted what no row takes.

Where the order of rows counts, what is found is gathered first. Where the tree cannot tell which of two spellings of a
path counts, the rows are read one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct, field

from voucherify_sync.events import Event, Json
from voucherify_sync.mapping.drafts import Customer, Draft
from voucherify_sync.mapping.rules import Hit, Leaf, Node, Route, Rules
from voucherify_sync.paths import MISSING, read


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


def walked(rules: Rules, event: Event, own_id: str | None, given: Json, log: WalkLog | None) -> Draft:
    """Walk an event.

    Args:
        rules: of its type.
        event: which.
        own_id: of its customer.
        given: its traits or properties.
        log: takes note of what was found.
    """
    draft = Draft(Customer() if own_id is None else Customer(own_id))
    gathers = rules.are_gathered or event.unsafe or log is not None
    if rules.dotted.isdisjoint(event.fields) and _take(draft, rules, rules.tree, given, gathers):
        if rules.elsewhere:
            _read(draft, rules, rules.elsewhere, event.fields)
    else:
        draft = Draft(Customer() if own_id is None else Customer(own_id))
        _find_unmapped(draft, rules, rules.tree, given)
        _read(draft, rules, rules.leaves, event.fields)
    if draft.hits:
        draft.hits.sort(key=_row_of)
        for leaf, value in draft.hits:
            leaf.put(draft, value)
    for _, put, value in rules.constants:
        put(draft, value)
    if log is not None:
        log.hits = draft.hits
    return draft


def _row_of(hit: Hit) -> int:
    return hit[0].row


def _take(draft: Draft, rules: Rules, node: Node, given: Json, gathers: bool) -> bool:
    """Take the values of an object, and of those inside it, to their places.

    Args:
        draft: takes them.
        rules: those of the tree.
        node: where the object stands in it.
        given: the object.
        gathers: what is found is put later, in the order of the rows.

    Returns:
        False if there is a key with dots in it that a row may mean, and then some values are in their places.
    """
    keys = tuple([key for key, value in given.items() if value is not None])
    if len(keys) < len(given) and (rules.keep_nulls or not node.dotted.isdisjoint(given)):
        return _take_with_nulls(draft, rules, node, given, gathers)
    route = node.routes.get(keys) or node.new_route(keys)
    if route.has_dotted:
        return False
    draft.routes.append(route)
    if node is rules.tree:
        draft.outermost = route
        draft.unmapped = route.unmapped
    if gathers:
        draft.hits += [(leaf, given[key]) for key, leaf in route.leaves]
        return not route.below or _take_inside(draft, rules, node, route, given, gathers)
    # Most values are texts, and go where they are: a function for them would take longer than they do.
    holder: Any
    for holder, texts in (
        (draft.customer, route.texts),
        (draft, route.names),
        (draft.address() if route.address else None, route.address),
    ):
        for key, name, put in texts:
            value = given[key]
            if type(value) is str:
                setattr(holder, name, value)
            else:
                put(draft, value)
    for key, put in route.others:
        put(draft, given[key])
    return not route.below or _take_inside(draft, rules, node, route, given, gathers)


def _take_inside(draft: Draft, rules: Rules, node: Node, route: Route, given: Json, gathers: bool) -> bool:
    """Take the values of the objects inside an object."""
    for key, below in route.below:
        value = given[key]
        if type(value) is dict:
            if not _take(draft, rules, below, value, gathers):
                return False
        elif value is not None and not below.takes_all:
            _leave(draft, rules, node, key)
    return True


def _take_with_nulls(draft: Draft, rules: Rules, node: Node, given: Json, gathers: bool) -> bool:
    """Take an object in which nulls erase fields: of two keys for one place the null one gives way to the other."""
    keys = tuple(given)
    route = node.routes.get(keys) or node.new_route(keys)
    if route.has_dotted:
        return False
    hits = [
        (leaf, given[key]) for key in keys for leaf in node.leaves.get(key, ()) if _counts(leaf, key, given)
    ]
    draft.found += [leaf.row for leaf, _ in hits]
    if gathers:
        draft.hits += hits
    else:
        for leaf, value in hits:
            leaf.put(draft, value)
    for key in route.unmapped:
        if given[key] is not None or node is rules.tree:
            _leave(draft, rules, node, key)
    return _take_inside(draft, rules, node, route, given, gathers)


def _counts(leaf: Leaf, key: str, given: Json) -> bool:
    """Tell whether a leaf applies where a null is a value, and one key may be taken in the place of another."""
    if given[key] is None:
        return leaf.main not in given and (leaf.twin is None or given.get(leaf.twin) is None)
    return leaf.main is None or given.get(leaf.main) is None


def _find_unmapped(draft: Draft, rules: Rules, node: Node, given: Json) -> None:
    """Note what no row takes, of an event whose rows are read one by one."""
    keeps_nulls = rules.keep_nulls and node is rules.tree
    for key, value in given.items():
        below = node.below.get(key)
        if below is None:
            is_taken = node.takes_all or key in node.leaves or key in node.taken
            if not is_taken and (value is not None or keeps_nulls):
                _leave(draft, rules, node, key)
        elif type(value) is dict:
            _find_unmapped(draft, rules, below, value)
        elif value is not None and not below.takes_all:
            _leave(draft, rules, node, key)


def _leave(draft: Draft, rules: Rules, node: Node, key: str) -> None:
    if node is rules.tree:
        draft.unmapped = (*draft.unmapped, key)
    else:
        draft.unmapped_inside.append(node.path_of(key))


def _read(draft: Draft, rules: Rules, leaves: Sequence[Leaf], fields: Json) -> None:
    """Read rows one by one, by their paths."""
    for leaf in leaves:
        value = read(fields, leaf.path)
        instead = rules.rows[leaf.row].instead
        if instead is not None and (value is MISSING or value is None):
            other = read(fields, instead)
            value = value if other is MISSING else other
        if value is not MISSING and (value is not None or rules.keep_nulls):
            draft.found.append(leaf.row)
            draft.hits.append((leaf, value))
