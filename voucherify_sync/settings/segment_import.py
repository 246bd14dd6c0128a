"""Make settings of the configuration of a Voucherify destination at Segment, and say what of it was taken.

Every value is tried by the loader of settings files before it is taken. So what is written loads, and what cannot be
taken is named with the loader's own sentence. Keys are never taken.

A subscription of Voucherify (Actions) is for the events that pass its trigger, and an event may pass several. Here an
event makes one request, so each event belongs to one subscription, the first:

- A subscription without event names fills the section of its type.
- One of track events with names fills an entry of `track.events` for each name. Without a subscription for all track
  events, `track.events_filter` lists these names, so that no other event is sent.
- `track.where` is asked of the events of entries, too. So the condition of a subscription for all track events is
  widened by these names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from msgspec import Struct, field

from voucherify_sync.errors import SettingsError, UsageProblem
from voucherify_sync.events import SENT_TYPES, Kind
from voucherify_sync.expressions.conditions import (
    Combination,
    Condition,
    ConditionError,
    Term,
    Tree,
    Trigger,
    joined,
    parse_condition,
    split_trigger,
    text_of_tree,
)
from voucherify_sync.expressions.directives import METADATA, is_directive
from voucherify_sync.paths import HOLDERS, Keys, parse_source, path_of
from voucherify_sync.settings.load import parsed
from voucherify_sync.settings.segment_configuration import (
    ACTIONS_KEYS,
    CLASSIC_KEYS,
    KEYS_LEFT_OUT,
    SegmentConfiguration,
    Subscription,
)
from voucherify_sync.settings.template import escaped, to_yaml
from voucherify_sync.settings.types import ENTRIES
from voucherify_sync.text import clean, counted, listed

_FLAGS: Final = {
    "identifyDisabled": "identify.disabled",
    "trackDisabled": "track.disabled",
    "ignoreAnonymous": "identity.ignore_anonymous",
}
_TEXTS: Final = {"apiUrl": "api.url", "apiVersion": "api.version"}
_WITH_NAMES: Final = ("identify", "track")
"""Sections that join first and last names."""
_OFF_BY_DEFAULT: Final = ("page", "screen", "group")
_GATEWAY: Final = re.compile(
    r"(?i)\s*(?:https?://)?(?:([a-z0-9-]+)\.)?segmentio\.voucherify\.io/?(?:v1/?)?\s*"
)

_TYPES_OF: Final = {
    "upsertCustomer": ("identify", "group"),
    "addCustomEvent": ("track", "page", "screen"),
    "assignCustomerToGroup": ("group",),
}
"""Action -> the types of events of which the same kind of request is made here."""
_ACTION_OF: Final = {"identify": "upsertCustomer", "group": "assignCustomerToGroup"}
"""Type of events -> the action of a subscription that does not name it, where that is not addCustomEvent."""
_BECOMES: Final = {Kind.CUSTOMER: "customer updates", Kind.EVENT: "custom events"}
_RENAMED: Final[dict[Keys, Keys]] = {
    ("customer", "first_name"): ("customer", "firstName"),
    ("customer", "last_name"): ("customer", "lastName"),
    ("customer", "address", "street"): ("customer", "address", "line_1"),
    ("group_id",): ("customer", "metadata", "group_id"),
}
"""Fields of actions with another name here."""
_NOT_FIELDS: Final = frozenset({"type", "batch_size", "enable_batching"})
_INDEX: Final = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|\.(\d{1,9})(?=[.\[]|$)""")
_PLACEHOLDER: Final = re.compile(r"(\{\{\{?)([^{}]+)")
_MESSAGE: Final = re.compile(r"^:\d+:\d+: (?:[a-z_]+(?:\.[a-z_]+)*: )?")
_USER_ID: Final = "userId"
_HAS_USER_ID: Final = Term(parse_source(_USER_ID), "!=", None)
_NEEDED: Final = {Kind.CUSTOMER: ("customer.source_id",), Kind.EVENT: ("event", "customer.source_id")}
"""Destinations without which a request would go to another customer, or tell of another event."""
_ONE_REQUEST: Final = "one event makes one request here"
_MAX_NAMED: Final = 5


