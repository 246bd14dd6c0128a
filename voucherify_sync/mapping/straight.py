"""The straight function of one type of event: a plan in, a function out that makes bodies of requests without a loop.

It is written as Python source, step by step what the general mapping does with ordinary values. Where it raises
ValueError, that one is asked; nothing was counted then. No text of the settings gets into the source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import msgspec
from msgspec import Struct, defstruct

from voucherify_sync.mapping.fields import CONTAINERS, MAX_EVENT_NAME, MAX_NESTING, date_of, full_name
from voucherify_sync.mapping.narrow import Needs
from voucherify_sync.mapping.plan import Plan
from voucherify_sync.paths import ADDRESS_FIELDS, WORKING_FIELDS, Keys

TimeOf = Callable[[Any], str | None]
"""Takes an event's timestamp and returns its time as text that can be compared, or None where that cannot be done."""

Update = tuple[str, str]
"""Whose customer is updated, and of which time the update is."""

Function = Callable[[Any], tuple[Struct, Update | None, str | None]]
"""Takes what was decoded of an event; returns the body of its request, the update of a customer in it, and the name
that the customer gets from ``properties.name``, if one does.

Raises ValueError for an event that is not ordinary.
"""

_IDS: Final = ("id", "source_id")
_CUSTOMER_METADATA: Final[Keys] = ("customer", "metadata")

_encode: Final = msgspec.json.Encoder().encode


def straight_function(
    kind: str, plan: Plan, needs: Needs, fired: list[int], time_of: TimeOf, *, watches_names: bool
) -> Function:
    """Compile the function of a type of event.

    Args:
        kind: ``identify`` or ``track``.
        plan: what its ordinary rows do.
        needs: what is decoded.
        fired: how often each row found a value; counted up.
        time_of: reads timestamps.
        watches_names: tell of customers who are named by ``properties.name``.
    """
    source = Source(kind, plan, needs, watches_names=watches_names)
    names: dict[str, Any] = {
        **source.structs,
        "nothing": needs.nothing_at(plan.root),
        "constants": tuple(plan.constants.values()),
        "fired": fired,
        "time_of": time_of,
        "date_of": date_of,
        "full_name": full_name,
        "containers": CONTAINERS,
        "may_be_too_deep": _may_be_too_deep,
    }
    exec(compile(source.text, f"<straight {kind}>", "exec"), names)  # noqa: S102 nothing of it is the settings' text
    function: Function = names["make"]
    return function


