"""Compile a value of the setting `set`, which may hold Segment's mapping directives, into closures that read an event.

A value is any JSON, which stands for itself, or a directive: an object with one key that begins with ``@``. Lists and
objects are resolved item by item. Evaluation never raises, whatever the event holds, and never changes the event.

Where this differs from Segment, on purpose:

- A path is read as in a row: a key with dots is tried as a whole first, and the text of a path has no ``length``.
- A replacement is plain text, ``$&`` too. `@merge` passes texts and lists over. ``$.`` inside braces is dropped.
- A number becomes its exact decimal text, without an exponent.
- No text is made of NaN, of Infinity, of a number out of range, nor of what is nested on more than MAX_LEVELS levels.
  The directive gives that value itself, and the mapping treats it as it does where a row reads it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final

from msgspec import Struct
from msgspec import json as strict_json

from voucherify_sync.expressions.row_filters import filter_called, pasted_filters
from voucherify_sync.paths import MISSING, FieldPath, Keys, PathError, PathStep, parse_source, read
from voucherify_sync.text import clean, did_you_mean, folded_key, similar, text_of

MAX_LEVELS: Final = 200
"""Levels of a value that is flattened, cleaned of nulls, or made a text."""

MAX_FLAT_CHARACTERS: Final = 10_000_000
"""Of all keys that one `@flatten` makes: those of a deep object repeat all keys above them."""

MAX_DECODED_VALUES: Final = 110_000
"""Commas and opening brackets in a text that `@json` decodes."""

MAX_DEPTH: Final = 64
"""Levels of a value of the settings."""

MAX_COMPUTED_PATH: Final = 200
"""Characters of a path that is computed; its steps take memory that grows with their square."""

METADATA: Final = "_metadata"
"""The key beside a directive in which Segment's editor keeps notes; it is ignored."""

_WRITE_INSTEAD: Final = {
    **dict.fromkeys(
        ("coalesce", "default", "fallback", "ifnull", "nvl", "firstof", "or"),
        "@if with exists, then and else, or a row with `or`",
    ),
    **dict.fromkeys(
        ("concat", "concatenate", "append", "prepend", "format", "string", "tostring", "text", "interpolate"),
        '@template, such as {"@template": "{{event}} {{name}}"}',
    ),
    **dict.fromkeys(
        ("lower", "lowercase", "downcase", "tolower", "tolowercase"), "@case with operator: lower"
    ),
    **dict.fromkeys(("upper", "uppercase", "upcase", "toupper", "touppercase"), "@case with operator: upper"),
    "join": "@template for several fields, or a row with `apply: \"join: ', '\"` for a list",
    **dict.fromkeys(("map", "each", "foreach", "items"), "@arrayPath with a path and the shape of an item"),
    **dict.fromkeys(("casewhen", "switch", "when", "cond", "ternary", "ifelse", "unless"), "@if"),
    **dict.fromkeys(("get", "field", "value", "property", "trait", "jsonpath", "var"), "@path"),
    **dict.fromkeys(("assign", "extend", "combine"), "@merge"),
    **dict.fromkeys(("stringify", "tojson", "parse", "fromjson"), "@json with mode: encode or decode"),
    **dict.fromkeys(("gsub", "sub", "regex", "regexreplace"), "@replace, which takes plain text"),
    **dict.fromkeys(("const", "constant", "static"), "the value itself, without a directive"),
}
"""Names of other languages, as `folded_key` returns them -> the directive, or what else does the same."""
_NO_DATA: Final = (
    "data with a key that begins with @ cannot be written, "
    "and @literal does not help: it resolves its value, too"
)


class Reading(Struct):
    """What an evaluation found out, for explain and coverage.

    Attributes:
        keys: keys, in the event, of each value that flowed into the result; a condition, or a path that is computed,
            does not flow. ``()`` is the event itself.
        branches: ``then`` or ``else`` of each `@if`, in order of evaluation.
    """

    keys: list[Keys] = []
    branches: list[str] = []


Read = Callable[[Any, Reading | None], Any]
"""Evaluates an expression: the event's fields in, a JSON value or MISSING out.

Below `@transform` and `@arrayPath` it gets another value than the event. A result may be an object of the event: do
not write into it. Lists and objects that the settings write out are made again by each call.
"""

Note = Callable[[Keys, str], None]
"""Takes a mistake: the keys that lead to the mistaken part of the value, and a sentence."""


