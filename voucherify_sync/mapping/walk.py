"""Walk one event along the tree of its rules: put values in their places, and note what no row maps.

Where the order of rows counts, matches are gathered first. Where the tree cannot tell which of two spellings of a path
counts, the rows are read one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from voucherify_sync.events import Event, Json
from voucherify_sync.fields import CustomerBody
from voucherify_sync.mapping.drafts import Draft
from voucherify_sync.mapping.rules import Leaf, Node, Route, Rules, Signature
from voucherify_sync.paths import MISSING, read


def walk(
    rules: Rules, event: Event, own_id: str | None, traits_or_properties: Json, *, traces: bool = False
) -> Draft:
    """Return a draft with all that rows and constants make of an event.

    Args:
        rules: of its type.
        event: which.
        own_id: of its customer.
        traits_or_properties: its own object.
        traces: the draft keeps all matches.
    """
    customer = CustomerBody() if own_id is None else CustomerBody(own_id)
    draft = Draft(customer, traits_or_properties)
    gathers = rules.are_gathered or event.unsafe or traces
    if rules.dotted_keys.isdisjoint(event.fields) and _take(
        draft, rules, rules.tree, traits_or_properties, gathers
    ):
        if rules.elsewhere:
            _read(draft, rules, rules.elsewhere, event.fields)
    else:
        customer = CustomerBody() if own_id is None else CustomerBody(own_id)
        draft = Draft(customer, traits_or_properties)
        _find_unmapped(draft, rules, rules.tree, traits_or_properties)
        _read(draft, rules, rules.leaves, event.fields)
    if draft.matches:
        draft.matches.sort(key=lambda match: match[0].row)
        for leaf, value in draft.matches:
            leaf.put(draft, value)
    for _, put, value in rules.constants:
        put(draft, value)
    return draft


def _take(draft: Draft, rules: Rules, node: Node, values: Json, gathers: bool) -> bool:
    """Take the values of an object, and of those inside it, to their places.

    Args:
        draft: takes them.
        rules: those of the tree.
        node: where the object stands in it.
        values: the object.
        gathers: values are put later, in the order of the rows.

    Returns:
        False if there is a key with dots in it that a row may mean, and then some values are in their places.
    """
    keys: Signature = tuple([key for key, value in values.items() if value is not None])
    if len(keys) < len(values) and (rules.keep_nulls or not node.dotted_keys.isdisjoint(values)):
        keys = tuple([(key,) if value is None else key for key, value in values.items()])
    route = node.routes.get(keys) or node.new_route(keys)
    if route.has_dotted:
        return False
    draft.routes.append(route)
    if node is rules.tree:
        draft.outermost = route
        draft.unmapped = route.unmapped
    if gathers:
        draft.matches += [(leaf, values[key]) for key, leaf in route.leaves]
    else:
        # Most values are texts, and go where they are: a function for them would take longer than they do.
        holder: Any
        for holder, texts in (
            (draft.customer, route.texts),
            (draft, route.names),
            (draft.address() if route.address else None, route.address),
        ):
            for key, name, put in texts:
                value = values[key]
                if type(value) is str:
                    setattr(holder, name, value)
                else:
                    put(draft, value)
        for key, put in route.others:
            put(draft, values[key])
    return not route.below or _take_inside(draft, rules, node, route, values, gathers)


def _take_inside(draft: Draft, rules: Rules, node: Node, route: Route, values: Json, gathers: bool) -> bool:
    """Take the values of the objects inside an object."""
    for key, below in route.below:
        value = values[key]
        if type(value) is dict:
            if not _take(draft, rules, below, value, gathers):
                return False
        elif value is not None and not below.maps_all:
            _note_unmapped(draft, rules, node, key)
    return True


def _find_unmapped(draft: Draft, rules: Rules, node: Node, values: Json) -> None:
    """Note what no row maps, of an event whose rows are read one by one."""
    keeps_nulls = rules.keep_nulls and node is rules.tree
    for key, value in values.items():
        below = node.below.get(key)
        if below is not None and type(value) is dict:
            _find_unmapped(draft, rules, below, value)
        elif below is not None:
            if value is not None and not below.maps_all:
                _note_unmapped(draft, rules, node, key)
        elif not (node.maps_all or node.maps(key)) and (value is not None or keeps_nulls):
            _note_unmapped(draft, rules, node, key)


def _note_unmapped(draft: Draft, rules: Rules, node: Node, key: str) -> None:
    if node is rules.tree:
        draft.unmapped = (*draft.unmapped, key)
    else:
        draft.unmapped_inside.append(node.path_of(key))


def _read(draft: Draft, rules: Rules, leaves: Sequence[Leaf], fields: Json) -> None:
    """Read rows one by one, by their paths."""
    for each in leaves:
        leaf, value = each, read(fields, each.path)
        if leaf.fallback is not None and (value is MISSING or value is None):
            other = read(fields, leaf.fallback.path)
            if other is not MISSING and other is not value:  # of two nulls the first counts
                leaf, value = leaf.fallback, other
        if value is not MISSING and (value is not None or rules.keep_nulls):
            draft.matched_rows.append(leaf.row)
            draft.matches.append((leaf, value))