class SegmentImport(Struct):
    """What became of a configuration.

    Attributes:
        values: path of a setting, such as track.mapping -> its value as it is written in a file.
        remarks: path of a setting -> what stands behind its value as a comment.
        taken: a short line for each part that was taken.
        left_out: a short line for each part that was not, with the reason.
        keys: what to know of the keys.
    """

    values: dict[str, Any] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    keys: str = ""


def import_settings(configuration: SegmentConfiguration) -> SegmentImport:
    """Return the settings that do what a configuration does.

    Raises:
        UsageProblem: what would be written does not load: it is too large.
    """
    result = SegmentImport(left_out=list(configuration.notices))
    if configuration.classic is not None:
        _take_classic(configuration.classic, result)
    else:
        _take_actions(configuration, result)
    if faults := _faults(result.values):
        raise UsageProblem(
            f"The settings of this configuration cannot be written: {faults[0]}.",
            "Leave subscriptions or rows out of it, and try again.",
        )
    return result


def _faults(values: dict[str, Any]) -> list[str]:
    """Return what the loader has to say against settings: mistakes, else warnings; empty if it takes them."""
    shown: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        section, _, name = path.partition(".")
        shown.setdefault(section, {})[name] = escaped(value)
    for section in shown.keys() & set(_OFF_BY_DEFAULT):  # a part is tried by itself
        shown[section].setdefault("disabled", False)
    try:
        _, warnings = parsed(to_yaml(shown))
    except SettingsError as error:
        warnings = list(error.problems)
    return [_MESSAGE.sub("", line) for line in warnings]


def _take(path: str, value: Any, result: SegmentImport, taken: str | None = None) -> bool:
    """Take a value if the loader does; else say why not."""
    if faults := _faults({path: value}):
        result.left_out.append(f"{path}: {faults[0]}")
        return False
    result.values[path] = value
    result.taken.append(f"{path}: {clean(str(value)) if taken is None else taken}")
    return True


# -- the classic destination


def _take_classic(given: dict[str, Any], result: SegmentImport) -> None:
    _take_classic_values(given, result)
    for kind in SENT_TYPES:
        if rows := given.get(f"{kind}Mapping"):
            _take_classic_rows(kind, rows, result)
    if names := given.get("trackEventsFilter"):
        _take_filter([names] if isinstance(names, str) else names, result)
    _leave_types_off(given, result)
    if _is_true(given.get("trackOnlyExistingCustomers")):
        result.left_out.append(
            "Track Only Existing Customers: no such setting yet; the customer of an event is created if there is none"
        )
    if others := sorted(given.keys() - CLASSIC_KEYS):
        result.left_out.append(f"no such setting here: {listed(others, clean, _MAX_NAMED)}")
    result.keys = f"{_keys_found(given)}. Set VOUCHERIFY_API_KEY and VOUCHERIFY_API_TOKEN before a live run"


def _take_classic_values(given: dict[str, Any], result: SegmentImport) -> None:
    """Take the switches and the address; of a value of another type the loader says what is wrong with it."""
    for name, path in _FLAGS.items():
        value = given.get(name)
        if _is_true(value):
            _take(path, True, result, "true")
        elif value not in (None, False, "", "false"):
            _take(path, value, result)
    for name, path in _TEXTS.items():
        text = given.get(name)
        if isinstance(text, str):
            text = _api_url(text) if name == "apiUrl" else text.strip()
        if text not in (None, ""):
            _take(path, text, result)


def _leave_types_off(given: dict[str, Any], result: SegmentImport) -> None:
    """Leave page, screen and group events off where they are on at Segment, and say so."""
    on = [kind for kind in _OFF_BY_DEFAULT if not _is_true(given.get(f"{kind}Disabled"))]
    for kind in on:
        result.values[f"{kind}.disabled"] = True
        result.remarks[f"{kind}.disabled"] = "on at Segment; each event is one call"
    if on:
        result.left_out.append(
            f"{', '.join(on)}: on at Segment; here each event is one call, so they stay off until "
            f"{on[0]}.disabled is false"
        )