class Expression(Struct, frozen=True, eq=False):
    """A compiled value. It is compared by the value; other processes get that, and compile it again.

    Attributes:
        read: evaluates it.
        sources: the places of the event that it may read.
        reads_whole_event: it may read anything: the event itself, or a path that is computed.
        name: of the outermost directive, ``@template``; None for a constant, a list or an object.
        is_constant: it reads nothing of the event.
        path: of a bare `@path` with a fixed text, so that the value is the event's own; else None.
        value: that was compiled.
    """

    read: Read
    sources: tuple[FieldPath, ...]
    reads_whole_event: bool
    name: str | None
    is_constant: bool
    path: FieldPath | None
    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and repr(self.value) == repr(other.value)  # 1 is not true

    def __hash__(self) -> int:
        return hash(repr(self.value))

    def __reduce__(self) -> tuple[Callable[[Any], Expression], tuple[Any]]:
        return _compiled_again, (self.value,)


class _Sources(Struct):
    """Collect what of the event an expression may read."""

    paths: dict[tuple[PathStep, ...], FieldPath] = {}
    whole: bool = False


class _Scope(Struct, frozen=True):
    """Where in a value the compiler is.

    Attributes:
        note: takes mistakes.
        sources: of the whole expression.
        keys: that lead here.
        is_of_event: paths read the event; below `@transform` and in the shape of `@arrayPath` they do not.
    """

    note: Note
    sources: _Sources
    keys: Keys = ()
    is_of_event: bool = True

    @property
    def name(self) -> str:
        """The innermost directive around this part."""
        return next(key for key in reversed(self.keys) if type(key) is str and key.startswith("@"))

    def at(self, *keys: str | int) -> _Scope:
        """Return the scope of a part."""
        return _Scope(self.note, self.sources, self.keys + keys, self.is_of_event)

    def of_another_value(self, *keys: str | int) -> _Scope:
        """Return the scope of a part whose paths read another value than the event."""
        return _Scope(self.note, self.sources, self.keys + keys, is_of_event=False)

    def mistake(self, sentence: str, *keys: str | int) -> Read:
        """Note a mistake in a part; what is mistaken gives nothing."""
        self.note(self.keys + keys, sentence)
        return _nothing


class Directive(Struct, frozen=True):
    """One of Segment's directives.

    Attributes:
        argument: what it takes, for people.
        help: what it gives, in one sentence.
        schema: JSON Schema of its argument; values in it refer to VALUE_REFERENCE.
        compile: makes the closure of an argument.
    """

    argument: str
    help: str
    schema: dict[str, Any]
    compile: Callable[[_Scope, Any], Read]


def compile_value(value: Any, note: Note) -> Expression:
    """Compile a value of `set`.

    Args:
        value: as the settings have it: JSON.
        note: is called for every mistake; a mistaken part gives nothing.
    """
    sources = _Sources()
    scope = _Scope(note, sources)
    evaluate = _compile(scope, value)
    paths = tuple(sources.paths.values())
    name = next((key for key in value if key.startswith("@")), None) if is_directive(value) else None
    is_own = name == "@path" and type(value[name]) is str and len(paths) == 1
    return Expression(
        evaluate,
        sources=paths,
        reads_whole_event=sources.whole,
        name=name,
        is_constant=not paths and not sources.whole,
        path=paths[0] if is_own else None,
        value=value,
    )


def _compiled_again(value: Any) -> Expression:
    return compile_value(value, lambda _keys, _sentence: None)


def is_directive(value: Any) -> bool:
    """Tell whether a value is an object with a key that begins with ``@``."""
    return type(value) is dict and any(key.startswith("@") for key in value)


def _compile(scope: _Scope, value: Any) -> Read:
    if len(scope.keys) > MAX_DEPTH:
        return scope.mistake(f"nested on more than {MAX_DEPTH} levels")
    if type(value) is list:
        return _list([_compile(scope.at(index), item) for index, item in enumerate(value)])
    if type(value) is not dict:
        return lambda _fields, _reading: value
    if not is_directive(value):
        return _object([(key, _compile(scope.at(key), inside)) for key, inside in value.items()])
    name, *others = [key for key in value if key.startswith("@")]
    if others:
        return scope.mistake(
            f"{clean(name)} and {clean(others[0])}: a directive stands alone in its object; {_NO_DATA}",
            others[0],
        )
    beside = [key for key in value if key not in (name, METADATA)]
    if beside:
        return scope.mistake(
            f"{clean(beside[0])!r} beside {clean(name)}: a directive stands alone in its object; {_NO_DATA}",
            beside[0],
        )
    if name == "@liquid":
        return scope.mistake(
            "Liquid is not read yet: @template, @case, @if and rows with apply cover most of it", name
        )
    if name not in DIRECTIVES:
        return scope.mistake(f"{clean(name)} is no directive{_remedy_of_unknown(name)}", name)
    return DIRECTIVES[name].compile(scope.at(name), value[name])