class Source:
    """The source of one function.

    Attributes:
        text: of the function ``make``.
        structs: the types of what it makes, by name.
    """

    def __init__(self, kind: str, plan: Plan, needs: Needs, *, watches_names: bool) -> None:
        self.structs: dict[str, type[Struct]] = {}
        self._kind = kind
        self._plan = plan
        self._needs = needs
        self._watches_names = watches_names
        self._values: dict[Keys, str] = {}  # what is read of the event -> the variable that holds it
        self._own = {name: self._value((plan.root, name)) for name in (*WORKING_FIELDS, "name")}
        self._rows = {number: self._of_row(number, paths) for number, paths in plan.rows.items()}
        self._fillers = {
            place: [self._rows[number] for number in rows] for place, rows in plan.places.items()
        }
        for number, place in enumerate(plan.constants):
            self._fillers.setdefault(place, []).append(f"constants[{number}]")
        self.text = "\n".join(chain(["def make(event):"], _indented(self._steps())))

    def _steps(self) -> Iterator[str]:
        yield from self._own_id()
        if self._kind == "track":
            yield from self._own_event_name()
            yield from self._nothing_given()
        yield from self._read(self._tree(), "event")
        for number, paths in self._plan.rows.items():
            if len(paths) > 1:
                first, instead = map(self._value, paths)
                yield f"row_{number} = {instead} if {first} is None else {first}"
        yield from self._ids()
        if ("event",) in self._fillers:
            yield from self._mapped_event_name()
        yield from self._names()
        yield from self._parts()
        for number in self._plan.free:
            yield f"if isinstance({self._rows[number]}, containers) and may_be_too_deep({self._rows[number]}):"
            yield "    raise ValueError"
        for number, variable in self._rows.items():
            if variable != "None":
                yield f"if {variable} is not None:"
                yield f"    fired[{number}] += 1"
        yield f"renamed = {self._renamed()}"
        yield from self._body()

    def _value(self, keys: Keys) -> str:
        """Return the variable that holds what lies at a path of the event, or "None" where nothing is decoded."""
        if self._needs.path(keys) is None:
            return "None"
        return self._values.setdefault(keys, f"value_{len(self._values)}")

    def _of_row(self, number: int, paths: Sequence[Keys]) -> str:
        values = [self._value(keys) for keys in paths]
        return values[0] if len(values) == 1 else f"row_{number}"

    def _tree(self) -> dict[str, Any]:
        """Return the attributes of the event: the variable for the value there, or the attributes below."""
        tree: dict[str, Any] = {}
        for keys, variable in self._values.items():
            *parents, last = self._needs.path(keys) or [""]
            place = tree
            for attribute in parents:
                place = place.setdefault(attribute, {})
            place[last] = variable
        return tree

    def _read(self, tree: dict[str, Any], struct: str) -> Iterator[str]:
        """Read attributes into variables; below an object that is not there, nothing is."""
        for attribute, inner in tree.items():
            if isinstance(inner, str):
                yield f"{inner} = {struct}.{attribute}"
                continue
            below = f"{struct}_{attribute}"
            yield f"{below} = {struct}.{attribute}"
            yield f"if {below} is None:"
            yield f"    {' = '.join(_variables(inner))} = None"
            yield "else:"
            yield from _indented(self._read(inner, below))

    def _own_id(self) -> Iterator[str]:
        yield "if not event.messageId or event.messageId.isspace():"
        yield "    raise ValueError"
        yield "own_id = event.userId"
        yield "if not own_id or own_id.isspace():"
        yield "    own_id = event.anonymousId"
        yield "    if not own_id or own_id.isspace():"
        yield "        own_id = None"

    def _own_event_name(self) -> Iterator[str]:
        yield "event_name = event.event"
        yield "if not event_name or event_name.isspace():"
        yield "    event_name = event.type"

    def _nothing_given(self) -> Iterator[str]:
        """Be done with an event that has nothing for any row, if the rows read nothing but properties."""
        if self._plan.constants or any(keys[0] != self._plan.root for keys in self._values):
            return
        yield f"given = event.{self._plan.root}"
        yield f"if (given is None or given == nothing) and own_id is not None and len(event_name) <= {MAX_EVENT_NAME}:"
        yield "    return Event(event_name, Customer(own_id)), None, None"

    def _ids(self) -> Iterator[str]:
        """Find the ids. A blank one that is mapped is dropped with a warning, which is not ordinary."""
        for name in _IDS:
            yield from self._filled(("customer", name), name)
            if ("customer", name) in self._fillers:
                yield f"if {name} is not None and not {name}.strip():"
                yield "    raise ValueError"
        yield "if source_id is None:"
        yield "    source_id = own_id"
        yield "if source_id is None and id is None:"
        yield "    raise ValueError"

    def _mapped_event_name(self) -> Iterator[str]:
        yield from self._filled(("event",), "mapped_name")
        yield "if mapped_name and not mapped_name.isspace():"
        yield "    event_name = mapped_name"

    def _names(self) -> Iterator[str]:
        if self._kind == "track":
            yield f"if len(event_name) > {MAX_EVENT_NAME}:"
            yield "    raise ValueError"
        for name in ("name", *WORKING_FIELDS):
            yield from self._filled(("customer", name), name)
        own = ", ".join(self._own[name] for name in WORKING_FIELDS)
        yield "if not name or name.isspace():"
        yield f"    name = full_name(firstName, lastName, {own})"

    def _parts(self) -> Iterator[str]:
        """Make the customer, and find out of which time the update is, if it is one."""
        address = [name for name in ADDRESS_FIELDS if ("customer", "address", name) in self._fillers]
        yield from self._part("Address", "address", ("customer", "address"), address)
        yield from self._part(
            "CustomerMetadata", "metadata", _CUSTOMER_METADATA, self._keys(_CUSTOMER_METADATA)
        )
        plain = [
            name
            for name in ("email", "description", "phone", "birthdate")
            if ("customer", name) in self._fillers
        ]
        for name in plain:
            yield from self._filled(("customer", name), name)
        if "birthdate" in plain:
            yield "if birthdate:"
            yield "    birthdate = date_of(birthdate)"
        fields = ["source_id", "id", "name", *plain, "address", "metadata"]
        self.structs["Customer"] = _struct("Customer", {name: name for name in fields})
        yield f"customer = Customer({', '.join(fields)})"
        yield "update = None"
        yield f"if {self._is_update(fields[2:])}:"
        yield "    time = time_of(event.timestamp)"
        yield "    if time is None:"
        yield "        raise ValueError"
        yield "    update = (id or source_id, time)"

    def _is_update(self, fields: Sequence[str]) -> str:
        if self._kind == "identify":
            return "True"
        return f"not ({' is '.join(fields)} is None) or not (source_id is None or id is None)"

    def _renamed(self) -> str:
        own = self._own["name"]
        return f"name if {own} is not None and {own} == name else None" if self._watches_names else "None"

    def _body(self) -> Iterator[str]:
        if self._kind == "identify":
            yield "return customer, update, renamed"
            return
        yield from self._part("Metadata", "metadata", ("metadata",), self._keys(("metadata",)))
        self.structs["Event"] = _struct("Event", {name: name for name in ("event", "customer", "metadata")})
        yield "return Event(event_name, customer, metadata), update, renamed"

    def _keys(self, place: Keys) -> list[str]:
        return [str(keys[-1]) for keys in self._fillers if keys[:-1] == place]

    def _part(self, struct: str, name: str, place: Keys, keys: Sequence[str]) -> Iterator[str]:
        """Make an object of a request, or None where it would be empty."""
        if not keys:
            yield f"{name} = None"
            return
        fields = [f"{name}_{number}" for number in range(len(keys))]
        self.structs[struct] = _struct(struct, dict(zip(fields, keys, strict=True)))
        for field, key in zip(fields, keys, strict=True):
            yield from self._filled((*place, key), field)
        yield f"{name} = None if {' is '.join(fields)} is None else {struct}({', '.join(fields)})"

    def _filled(self, place: Keys, name: str) -> Iterator[str]:
        """Let the last row that has a value fill a place."""
        first, *later = self._fillers.get(place, ["None"])
        yield f"{name} = {first}"
        for filler in later:
            yield f"if {filler} is not None:"
            yield f"    {name} = {filler}"


def _may_be_too_deep(value: Any) -> bool:
    """Tell whether an object or a list may have more than half the levels that are allowed; most have few bytes."""
    text = _encode(value)
    return len(text) > MAX_NESTING and text.count(b"[") + text.count(b"{") > MAX_NESTING // 2


def _indented(lines: Iterator[str]) -> Iterator[str]:
    return (f"    {line}" for line in lines)


def _variables(tree: dict[str, Any]) -> Iterator[str]:
    for inner in tree.values():
        if isinstance(inner, str):
            yield inner
        else:
            yield from _variables(inner)


def _struct(name: str, keys: Mapping[str, str]) -> type[Struct]:
    """Return a type that is encoded with a key for each attribute, in this order, without those that hold None."""
    fields: list[Any] = [(attribute, Any, None) for attribute in keys]
    return defstruct(name, fields, rename=keys, omit_defaults=True, gc=False)
