"""Walk one event along the tree of its rules: put values in their places, and note what no row maps.

Where the order of rows counts, matches are gathered first. Where the tree cannot tell which of two spellings of a path
counts, the rows are read one by one.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

from voucherify_sync.events import Event, Json
from voucherify_sync.expressions.directives import Reading
from voucherify_sync.field_types import NOT_AN_OBJECT
from voucherify_sync.fields import CustomerBody
from voucherify_sync.mapping.drafts import Draft, is_blank
from voucherify_sync.mapping.rules import (
    CONTEXT_TRAITS,
    WHOSE_TRAITS,
    Leaf,
    Match,
    Node,
    Route,
    Rules,
    Signature,
    TextPut,
)
from voucherify_sync.paths import MISSING, Keys, outside_lists, read


def walk(
    rules: Rules,
    event: Event,
    fields: Json,
    own_id: str | None,
    traits_or_properties: Json,
    *,
    traces: bool = False,
) -> Draft:
    """Return a draft with all that rows and constants make of an event.

    Args:
        rules: of its type.
        event: which.
        fields: what rows read of it.
        own_id: of its customer.
        traits_or_properties: the object at the root of the rules.
        traces: the draft keeps all matches.
    """
    draft = Draft(CustomerBody() if own_id is None else CustomerBody(own_id), traits_or_properties)
    gathers = rules.are_gathered or event.unsafe or traces
    if rules.elsewhere:
        _read(draft, rules, rules.elsewhere, fields)
    elsewhere_count = len(draft.matches)
    if (rules.dotted_keys and _holds_dotted_keys(rules, fields)) or not _take(
        draft, rules, rules.tree, traits_or_properties, gathers
    ):
        draft = Draft(CustomerBody() if own_id is None else CustomerBody(own_id), traits_or_properties)
        gathers, elsewhere_count = True, 0
        _read(draft, rules, rules.leaves, fields)
        _find_unmapped(
            draft, rules, rules.tree, traits_or_properties, _places_read(rules, draft.matches, fields)
        )
    if rules.objects:
        _read_objects(draft, rules, fields, gathers)
    if draft.matches:
        if rules.are_gathered:
            draft.matches.sort(key=lambda match: match[0].row)
        elif gathers:  # in the order in which they are put at once
            draft.matches = draft.matches[elsewhere_count:] + draft.matches[:elsewhere_count]
        for leaf, value in draft.matches:
            leaf.put(draft, value)
    if rules.entries:
        _put_set(draft, rules, fields, keeps_values=traces or event.unsafe)
    for _, put, value in rules.constants:
        put(draft, value)
    return draft


def _put_set(draft: Draft, rules: Rules, fields: Json, *, keeps_values: bool) -> None:
    """Put what the entries of `set` make of an event; one that makes nothing leaves its place as the rows made it."""
    if rules.root == CONTEXT_TRAITS:  # directives name traits by their usual place, also where these stand in
        fields = fields | {CONTEXT_TRAITS[1]: draft.traits_or_properties}
    for number, entry in enumerate(rules.entries):
        reading = Reading([], []) if keeps_values else None
        value = entry.expression.read(fields, reading)
        if value is MISSING or (value is None and not rules.keep_nulls):
            continue
        draft.filled.append(number)
        if reading is not None:
            draft.set_values.append((value, reading))
        entry.leaf.put(draft, value)


def find_unmapped_in_context(draft: Draft, rules: Rules, fields: Json, traits: Json) -> None:
    """Note which traits of the context no row reads; those that say whose they are say nothing of the customer."""
    told = {key: value for key, value in traits.items() if key not in WHOSE_TRAITS}
    assert rules.context_tree is not None  # noqa: S101  # only an identify has such traits
    matches = [match for match in draft.matches if match[0].path.keys[0] == CONTEXT_TRAITS[0]]
    _find_unmapped(draft, rules, rules.context_tree, told, _places_read(rules, matches, fields))


def note_no_object(draft: Draft, rules: Rules, fields: Json, root: Keys, value: Any) -> None:
    """Note that traits or properties are no object, unless a row sends them as they are.

    Args:
        draft: takes the notes, once its event has been walked.
        rules: those of the walk.
        fields: what rows read.
        root: where the value lies.
        value: which; not null.
    """
    is_read = root in _places_read(rules, draft.matches, fields)
    if not is_read or any(reason == NOT_AN_OBJECT for _, reason in draft.dropped):
        draft.no_objects.append(value)
    if not is_read and root not in rules.object_places:
        draft.unmapped_inside.append(".".join(map(str, root)))


def _places_read(rules: Rules, matches: Sequence[Match], fields: Json) -> set[Keys]:
    """Return where the values lie in the event that rows found or that are read; of an item, where its list lies."""
    places = set()
    for path in (*(leaf.path for leaf, _ in matches), *rules.taken):
        keys: list[str | int] = []
        if read(fields, path, keys) is not MISSING:
            places.add(outside_lists(tuple(keys)))
    return places


def _holds_dotted_keys(rules: Rules, fields: Json) -> bool:
    """Tell whether a key above the root is the dotted spelling of a path that a row reads."""
    value: Any = fields
    for key in rules.root:
        if type(value) is not dict:
            return False
        if not rules.dotted_keys.isdisjoint(value):
            return True
        value = value.get(key)
    return False


def _take(draft: Draft, rules: Rules, node: Node, values: Json, gathers: bool) -> bool:
    """Take the values of an object, and of those inside it, to their places.

    Args:
        draft: takes them.
        rules: those of the tree.
        node: where the object stands in it.
        values: the object.
        gathers: values are put later, in the order of the rows.

    Returns:
        False if the keys do not tell what a row reads, and then some values are in their places.
    """
    keys: Signature = tuple([key for key, value in values.items() if value is not None])
    if len(keys) < len(values) and (rules.keep_nulls or not node.dotted_keys.isdisjoint(values)):
        keys = tuple([(key,) if value is None else key for key, value in values.items()])
    route = node.routes.get(keys) or node.new_route(keys)
    if route.is_unclear:
        return False
    draft.routes.append(route)
    if node is rules.tree:
        draft.outermost = route
        draft.unmapped = route.unmapped
    if gathers:
        _gather(draft, route, values)
    else:
        if route.texts:
            _put_texts(draft, draft.customer, route.texts, values)
        if route.names:
            _put_texts(draft, draft, route.names, values)
        if route.address:
            _put_texts(draft, draft.address(), route.address, values)
        for key, put in route.others:
            put(draft, values[key])
    return route.is_flat or _take_rest(draft, rules, node, route, values, gathers)


def _put_texts(draft: Draft, holder: Any, texts: Sequence[TextPut], values: Json) -> None:
    """Put texts where they belong: most values are texts, and go there as they are."""
    for key, name, put, twin_key in texts:
        value = values[key]
        if type(value) is str and value and not value.isspace():
            setattr(holder, name, value)
        else:
            put(draft, value)
            if twin_key is not None and is_blank(value) and values.get(twin_key) is not None:
                put(draft, values[twin_key])


def _gather(draft: Draft, route: Route, values: Json) -> None:
    """Gather what the leaves of a route find: where a key holds a blank, also what its twin holds."""
    for key, leaf in route.leaves:
        draft.matches.append((leaf, values[key]))
        if leaf.fallback is not None and is_blank(values[key]) and values.get(str(leaf.twin_key)) is not None:
            draft.matches.append((leaf.fallback, values[str(leaf.twin_key)]))


def _take_rest(draft: Draft, rules: Rules, node: Node, route: Route, values: Json, gathers: bool) -> bool:
    """Take the values of the objects inside an object, and note what its keys alone do not tell."""
    for key, twin_key in route.twins:
        if not is_blank(values[key]):
            _note_unmapped(draft, rules, node, twin_key)
    for key, leaves, sources in route.items:
        below = node.below.get(key)
        is_below = below is not None and (below.is_object or type(values[key]) is dict)
        is_found = any(leaf in leaves for leaf, _ in draft.matches) or any(
            read(values, source) is not MISSING for source in sources
        )
        if not is_below and not is_found:
            _note_unmapped(draft, rules, node, key)
    for key, inside in route.below:
        value = values[key]
        if type(value) is dict:
            if not _take(draft, rules, inside, value, gathers):
                return False
        elif value is not None and not (inside.maps_all or inside.is_object or node.reads_items_of(key)):
            _note_unmapped(draft, rules, node, key)
    return True


def _find_unmapped(draft: Draft, rules: Rules, node: Node, values: Json, places: Container[Keys]) -> None:
    """Note what no row has read, of an event whose rows are read one by one.

    A row may read a key in one event, and another spelling of it in the next one.

    Args:
        draft: takes the notes.
        rules: those of the tree.
        node: where the object stands in it.
        values: the object.
        places: where the values that were read lie.
    """
    if node.path in places:
        return
    keeps_nulls = rules.keep_nulls and node is rules.tree
    for key, value in values.items():
        below = node.below.get(key)
        if (*node.path, key) in places:
            continue
        if below is not None and type(value) is dict:
            _find_unmapped(draft, rules, below, value, places)
        elif value is None:
            if keeps_nulls and below is None and key not in node.leaves and not node.reads_items_of(key):
                _note_unmapped(draft, rules, node, key)
        elif below is None or not below.is_object:
            _note_unmapped(draft, rules, node, key)


def _note_unmapped(draft: Draft, rules: Rules, node: Node, key: str) -> None:
    if node is rules.tree:
        draft.unmapped = (*draft.unmapped, key)
    else:
        draft.unmapped_inside.append(node.path_of(key))


def _read(draft: Draft, rules: Rules, leaves: Sequence[Leaf], fields: Json) -> None:
    """Read rows one by one, by their paths."""
    for each in leaves:
        leaf, value = each.find(fields)
        if leaf is not each and is_blank(own := read(fields, each.path)):
            draft.matches.append((each, own))  # the blank is dropped, and counted
        if value is not MISSING and (value is not None or rules.keep_nulls):
            _note_match(draft, rules, leaf)
            draft.matches.append((leaf, value))


def _note_match(draft: Draft, rules: Rules, leaf: Leaf) -> None:
    text = rules.row_texts[leaf.row]
    if text is not None:  # the row of which it is a part counts itself
        draft.matched_rows.append(text)


def _read_objects(draft: Draft, rules: Rules, fields: Json, gathers: bool) -> None:
    """Read the object rows: their parts take what is in an object, and what is no object is dropped or erases."""
    for leaf in rules.objects:
        value = read(fields, leaf.path)
        if value is MISSING or (value is None and not rules.keep_nulls):
            continue
        _note_match(draft, rules, leaf)
        if type(value) is dict:
            continue
        if gathers:
            draft.matches.append((leaf, value))
        else:
            leaf.put(draft, value)