def _remedy_of_unknown(name: str) -> str:
    """Say what does what a name of Liquid, SQL, jq or JavaScript stands for, or which name is similar."""
    own_name = folded_key(name.removeprefix("@")[:60])
    if instead := _WRITE_INSTEAD.get(own_name):
        return f"; write {instead}"
    if near := did_you_mean(similar(name, DIRECTIVES, fold=folded_key, most=1, cutoff=0.7)):
        return near
    called = filter_called(own_name)
    return f"; a row with `apply: {called}` does that" if called else f"; {_NO_DATA}"


def _nothing(_fields: Any, _reading: Reading | None) -> Any:
    return MISSING


def _list(items: list[Read]) -> Read:
    def read_list(fields: Any, reading: Reading | None) -> Any:
        values = [item(fields, reading) for item in items]
        return [None if value is MISSING else value for value in values]

    return read_list


def _object(members: list[tuple[str, Read]]) -> Read:
    def read_object(fields: Any, reading: Reading | None) -> Any:
        result = {}
        for key, member in members:
            value = member(fields, reading)
            if value is not MISSING:
                result[key] = value
        return result

    return read_object


def _members(scope: _Scope, argument: Any, required: str, optional: str = "") -> dict[str, Any] | None:
    """Return the object that a directive takes; note its keys that are not known, and those that are missing.

    None, with a note, where it takes another thing.
    """
    name, needed = scope.name, required.split()
    known = [*needed, *optional.split()]
    told = ", ".join(known)
    if type(argument) is not dict or is_directive(argument):
        scope.mistake(f"{name} takes an object with {told}")
        return None
    for key in argument:
        if key not in known:
            near = did_you_mean(similar(key, known, fold=folded_key, most=1, cutoff=0.6))
            scope.mistake(f"{name} has no {clean(key)!r}{near or f', only {told}'}", key)
    for key in needed:
        if key not in argument:
            scope.mistake(f"{name}: {key} is missing")
    return argument


def _member(scope: _Scope, members: dict[str, Any], key: str) -> Read:
    """Compile the value of a key; one that is missing gives nothing."""
    return _compile(scope.at(key), members[key]) if key in members else _nothing


def _flag(scope: _Scope, members: dict[str, Any], key: str, default: bool) -> bool:
    value = members.get(key)
    if value is not None and type(value) is not bool:
        scope.mistake(f"{scope.name}: {key} is true or false", key)
    return default if value is None else bool(value)


# ------------------------------------------------------------------------------------------------ @path, @template


def _path(scope: _Scope, argument: Any) -> Read:
    if type(argument) is str:
        if argument not in _OF_THE_EVENT:
            return _place(scope, argument)
        scope.sources.whole |= scope.is_of_event
        return _whole_event if scope.is_of_event else lambda fields, _reading: fields
    if not is_directive(argument):
        return scope.mistake("@path takes a text or a directive")
    computed, is_of_event = _compile(scope, argument), scope.is_of_event
    scope.sources.whole |= is_of_event

    def read_computed(fields: Any, reading: Reading | None) -> Any:
        path = _read_if(_never, computed, fields, reading)
        if type(path) is not str or len(path) > MAX_COMPUTED_PATH:
            return MISSING
        if path in _OF_THE_EVENT:
            return _whole_event(fields, reading if is_of_event else None)
        place = _computed_place(path)
        return MISSING if place is None else _read_noting(fields, place, reading if is_of_event else None)

    return read_computed


_OF_THE_EVENT: Final = ("", "$.")
"""Paths of the event itself."""


@lru_cache(maxsize=256)
def _computed_place(text: str) -> FieldPath | None:
    try:
        path = parse_source(text)
    except PathError:
        return None
    return None if path.wildcard else path