def _take_classic_rows(kind: str, given: Any, result: SegmentImport) -> None:
    path, rows = f"{kind}.mapping", dict[str, Any]()
    if not isinstance(given, dict):
        result.left_out.append(f"{path}: it must hold rows, source: destination")
        given = {}
    elif not any(source or target for source, target in given.items()):
        return  # a line that was left empty on Segment's page
    for source, target in given.items():
        if not source and not target:
            continue
        if faults := _faults({path: {source: target}}):
            result.left_out.append(f"{path}: row {clean(source, 60)!r}: {faults[0]}")
        else:
            rows[source] = target
    if rows:
        result.values[path] = rows
        result.values[f"{kind}.extend_default"] = False
        result.taken.append(f"{path}: {counted(len(rows), 'row')}")
    else:
        result.values[f"{kind}.disabled"] = True
        result.left_out.append(
            f"{kind}: no row of it can be taken, and the default table is not meant: it is off"
        )


def _take_filter(names: Any, result: SegmentImport) -> None:
    path = "track.events_filter"
    if not isinstance(names, list):
        names = [names]
    names = [name for name in names if name not in ("", None)]
    if names and _take(path, names, result, counted(len(names), "name")):
        result.left_out += [
            f"{path}: {clean(name, 60)!r}: a * stands for any characters here, so other names are sent, too"
            for name in names
            if isinstance(name, str) and "*" in name
        ]
    elif names:
        result.values["track.disabled"] = True
        result.left_out.append("track: the names of its events cannot be taken, so it is off")


def _is_true(value: Any) -> bool:
    return value is True or value == "true"


def _api_url(text: str) -> str:
    """Return the URL of the API in place of that of Segment's gateway to it."""
    gateway = _GATEWAY.fullmatch(text)
    if gateway is None:
        return text.strip()
    return f"https://{gateway[1].lower()}.api.voucherify.io" if gateway[1] else "https://api.voucherify.io"


def _keys_found(given: dict[str, Any]) -> str:
    return "left out" if any(given.get(name) for name in KEYS_LEFT_OUT) else "none written"


# -- Voucherify (Actions)


class _Part(Struct):
    """What a subscription makes of the events of a type.

    Attributes:
        name: of the subscription, in quotes.
        mapping: its rows.
        set: its other values.
        where: the rest of its trigger.
        is_of_users: its customers are those of the userId, so that events without one are not meant.
    """

    name: str
    mapping: dict[str, Any] = field(default_factory=dict)
    set: dict[str, Any] = field(default_factory=dict)
    where: Condition | None = None
    is_of_users: bool = False

    def condition(self, *, asks_user_id: bool, names: tuple[str, ...] = ()) -> str | None:
        """Return the text of `where`.

        Args:
            asks_user_id: events without a userId are left out by it.
            names: of events that have conditions of their own, for which it must hold.
        """
        members = [] if self.where is None else _conjuncts(self.where.tree)
        if names:
            members = [each for each in members if not _only_leaves_out(each, names)]
        if asks_user_id and self.is_of_users:
            members.append(_HAS_USER_ID)
        if not members:
            return None
        tree = joined("and", members)
        if names:
            own = [Term(parse_source("event"), "=", name) for name in names]
            tree = joined("or", [*own, tree])
        return text_of_tree(tree)

    def says(self) -> str:
        """Return how much it holds, and where it is from."""
        parts = [counted(len(self.mapping), "row")] if self.mapping else []
        parts += [counted(len(self.set), "value of set", "values of set")] if self.set else []
        condition = "" if self.where is None else f", where {clean(self.where.text, 80)}"
        return f"{' and '.join(parts)} of {self.name}{condition}"