def _place(scope: _Scope, text: str) -> Read:
    """Compile a path that the settings write out."""
    if pasted := pasted_filters(text):
        name = re.split(r"\W", pasted[1])[0]
        return scope.mistake(f"{scope.name} has no filters, such as {name}; a row with `apply` has")
    try:
        path = parse_source(text)
    except PathError as error:
        return scope.mistake(f"{scope.name}: {error}")
    if path.wildcard:
        return scope.mistake(f"{scope.name}: '.*' is for rows; {text[:-2]!r} is the object itself")
    if scope.is_of_event:
        scope.sources.paths.setdefault(path.steps, path)
    return _reader(path, scope.is_of_event)


def _reader(path: FieldPath, is_of_event: bool) -> Read:
    """Return what `paths.read` does; with a reading, the keys of what is found are noted, if it is of the event."""

    def read_any(fields: Any, reading: Reading | None) -> Any:
        return _read_noting(fields, path, reading if is_of_event else None)

    steps = path.steps
    if steps[0].after == len(steps) <= len(_PLAIN_READERS) and type(steps[0].key) is str:
        return _PLAIN_READERS[len(steps) - 1](steps, read_any)
    return read_any


def _read_one(steps: tuple[PathStep, ...], read_noting: Read) -> Read:
    key = steps[0].key

    def read_one(fields: Any, reading: Reading | None) -> Any:
        if reading is not None:
            return read_noting(fields, reading)
        return fields.get(key, MISSING) if type(fields) is dict else MISSING

    return read_one


def _read_two(steps: tuple[PathStep, ...], read_noting: Read) -> Read:
    first, second = [step.key for step in steps]
    dotted = steps[0].dotted_key

    def read_two(fields: Any, reading: Reading | None) -> Any:
        if reading is not None:
            return read_noting(fields, reading)
        if type(fields) is not dict:
            return MISSING
        if dotted in fields:
            return fields[dotted]
        inside = fields.get(first)
        return inside.get(second, MISSING) if type(inside) is dict else MISSING

    return read_two


def _read_three(steps: tuple[PathStep, ...], read_noting: Read) -> Read:
    first, second, third = [step.key for step in steps]
    dotted, dotted_rest = steps[0].dotted_key, steps[1].dotted_key

    def read_three(fields: Any, reading: Reading | None) -> Any:
        if reading is not None:
            return read_noting(fields, reading)
        if type(fields) is not dict:
            return MISSING
        if dotted in fields:
            return fields[dotted]
        inside = fields.get(first)
        if type(inside) is not dict:
            return MISSING
        if dotted_rest in inside:
            return inside[dotted_rest]
        inside = inside.get(second)
        return inside.get(third, MISSING) if type(inside) is dict else MISSING

    return read_three


_PLAIN_READERS: Final = (_read_one, _read_two, _read_three)
"""For paths of one, two and three names, which are nearly all: a third of the time of `paths.read`."""


def _read_noting(value: Any, path: FieldPath, reading: Reading | None) -> Any:
    """Read a path; the keys of what is there go to the reading, if there is one."""
    if reading is None:
        return read(value, path)
    keys: list[str | int] = []
    found = read(value, path, keys)
    if found is not MISSING:
        reading.keys.append(tuple(keys))
    return found


def _read_if(flows: Callable[[Any], bool], evaluate: Read, fields: Any, reading: Reading | None) -> Any:
    """Evaluate a part; its branches are noted, and its keys only where its value flows into the result."""
    if reading is None:
        return evaluate(fields, None)
    mark = len(reading.keys)
    value = evaluate(fields, reading)
    if not flows(value):
        del reading.keys[mark:]
    return value


def _never(_value: Any) -> bool:
    return False


def _whole_event(fields: Any, reading: Reading | None) -> Any:
    if reading is not None:
        reading.keys.append(())
    return fields


_PLACEHOLDER: Final = re.compile(r"\{\{\{([^}]+)\}\}\}|\{\{([^}]+)\}\}|\{\{")


def _template(scope: _Scope, argument: Any) -> Read:
    if type(argument) is not str:
        # To YAML, {{…}} without quotes is an object.
        remedy = "; put it in quotes" if type(argument) is dict else _quotes(argument)
        return scope.mistake(f"@template takes a text{remedy}")
    parts: list[tuple[str, Read]] = []
    end = 0
    for match in _PLACEHOLDER.finditer(argument):
        if match.lastindex is None:
            return scope.mistake(
                "@template: {{ begins a path such as {{event}}, and one is not closed or empty"
            )
        text = (match[1] or match[2]).strip()
        parts.append((argument[end : match.start()], _place(scope, text)))
        end = match.end()
    tail = argument[end:]
    if not parts:
        return lambda _fields, _reading: tail

    def fill(fields: Any, reading: Reading | None) -> Any:
        result = ""
        for before, find in parts:
            value = find(fields, reading)
            if type(value) is not str:
                text = _javascript_text(value)
                if text is None:
                    return value
                value = text
            result += before + value
        return result + tail

    return fill


def _javascript_text(value: Any, levels: int = MAX_LEVELS) -> str | None:
    """Return what JavaScript makes of a value that stands in a text; None where it has no text here."""
    if value is None or value is MISSING:
        return ""
    if value is True or value is False:
        return "true" if value else "false"
    if type(value) is dict:
        return "[object Object]"
    if type(value) is not list:
        return text_of(value)
    if not levels:
        return None
    texts = [item if type(item) is str else _javascript_text(item, levels - 1) for item in value]
    return None if None in texts else ",".join(texts)  # type: ignore[arg-type]  # mypy does not see that none is None


# ------------------------------------------------------------------------------------------------------ @if and texts


def _if(scope: _Scope, argument: Any) -> Read:
    members = _members(scope, argument, "", "exists blank then else")
    if members is None:
        return _nothing
    asked = [key for key in ("exists", "blank") if key in members]
    if len(asked) != 1:
        scope.mistake("@if takes exists or blank, not both" if asked else "@if: exists or blank is missing")
    conditions = [_member(scope, members, key) for key in asked]
    condition = conditions[0] if conditions else _nothing
    # In spite of its name, `blank` holds for a value that is not blank, as at Segment.
    fails = _is_blank if asked == ["blank"] else _is_null
    then = _member(scope, members, "then")
    # Segment drops an `else` that JavaScript takes for false, and keeps such a `then`.
    otherwise = _nothing if _is_falsy(members.get("else")) else _member(scope, members, "else")

    def choose(fields: Any, reading: Reading | None) -> Any:
        value = _read_if(_never, condition, fields, reading)
        branch, evaluate = ("else", otherwise) if fails(value) else ("then", then)
        if reading is not None:
            reading.branches.append(branch)
        return evaluate(fields, reading)

    return choose


def _is_null(value: Any) -> bool:
    return value is None or value is MISSING


def _is_falsy(value: Any) -> bool:
    return value is None or value is False or value == "" or (type(value) in (int, float) and value == 0)


def _is_blank(value: Any) -> bool:
    """Tell whether JavaScript has a value equal to ''; a list with an empty text is, such as [] and [null]."""
    if type(value) is list:
        return _javascript_text(value) == ""
    return value is MISSING or _is_falsy(value)


def _case(scope: _Scope, argument: Any) -> Read:
    members = _members(scope, argument, "value", "operator")
    if members is None:
        return _nothing
    operator = members.get("operator")
    if operator not in ("lower", "upper"):
        scope.mistake("@case: operator is lower or upper", *(["operator"] if "operator" in members else []))
    value = _member(scope, members, "value")
    change = str.upper if operator == "upper" else str.lower

    def read_case(fields: Any, reading: Reading | None) -> Any:
        text = value(fields, reading)
        return change(text) if type(text) is str else text

    return read_case


def _replace(scope: _Scope, argument: Any) -> Read:
    members = _members(
        scope, argument, "pattern value", "replacement pattern2 replacement2 ignorecase global"
    )
    if members is None:
        return _nothing
    pairs = [
        (_limited(scope, members, "pattern", 1), _limited(scope, members, "replacement", 0)),
        (_limited(scope, members, "pattern2", 0), _limited(scope, members, "replacement2", 0)),
    ]
    if members.get("replacement2") and not members.get("pattern2"):
        scope.mistake("@replace: replacement2 needs pattern2", "replacement2")
    is_any_case = _flag(scope, members, "ignorecase", default=False)
    count = 0 if _flag(scope, members, "global", default=True) else 1
    value = _member(scope, members, "value")
    compiled = [
        (
            re.compile(_in_any_case(pattern) if is_any_case else re.escape(pattern)),
            (replacement or "").replace("\\", r"\\"),
        )
        for pattern, replacement in pairs
        if pattern  # Segment's editor writes an empty second one
    ]

    def read_replaced(fields: Any, reading: Reading | None) -> Any:
        found = _read_if(_has_text, value, fields, reading)
        if not _has_text(found):
            return ""
        text = found if type(found) is str else _javascript_text(found)
        if text is None:
            return found
        for pattern, replacement in compiled:
            text = pattern.sub(replacement, text, count)
        return text

    return read_replaced