class _Actions:
    """Shares the events out among subscriptions.

    Attributes:
        parts: by type of event; of track events, the one for all of them.
        entries: of track events, those for single names.
    """

    def __init__(self, result: SegmentImport) -> None:
        self._result = result
        self.parts: dict[str, _Part] = {}
        self.entries: dict[str, _Part] = {}

    def add(self, subscription: Subscription) -> None:
        """Take a subscription for the events that no earlier one has taken."""
        name = f'"{clean(subscription.name, 60)}"'
        if not subscription.is_enabled:
            self._leave_out(name, "off at Segment")
            return
        try:
            trigger = split_trigger(subscription.trigger)
        except ConditionError as error:
            self._leave_out(name, f"its trigger is not taken, column {error.column}: {error}")
            return
        types = trigger.types or (("track",) if trigger.events else ())
        if not types:
            self._leave_out(name, 'its trigger names no type of events, such as type = "track" and …')
        elif trigger.rest is not None and (index := _index_in(trigger.rest)):
            self._leave_out(
                name, f"its trigger reads {clean(index, 60)}, and conditions read no items of lists"
            )
        else:
            for kind in types:
                self._add(name, kind, subscription, trigger)

    def _add(self, name: str, kind: str, subscription: Subscription, trigger: Trigger) -> None:
        action = subscription.action or _ACTION_OF.get(kind, "addCustomEvent")
        if action not in _TYPES_OF:
            self._leave_out(name, f"its action {clean(action, 40)!r} is not one of Voucherify (Actions)")
        elif kind not in _TYPES_OF[action]:
            type_ = SENT_TYPES.get(kind)
            becomes = "these make no request" if type_ is None else f"these become {_BECOMES[type_.kind]}"
            self._leave_out(name, f"{action} of {clean(kind, 40)} events; here {becomes}")
        elif trigger.events:
            self._add_entries(name, subscription, trigger)
        elif kind in self.parts:
            self._leave_out(name, f"{self.parts[kind].name} takes {kind} events already: {_ONE_REQUEST}")
        elif part := self._part(name, action, kind, subscription, trigger):
            self.parts[kind] = part
            if kind == "track" and (
                shared := [each for each in self.entries if _may_hold_for(part.where, each)]
            ):
                self._leave_out(name, f"other subscriptions take {_quoted(shared)}: {_ONE_REQUEST}")

    def _add_entries(self, name: str, subscription: Subscription, trigger: Trigger) -> None:
        """Take a subscription for track events of certain names."""
        of_all = self.parts.get("track")
        part = None
        for event in trigger.events:
            if not event.strip() or "*" in event:
                why = "a * stands for any characters here" if "*" in event else "a blank name"
                self._leave_out(name, f"the event {_quoted([event])}: {why}")
                continue
            earlier = self.entries.get(event)
            if earlier is None and of_all is not None and _may_hold_for(of_all.where, event):
                earlier = of_all
            if earlier is not None:
                self._leave_out(name, f"{earlier.name} takes {_quoted([event])} already: {_ONE_REQUEST}")
                continue
            part = part or self._part(name, "addCustomEvent", "track", subscription, trigger)
            if part is None:
                return
            self.entries[event] = part

    def _part(
        self, name: str, action: str, kind: str, subscription: Subscription, trigger: Trigger
    ) -> _Part | None:
        """Return what a subscription makes of events of a type; None if nothing of it can be taken."""
        part = _Part(name, where=trigger.rest)
        prefix: Keys = ("customer",) if action == "upsertCustomer" else ()
        fields = {
            key: value
            for key, value in subscription.settings.items()
            if key not in _NOT_FIELDS and not key.startswith("__segment_")
        }
        if action == "assignCustomerToGroup" and fields.pop("traits", None) is not None:
            self._leave_out(
                name,
                "traits: no field of a customer; a row such as traits.plan: customer.metadata.plan takes one",
            )
        filled = set[str]()
        for place, value in _places(prefix, fields):
            if value is None or value == "":
                continue
            destination = path_of(*place)
            if fault := _take_field(part, kind, destination, _with_indexes(value)):
                self._leave_out(name, f"{clean(destination, 60)}: {fault}")
            else:
                filled.add(destination)
        if missing := [each for each in _NEEDED[SENT_TYPES[kind].kind] if each not in filled]:
            self._leave_out(name, f"nothing of it is sent, as it does not fill {' and '.join(missing)}")
            return None
        part.is_of_users = "customer.source_id" in _targets(part.mapping.get(_USER_ID))
        return part

    def _leave_out(self, name: str, why: str) -> None:
        self._result.left_out.append(f"{name}: {why}")