def _in_any_case(text: str) -> str:
    """Return an expression for a text in upper and lower case, by the rules of JavaScript.

    There, a letter of ASCII and one beyond it are never the same; to Python, an i is also a dotted capital I.
    """
    return "".join(
        f"(?ai:{re.escape(character)})"
        if character.isascii()
        else f"(?![\\x00-\\x7f])(?i:{re.escape(character)})"
        for character in text
    )


def _limited(scope: _Scope, members: dict[str, Any], key: str, shortest: int) -> str | None:
    """Return a text of at most 10 characters; None where there is none."""
    value = members.get(key)
    if value is None and (key != "pattern" or key not in members):
        return None
    if type(value) is str and shortest <= len(value) <= 10:
        return value
    told = f"{shortest} to 10" if shortest else "at most 10"
    scope.mistake(f"@replace: {key} has {told} characters{_quotes(value)}", key)
    return None


def _has_text(value: Any) -> bool:
    return type(value) in (str, bool, int, float)


# ------------------------------------------------------------------------------------------- objects, lists and JSON


def _array_path(scope: _Scope, argument: Any) -> Read:
    if type(argument) is not list or not 1 <= len(argument) <= 2:
        return scope.mistake(
            "@arrayPath takes a list: a path or directive, and a shape where the items change"
        )
    first = argument[0]
    if type(first) is str:
        items = _path(scope.at(0), first)
    elif is_directive(first):
        items = _compile(scope.at(0), first)
    else:
        items = scope.mistake("@arrayPath: the first item is a path or a directive", 0)
    shape = argument[1] if len(argument) == 2 else None
    if shape is not None and type(shape) is not dict:
        scope.mistake("@arrayPath: the shape is an object", 1)
    if type(shape) is not dict or not shape:
        return items
    member = _compile(scope.of_another_value(1), shape)

    def read_items(fields: Any, reading: Reading | None) -> Any:
        found = items(fields, reading)
        if type(found) is dict:
            found = [found]
        if type(found) is not list:
            return found
        values = [member(item, reading) for item in found]
        return [None if value is MISSING else value for value in values]

    return read_items


def _merge(scope: _Scope, argument: Any) -> Read:
    members = _members(scope, argument, "objects", "direction")
    if members is None:
        return _nothing
    direction, written = members.get("direction"), members.get("objects")
    if direction not in ("left", "right"):
        scope.mistake(
            "@merge: direction is right or left", *(["direction"] if "direction" in members else [])
        )
    if type(written) is not list:
        return scope.mistake("@merge: objects is a list", "objects") if "objects" in members else _nothing
    objects = [_compile(scope.at("objects", index), item) for index, item in enumerate(written)]
    if direction == "left":
        objects.reverse()

    def read_merged(fields: Any, reading: Reading | None) -> Any:
        result: dict[str, Any] = {}
        for item in objects:
            value = _read_if(_is_object, item, fields, reading)
            if _is_object(value):
                result.update(value)
        return result

    return read_merged


def _is_object(value: Any) -> bool:
    return type(value) is dict


def _transform(scope: _Scope, argument: Any) -> Read:
    members = _members(scope, argument, "apply mapping")
    if members is None:
        return _nothing
    apply = _member(scope, members, "apply")
    mapping = (
        _compile(scope.of_another_value("mapping"), members["mapping"]) if "mapping" in members else _nothing
    )

    def read_transformed(fields: Any, reading: Reading | None) -> Any:
        return mapping(apply(fields, reading), reading)

    return lambda fields, reading: _read_if(_is_there, read_transformed, fields, reading)


def _is_there(value: Any) -> bool:
    return value is not MISSING


def _flatten(scope: _Scope, argument: Any) -> Read:
    members = _members(scope, argument, "value separator", "omitArrays")
    if members is None:
        return _nothing
    separator = members.get("separator")
    if type(separator) is not str:
        if "separator" in members:
            scope.mistake(f"@flatten: separator is a text{_quotes(separator)}", "separator")
        separator = "."
    opened = (dict,) if _flag(scope, members, "omitArrays", default=False) else (dict, list)
    value = _member(scope, members, "value")

    def read_flat(fields: Any, reading: Reading | None) -> Any:
        found = value(fields, reading)
        if found is MISSING:
            return {}
        return _flat(found, separator, opened) if type(found) in opened else {"": found}

    return read_flat


def _flat(value: Any, separator: str, opened: tuple[type, ...]) -> Any:
    """Return one object with the values inside an object or list; the value itself where its keys were too long."""
    result: dict[str, Any] = {}
    characters = 0
    stack = [("", _entries(value))]
    while stack:
        above, entries = stack[-1]
        for key, inside in entries:
            name = f"{above}{separator}{key}" if above else key
            characters += len(name)
            if characters > MAX_FLAT_CHARACTERS or len(stack) > MAX_LEVELS:
                return value
            if type(inside) in opened:
                stack.append((name, _entries(inside)))
                break
            result[name] = inside
        else:
            stack.pop()
    return result


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield keys and values of an object; of a list, indexes as texts and items."""
    if type(value) is dict:
        yield from value.items()
    else:
        yield from ((str(index), item) for index, item in enumerate(value))


def _exclude_when_null(scope: _Scope, argument: Any) -> Read:
    value = _compile(scope, argument)

    def read_present(fields: Any, reading: Reading | None) -> Any:
        found = _read_if(_is_not_null, value, fields, reading)
        if found is None:
            return MISSING
        return _without_nulls(found, MAX_LEVELS) if type(found) is dict else found

    return read_present


def _is_not_null(value: Any) -> bool:
    return value is not None


def _without_nulls(value: dict[str, Any], levels: int) -> dict[str, Any]:
    """Return a copy without nulls at any level of objects; below the deepest one nothing changes."""
    return {
        key: _without_nulls(inside, levels - 1) if type(inside) is dict and levels else inside
        for key, inside in value.items()
        if inside is not None
    }


def _json(scope: _Scope, argument: Any) -> Read:
    members = _members(scope, argument, "value", "mode")
    if members is None:
        return _nothing
    mode = members.get("mode")
    if mode not in ("encode", "decode"):
        scope.mistake("@json: mode is encode or decode", *(["mode"] if "mode" in members else []))
    value = _member(scope, members, "value")

    def encode(fields: Any, reading: Reading | None) -> Any:
        found = value(fields, reading)
        if found is MISSING:
            return MISSING
        try:
            return json.dumps(_writable(found), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        except ValueError:
            return found

    def decode(fields: Any, reading: Reading | None) -> Any:
        found = value(fields, reading)
        return _decoded(found) if type(found) is str else found

    return encode if mode == "encode" else decode


def _writable(value: Any, levels: int = MAX_LEVELS) -> Any:
    """Return a value with whole floats as integers, as they are in texts and in JavaScript.

    Raises:
        ValueError: it is nested on more levels.
    """
    if type(value) is float:
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if not levels and type(value) in (dict, list):
        raise ValueError("nested too deep")
    if type(value) is dict:
        return {key: _writable(inside, levels - 1) for key, inside in value.items()}
    if type(value) is list:
        return [_writable(item, levels - 1) for item in value]
    return value


def _decoded(text: str) -> Any:
    """Return the JSON that a text holds; the text itself where that is no JSON, too large or nested too deep.

    The strict decoder refuses NaN, numbers out of range, integers that are too long, and lone surrogates.
    """
    if text.count(",") + text.count("[") + text.count("{") > MAX_DECODED_VALUES:
        return text
    try:
        value = strict_json.decode(text)
    except (ValueError, RecursionError):
        return text
    # How deep the decoder goes depends on the caller, and a result does not.
    return value if _is_within(value, MAX_LEVELS) else text


def _is_within(value: Any, levels: int) -> bool:
    """Tell whether objects and lists are nested on no more levels than these."""
    if type(value) is dict:
        value = list(value.values())
    if type(value) is not list:
        return True
    return levels > 0 and all(_is_within(item, levels - 1) for item in value)


def _quotes(value: Any) -> str:
    """Return a remedy for a number or a boolean where a text belongs."""
    return "; put it in quotes" if type(value) in (int, float, bool) else ""


# ------------------------------------------------------------------------------------------------------ the table

VALUE_REFERENCE: Final = {"$ref": "#/$defs/value"}
"""Stands in schemas for a value of `set`, which `value_schema` describes."""

_ALONE: Final = {"propertyNames": {"pattern": f"^(@|{METADATA}$)"}}
_DIRECTIVE: Final = VALUE_REFERENCE | {"type": "object", "minProperties": 1} | _ALONE

_TEXT: Final = {"type": "string"}
_FALSE: Final = {"type": "boolean", "default": False}
_REPLACEMENT: Final = _TEXT | {"maxLength": 10, "default": ""}


def _schema(required: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


DIRECTIVES: Final[dict[str, Directive]] = {
    "@path": Directive(
        "a path, such as `$.properties.email`, or a directive that gives one; `$.` is the event",
        "The value that lies there: nothing where there is none, null where there is null.",
        {"anyOf": [_TEXT, _DIRECTIVE]},
        _path,
    ),
    "@template": Directive(
        "a text with paths in braces, such as `Viewed {{name}} Page`",
        "The text, with the value of each path in its place; missing and null leave it empty.",
        _TEXT,
        _template,
    ),
    "@if": Directive(
        "`exists` or `blank`, `then`, `else`",
        "`then` where `exists` is there and not null, or where `blank` is not blank (null, '', 0, false, []); "
        "otherwise `else`.",
        _schema("", dict.fromkeys(("exists", "blank", "then", "else"), VALUE_REFERENCE))
        | {"oneOf": [{"required": ["exists"]}, {"required": ["blank"]}]},
        _if,
    ),
    "@case": Directive(
        "`operator` (lower or upper), `value`",
        "A text in lower or upper case; any other value unaltered.",
        _schema("operator value", {"operator": {"enum": ["lower", "upper"]}, "value": VALUE_REFERENCE}),
        _case,
    ),
    "@replace": Directive(
        "`pattern`, `replacement`, `pattern2`, `replacement2`, `ignorecase`, `global`, `value`",
        "A text in which one or two plain texts are replaced; '' for null, lists and objects.",
        _schema(
            "pattern value",
            {
                "pattern": _TEXT | {"minLength": 1, "maxLength": 10},
                "replacement": _REPLACEMENT,
                "pattern2": _REPLACEMENT,
                "replacement2": _REPLACEMENT,
                "ignorecase": _FALSE,
                "global": {"type": "boolean", "default": True},
                "value": VALUE_REFERENCE,
            },
        ),
        _replace,
    ),
    "@arrayPath": Directive(
        "a list: a path or a directive, then the shape of an item, whose paths begin at the item",
        "The list that lies there, each of its items put into the shape.",
        {
            "type": "array",
            "prefixItems": [
                {"anyOf": [_TEXT, _DIRECTIVE]},
                VALUE_REFERENCE | {"type": "object"},
            ],
            "minItems": 1,
            "maxItems": 2,
        },
        _array_path,
    ),
    "@literal": Directive("any value", "The value itself, resolved.", VALUE_REFERENCE, _compile),
    "@merge": Directive(
        "`objects` (a list), `direction` (right or left)",
        "One object with the keys of all; of equal keys the rightmost or the leftmost counts.",
        _schema(
            "objects direction",
            {
                "objects": {"type": "array", "items": VALUE_REFERENCE},
                "direction": {"enum": ["right", "left"]},
            },
        ),
        _merge,
    ),
    "@transform": Directive(
        "`apply`, `mapping`",
        "The mapping, whose paths begin at the result of `apply`.",
        _schema("apply mapping", dict.fromkeys(("apply", "mapping"), VALUE_REFERENCE)),
        _transform,
    ),
    "@flatten": Directive(
        "`value`, `separator`, `omitArrays`",
        "One object without objects inside; its keys are joined by the separator.",
        _schema(
            "value separator",
            {"value": VALUE_REFERENCE, "separator": _TEXT, "omitArrays": _FALSE},
        ),
        _flatten,
    ),
    "@json": Directive(
        "`mode` (encode or decode), `value`",
        "The value as JSON text, or what a JSON text holds; a text that is no JSON stays as it is.",
        _schema("mode value", {"mode": {"enum": ["encode", "decode"]}, "value": VALUE_REFERENCE}),
        _json,
    ),
    "@excludeWhenNull": Directive(
        "any value",
        "Nothing where the value is null, else the value without the nulls in its objects.",
        VALUE_REFERENCE,
        _exclude_when_null,
    ),
}
"""Name -> what it takes and gives; the reference page, JSON Schema and suggestions are made of this."""


def value_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a value, to stand where VALUE_REFERENCE points."""
    described = {
        name: {"description": f"{directive.help} Takes {directive.argument}.", "allOf": [directive.schema]}
        for name, directive in DIRECTIVES.items()
    }
    return {
        "items": VALUE_REFERENCE,
        "properties": described,
        "patternProperties": {"^(?!@)": VALUE_REFERENCE},
        "additionalProperties": False,
        "if": {"not": {"propertyNames": {"pattern": "^(?!@)"}}},
        "then": _ALONE | {"oneOf": [{"required": [name]} for name in DIRECTIVES]},
    }