def _take_actions(configuration: SegmentConfiguration, result: SegmentImport) -> None:
    given = configuration.actions or {}
    url = given.get("customURL")
    if url := _api_url(url) if isinstance(url, str) else url:
        _take("api.url", url, result)
    actions = _Actions(result)
    for subscription in configuration.subscriptions:
        actions.add(subscription)
    if not configuration.subscriptions:
        result.left_out.append(
            "the mapping: it is in the subscriptions, and there is none; "
            "give the answer of GET /destinations/ID/subscriptions with another --from-segment"
        )
    _take_parts(actions.parts, actions.entries, result)
    if others := sorted(given.keys() - ACTIONS_KEYS):
        result.left_out.append(f"no such setting here: {listed(others, clean, _MAX_NAMED)}")
    result.keys = (
        f"{_keys_found(given)}. Those of Voucherify (Actions) are keys of an integration, which the API refuses "
        "(integration_api_key_required): take Application ID and Secret Key from Voucherify's dashboard. Set "
        "VOUCHERIFY_API_KEY and VOUCHERIFY_API_TOKEN before a live run"
    )


def _take_parts(parts: dict[str, _Part], entries: dict[str, _Part], result: SegmentImport) -> None:
    """Write what subscriptions make of events: by type, and in entries by the names of track events."""
    values = result.values
    own = [*parts.values(), *entries.values()]
    ignores_anonymous = bool(own) and all(part.is_of_users for part in own)
    for kind in SENT_TYPES:
        is_off = kind not in parts and not (kind == "track" and entries)
        values[f"{kind}.disabled"] = is_off
        if kind in _WITH_NAMES:
            values[f"{kind}.name_from_parts"] = False
        if not is_off:
            values[f"{kind}.extend_default"] = False
    for kind, part in parts.items():
        names = tuple(entries) if kind == "track" else ()
        values |= {f"{kind}.mapping": part.mapping, f"{kind}.set": part.set}
        if where := part.condition(asks_user_id=not ignores_anonymous, names=names):
            values[f"{kind}.where"] = where
        result.taken.append(f"{kind}: {part.says()}")
    if entries:
        if "track" not in parts:
            values["track.events_filter"] = list(entries)
        values[ENTRIES] = {
            name: _entry(part, asks_user_id=not ignores_anonymous) for name, part in entries.items()
        }
        for part in {id(part): part for part in entries.values()}.values():
            shared = [name for name, each in entries.items() if each is part]
            result.taken.append(f"track, {_quoted(shared)}: {part.says()}")
    values |= {"personas.disabled": True, "identity.ignore_anonymous": ignores_anonymous}


def _entry(part: _Part, *, asks_user_id: bool) -> dict[str, Any]:
    """Return an entry of `track.events`. Rows and `set` are both given, so that neither comes from track."""
    where = part.condition(asks_user_id=asks_user_id)
    return ({} if where is None else {"where": where}) | {"mapping": part.mapping, "set": part.set}


def _take_field(part: _Part, kind: str, destination: str, value: Any) -> str | None:
    """Take a field, as a row where that says the same, else as an entry of `set`; return why not, or None."""
    if destination == "customer":
        return "an object as a whole never fills the ids of a customer here"
    path = _path_and_others(value)
    if path is not None:
        source, others = path
        target = _merged(
            part.mapping.get(source), {"to": destination, "or": others} if others else destination
        )
        if target is not None and not _faults({f"{kind}.mapping": {source: target}}):
            part.mapping[source] = target
            return None
    faults = _faults({f"{kind}.set": {destination: value}})
    if not faults:
        part.set[destination] = value
    return faults[0] if faults else None


def _places(prefix: Keys, given: dict[str, Any]) -> Iterator[tuple[Keys, Any]]:
    """Yield the fields of an action by their keys here, each with its value."""
    for key, value in given.items():
        keys = _RENAMED.get((*prefix, key), (*prefix, key))
        if keys in HOLDERS and isinstance(value, dict) and not is_directive(value):
            yield from _places(keys, value)
        else:
            yield keys, value


def _path_and_others(value: Any) -> tuple[str, list[str]] | None:
    """Return the source of a row, and those in its `or`, that read what a value does; None if no row does."""
    if not isinstance(value, dict):
        return None
    argument = value.get("@path", value.get("@if"))
    if value.keys() - {METADATA} == {"@path"} and isinstance(argument, str):
        if argument.endswith(".*"):
            return None  # a wildcard to rows, a key at Segment
        return argument.removeprefix("$."), []
    if value.keys() - {METADATA} != {"@if"} or not isinstance(argument, dict):
        return None
    if argument.keys() != {"exists", "then", "else"}:
        return None
    exists, then, otherwise = (_path_and_others(argument[key]) for key in ("exists", "then", "else"))
    if then is None or otherwise is None or exists != then or then[1]:
        return None
    return then[0], [otherwise[0], *otherwise[1]]


def _merged(earlier: Any, target: Any) -> Any:
    """Return the target of a row that goes to another destination, too; None if it cannot be one row."""
    if earlier is None:
        return target
    if isinstance(earlier, dict) or isinstance(target, dict):
        return None
    return [*_targets(earlier), target]


def _targets(target: Any) -> list[str]:
    """Return the destinations of a row as it is written; none of a row with `or`."""
    if target is None or isinstance(target, dict):
        return []
    return target if isinstance(target, list) else [target]


def _with_indexes(value: Any) -> Any:
    """Write items of lists in the paths of a value as here: `products[0].sku` for `products.0.sku`."""
    if isinstance(value, list):
        return [_with_indexes(item) for item in value]
    if not isinstance(value, dict):
        return value
    changed: dict[str, Any] = {}
    for key, inside in value.items():
        if key == "@path" and isinstance(inside, str):
            changed[key] = _with_index(inside)
        elif key == "@template" and isinstance(inside, str):
            changed[key] = _PLACEHOLDER.sub(lambda found: found[1] + _with_index(found[2].strip()), inside)
        elif key == "@arrayPath" and isinstance(inside, list) and inside and isinstance(inside[0], str):
            changed[key] = [_with_index(inside[0]), *map(_with_indexes, inside[1:])]
        else:
            changed[key] = _with_indexes(inside)
    return changed


def _with_index(path: str) -> str:
    return _INDEX.sub(lambda found: found[1] or f"[{found[2]}]", path)


def _index_in(condition: Condition) -> str | None:
    """Return a field of a condition that may be meant for an item of a list; None if there is none."""
    return next(
        (path.text for path in condition.sources if any(str(key).isdigit() for key in path.keys)), None
    )


def _conjuncts(tree: Tree) -> list[Tree]:
    return list(tree.members) if isinstance(tree, Combination) and tree.word == "and" else [tree]


def _only_leaves_out(tree: Tree, names: tuple[str, ...]) -> bool:
    """Tell whether a term says no more than that an event has not one of these names."""
    return (
        isinstance(tree, Term)
        and tree.path.keys == ("event",)
        and tree.operator == "!="
        and tree.value in names
    )


def _may_hold_for(condition: Condition | None, name: str) -> bool:
    """Tell whether a condition can hold for a track event of a name; what does not read the name alone can."""
    members = [] if condition is None else map(parse_condition, map(text_of_tree, _conjuncts(condition.tree)))
    return all(
        each.holds({"event": name})
        for each in members
        if all(source.keys == ("event",) for source in each.sources)
    )


def _quoted(names: Sequence[str]) -> str:
    return listed(names, lambda name: f'"{clean(name, 60)}"', _MAX_NAMED)
