"""Makes Settings of the tree of a settings file. A mistake is noted at its place, and the reading goes on."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, ParamSpec, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from voucherify_sync.events import ORDERS, SECTION_TYPES, Kind
from voucherify_sync.expressions.conditions import ConditionError, parse_condition
from voucherify_sync.expressions.directives import Expression, compile_value, is_directive
from voucherify_sync.expressions.row_filters import FilterError, parse_filters, pasted_filters
from voucherify_sync.expressions.set_entries import Note, below, constants, set_entries
from voucherify_sync.field_types import (
    BLANK,
    BLANK_ID,
    IDS,
    NOT_A_DATE,
    NOT_A_LIST,
    NOT_A_NUMBER,
    NOT_A_STATUS,
    NOT_AN_OBJECT,
    NOT_TEXT,
    TOO_LONG,
    reason_of_misfit,
)
from voucherify_sync.fields import MAX_EVENT_NAME, ORDER_STATUSES
from voucherify_sync.paths import (
    HOLDERS,
    MISSING,
    FieldPath,
    Keys,
    PathError,
    check_row,
    destination_parser,
    parse_source,
    path_of,
)
from voucherify_sync.settings.environment import check_references, clean_url, clean_version, interpolate
from voucherify_sync.settings.segment import doubt_of_source, foreign_kind
from voucherify_sync.settings.types import (
    ENTRIES,
    KEEP,
    PERIODS_S,
    SECTIONS,
    Api,
    Rate,
    Rows,
    RowTarget,
    Secret,
    Setting,
    Settings,
    TrackEntry,
    all_settings,
    settings_of,
)
from voucherify_sync.settings.yaml_nodes import Mistake, Problems, YamlNode, shown
from voucherify_sync.text import did_you_mean, either

TESTS: Final = "tests"
"""The key beside the sections that holds a list: the mapping tests."""

_MAX_PATH: Final = 500
_MAX_DIGITS: Final = 15
_LIKE_FLAGS: Final = dict.fromkeys(("yes", "on", "y", "1", "true"), "true") | dict.fromkeys(
    ("no", "off", "n", "0", "false"), "false"
)
_LIKE_STATUSES: Final = {"cancelled": "CANCELED", "refunded": "CANCELED", "completed": "PAID"} | {KEEP: KEEP}
_SENT_AS: Final = {
    Kind.CUSTOMER: "{} events as customer updates",
    Kind.EVENT: "{} events as custom events, a call each",
    Kind.ORDER: "order events as orders",
}
_UNITS: Final = {"second": "s", "sec": "s", "m": "min", "minute": "min", "hour": "h", "hr": "h"}
_BARE_VARIABLE: Final = re.compile(r"\$[A-Za-z_][A-Za-z0-9_]*|%[A-Za-z_][A-Za-z0-9_]*%")
_ALSO_CALLED: Final = (
    dict.fromkeys(("appid", "applicationid", "xappid"), "api.key")
    | dict.fromkeys(("secret", "secretkey", "apptoken", "xapptoken", "password"), "api.token")
    | dict.fromkeys(("region", "host", "baseurl", "apiurl", "endpoint"), "api.url")
    | dict.fromkeys(("bulk", "mode"), "delivery.customers")
)
"""Names without case and separators that people give to settings -> the setting."""
_JOINED: Final = re.compile(r"[,;+|&]\s*(\$\.)?(customer|metadata|traits|properties|context)\.")
_EVENT_PATH: Final = re.compile(r"(\$\.)?(traits|properties|context)\b")
_LIKE_PATH: Final = re.compile(r"\$\.[A-Za-z_]\S*|(traits|properties|context)\.[A-Za-z_]\S*")
_LIKE_TEMPLATE: Final = re.compile(r"\{\{[^{}]+\}\}")
_TAKE_TEXT: Final = frozenset(
    {"@path", "@literal", "operator", "pattern", "pattern2", "replacement", "replacement2"}
)
"""Keys, of and in directives, of texts that are no values to send."""
_ROW_KEYS: Final = frozenset({"to", "or", "apply"})
_HOLDER_TEXTS: Final = frozenset(path_of(*keys) for keys in HOLDERS)
_ADDS_NOTHING: Final = {"set": "sets nothing", "add": "adds nothing"}
_MISFITS: Final = {
    NOT_TEXT: "a text or a number belongs here; true, false, lists and objects are never sent",
    BLANK: "a blank text is never sent; leave the entry out",
    BLANK_ID: "a blank id names nobody and is never sent; leave the entry out",
    NOT_A_DATE: "this is no date of the calendar, and never sent; write one such as 1990-05-31",
    NOT_AN_OBJECT: "an object belongs here; anything else is never sent",
    NOT_A_NUMBER: "an amount is a number of at least 0, in the units of the archive",
    NOT_A_STATUS: f"a status is one of {', '.join(ORDER_STATUSES)}",
    NOT_A_LIST: "a list of objects belongs here; anything else is never sent",
    TOO_LONG: f"a name of more than {MAX_EVENT_NAME} characters, which Voucherify does not take",
}
"""Why a value never arrives -> what to do."""
_GIVES: Final[dict[str | None, Any]] = {
    "@template": "2000-01-31",
    "@replace": "2000-01-31",
    "@merge": {"a": 1},
    "@flatten": {"a": 1},
}
"""Directive that gives values of one type only -> such a value, which fits each field that takes the type."""
_KNOWN_VERSION: Final = "v2018-08-01"
_VERSION: Final = re.compile(r"v[0-9]{4}-[0-9]{2}-[0-9]{2}")
_JSON_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _read_flag(text: str) -> bool:
    """Read true or false; YAML's other words for them are suggested, never taken."""
    if text in ("true", "false"):
        return text == "true"
    flag = _LIKE_FLAGS.get(text.lower())
    raise Mistake("must be true or false" + did_you_mean([flag] if flag else []))


def _read_count(text: str, at_least: int | None, at_most: int | None) -> int:
    """Read a whole number within its bounds."""
    least = f" of at least {at_least}" if at_least is not None else ""
    expected = "must be a whole number" + (f" from {at_least} to {at_most}" if at_most is not None else least)
    if not re.fullmatch(r"-?[0-9]+", text) or len(text) > _MAX_DIGITS:
        digits = re.sub(r"[,_ ]|\.0*$", "", text)
        raise Mistake(expected + did_you_mean([digits] if re.fullmatch(r"[0-9]{1,15}", digits) else []))
    number = int(text)
    if (at_least is not None and number < at_least) or (at_most is not None and number > at_most):
        raise Mistake(expected)
    return number


def _read_share(text: str) -> float:
    """Read a share of a whole, such as 10% or 0.1; from 0 to below 1."""
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,15})?) ?(%?)", text)
    number = float(match[1]) if match else math.inf
    if match and match[2] and number < 100:
        return number / 100
    if match and not match[2] and number < 1:
        return number
    suggestions = [f"{text}%"] if match and not match[2] and number < 100 else []
    raise Mistake("must be a share below 100%, such as 10% or 0.1" + did_you_mean(suggestions))


def parse_rate(text: str) -> Rate:
    """Read a rate of calls: 5/s, 90/min or 100/h.

    Raises:
        Mistake: a ValueError whose text says what a rate looks like, with a suggestion where there is one.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,8})/(s|min|h)", text)
    if match:
        return Rate(int(match[1]), PERIODS_S[match[2]])
    suggestions = []
    loose = re.fullmatch(r"\s*([1-9][0-9]{0,8})\s*(?:(?:/|per|an?)?\s*([a-z]+))?\s*", text.lower())
    if loose:
        word = loose[2] or "min"
        units = {**_UNITS, **{unit: unit for unit in PERIODS_S}}
        unit = units.get(word) or units.get(word.removesuffix("s"))
        suggestions = [f"{loose[1]}/{unit}"] if unit else []
    raise Mistake("must be a number of calls per s, min or h, such as 90/min" + did_you_mean(suggestions))


def _read_choice(text: str, choices: Sequence[str]) -> str:
    """Read one of a closed set of words."""
    if text in choices:
        return text
    near = difflib.get_close_matches(text.lower(), choices, n=1)
    raise Mistake(f"must be one of {', '.join(choices)}" + did_you_mean(near))


def is_json_word(text: str) -> bool:
    """Tell whether a constant without quotes is a value of JSON other than a string: 12, true, null."""
    return text in {"null", "true", "false"} or _JSON_NUMBER.fullmatch(text) is not None


def _read_constant(text: str) -> bool | int | float | str | None:
    """Read an unquoted constant as in JSON; what is no JSON value is a string (NO stays NO, 0123 is 0123)."""
    if not is_json_word(text):
        return text
    try:
        value: bool | int | float | None = json.loads(text)
    except ValueError:
        raise Mistake("a number with too many digits; quote it to send it as text") from None
    if isinstance(value, float) and math.isinf(value):
        raise Mistake("a number out of range; quote it to send it as text")
    return value


class NodeReader:
    """Reads nodes of one file: what it refuses is noted at the node's place, and None stands for the value.

    Args:
        problems: takes the mistakes.
        environment: where `${VAR}` is looked up.
    """

    def __init__(self, problems: Problems, environment: Mapping[str, str]) -> None:
        self._problems = problems
        self._environment = environment

    def constant(self, node: YamlNode, path: str) -> Any:
        """Return a value as in JSON: unquoted null, true, false and numbers are what they are there."""
        if node.items is not None:
            return [self.constant(item, path) for item in node.items]
        if node.pairs is not None:
            return {name: self.constant(value, path) for name, (_, value) in node.pairs.items()}
        if node.is_null:
            return None
        text = self.tried(node, path, self.text, node)
        if (
            text is not None and node.plain and text == node.text
        ):  # what a variable holds is text, whatever it looks like
            return self.tried(node, path, _read_constant, text)
        return text

    def text(self, node: YamlNode) -> str:
        """Return the text of a scalar with its variables put in; anything else is a Mistake."""
        return interpolate(one_value(node), self._environment)

    def tried(
        self, node: YamlNode, path: str, read: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> _T | None:
        """Return what `read` gives; note what it refuses, at the node's place, and return None."""
        if not node.is_noted:
            try:
                return read(*args, **kwargs)
            except (Mistake, PathError) as mistake:
                self._problems.add(node.place, path, str(mistake))
        return None

    def pairs(self, node: YamlNode | None, path: str, expected: str) -> dict[str, tuple[YamlNode, YamlNode]]:
        """Return the pairs of a node; what holds something else is a mistake, what is null holds none."""
        if node is None or node.pairs is None:
            if node is not None and not node.is_null and not node.is_noted:
                self._problems.add(node.place, path, f"must hold {expected}{_hint_at_pairs(node)}")
            return {}
        return node.pairs


def _hint_at_pairs(node: YamlNode) -> str:
    """Return what makes pairs of a node that has none."""
    if node.items:
        return ", not a list" + ("; leave the `- ` out" if node.items[0].pairs else "")
    if node.plain and (node.text or "").lower() in ("false", "no", "off", "disabled"):
        return "; `disabled: true` switches off what can be"
    is_unspaced = node.plain and re.match(r"[^\s:]+:\S", node.text or "")
    return "; write a space after the colon" if is_unspaced else ""


def one_value(node: YamlNode) -> str:
    """Return the text of a node that must be one value, with its variables as they are written."""
    if node.text is None:
        raise Mistake(
            "must be one value, not " + ("a list" if node.items is not None else "`name: value` lines")
        )
    return node.text


class SettingsReader(NodeReader):
    """Reads the sections of one file."""

    def settings(self, root: YamlNode | None) -> Settings:
        """Return the settings of a tree; they count only if no problem was added."""
        found: dict[str, Any] = {}
        if root is not None and (kind := foreign_kind(root)):
            self._problems.replace_all(root.place, kind)
            return Settings()
        for name, (key, node) in self.pairs(root, "", "sections such as `identify:`").items():
            if name in SECTIONS:
                found[name] = self._section(node, name)
                self._doubt_unused(key, node, found[name])
            elif name != TESTS:  # mapping tests shape no request: `load_with_tests` reads them
                self._note_unknown(key, "")
        return Settings(**found)

    def _doubt_unused(self, key: YamlNode, node: YamlNode, section: Any) -> None:
        """Note settings of a section that is off by default, unless `disabled` says that this is meant."""
        says_so = "disabled" in (node.pairs or {})
        if getattr(section, "disabled", False) and not says_so and section != type(section)():
            name = key.text or ""
            self._problems.doubt(
                key.place,
                name,
                f"these settings have no effect, because {name}.disabled is true where it is not given; "
                f"{name}.disabled: false sends {_SENT_AS[SECTION_TYPES[name].kind].format(name)}",
            )

    def _section(self, node: YamlNode, section: str, kind: type[Struct] | None = None) -> Any:
        known = _settings_in(section)
        nodes: dict[str, YamlNode] = {}
        for name, (key, value) in self.pairs(node, section, "`name: value` lines").items():
            if name not in known:
                self._note_unknown(key, section)
            elif not value.is_null:
                nodes[name] = value
        found = {name: self._value(value, known[name]) for name, value in nodes.items()}
        if found.get("url") is not None:
            found["url"] = self.tried(nodes["url"], "api.url", clean_url, found["url"])
        if version := found.get("version"):
            found["version"] = self._version(nodes["version"], version)
        if found.get("nulls") != "clear":
            for name in {"set", "add"} & nodes.keys():
                self._note_null_constants(nodes[name], known[name], "", can_clear="nulls" in known)
        if found.get("token_file") and found.get("token", Api().token) != Api().token:
            later = max(nodes["token"].place, nodes["token_file"].place)
            self._problems.add(later, "api", "token and token_file are both given; leave one out")
        cls = kind or SECTIONS[section]
        return cls(**{name: value for name, value in found.items() if value is not None})

    def _note_null_constants(self, node: YamlNode, setting: Setting, above: str, *, can_clear: bool) -> None:
        """Note nulls of `set` or `add`, also of fields in braces below the destination `above`."""
        for name, (_, value) in (node.pairs or {}).items():
            if value.is_null:
                remedy = "; to erase the field, set nulls: clear" if can_clear else ""
                message = (
                    f"{shown(above + name)} has no value, and null {_ADDS_NOTHING[setting.name]}{remedy}"
                )
                self._problems.add(value.place, setting.path, message)
            elif f"{above}{name}" in _HOLDER_TEXTS:
                self._note_null_constants(value, setting, f"{above}{name}.", can_clear=can_clear)

    def _version(self, node: YamlNode, text: str) -> str:
        version = clean_version(text)
        if version != "latest" and not _VERSION.fullmatch(version):
            self._problems.doubt(
                node.place, "api.version", f"Voucherify knows {_KNOWN_VERSION}, or write latest"
            )
        return version

    def _note_unknown(self, key: YamlNode, section: str) -> None:
        name = key.text or ""
        path = f"{section}.{shown(name)}" if section else shown(name)
        why = "no such setting" if self._problems.are_many else _why_unknown(section, name)
        self._problems.add(key.place, path, why)

    def _value(self, node: YamlNode, setting: Setting) -> Any:
        path, kind = setting.path, setting.type
        if kind == list[str]:
            items = [node] if node.items is None else node.items
            if "," in (node.text or ""):
                self._problems.doubt(node.place, path, "this is one name; several are a list: [A, B]")
            return [self.tried(item, path, self._name, item) for item in items]
        if kind == Rows:
            return self._rows(node, setting)
        if kind == dict[str, TrackEntry]:
            return self._entries(node, path)
        if kind == dict[str, str]:
            return self._statuses(node, path)
        if kind == dict[str, Any]:
            return self._values(node, setting)
        if setting.name == "where":
            return self.tried(node, path, self._where, node, setting)
        return self.tried(node, path, self._one, node, setting)

    def _values(self, node: YamlNode, setting: Setting) -> dict[str, Any]:
        """Read `set` or `add`."""
        path = setting.path
        pairs = self.pairs(node, path, "`destination: value` lines")
        given = {name: self.constant(value, path) for name, (_, value) in pairs.items()}
        known = {
            name
            for name, (key, _) in pairs.items()
            if self.tried(key, path, self._destination, name, setting.section) is not None
        }
        self._doubt_texts(node, given, path)
        if setting.name == "set":
            self._check_set(node, given, known, setting)
            return given
        self._doubt_directives(node, given, path)
        return self._constants(node, {name: given[name] for name in given if name in known}, setting)

    def _statuses(self, node: YamlNode, path: str) -> dict[str, str]:
        """Read which names of events are orders, and the status that each gives."""
        found = {}
        for name, (key, value) in self.pairs(node, path, "`name of an event: status` lines").items():
            if not name.strip():
                self._problems.add(key.place, path, "a name is missing")
            status = self.tried(value, path, self._status, value)
            if status is not None:
                found[name] = status
        return found

    def _status(self, node: YamlNode) -> str:
        text = self.text(node)
        if text in (*ORDER_STATUSES, KEEP):
            return text
        meant = _LIKE_STATUSES.get(text.lower(), text.upper())
        suggestions = [meant] if meant in (*ORDER_STATUSES, KEEP) else []
        raise Mistake(f"must be one of {', '.join(ORDER_STATUSES)}, {KEEP}" + did_you_mean(suggestions))

    def _entries(self, node: YamlNode, path: str) -> dict[str, TrackEntry]:
        """Read the settings of single event names."""
        entries = {}
        for name, (key, value) in self.pairs(node, path, "names of events, each with settings").items():
            section = f"{path}.{shown(name)}"
            if not name.strip():
                self._problems.add(key.place, path, "a name is missing")
            entries[name] = self._section(value, section, TrackEntry)
        return entries

    def _check_set(self, node: YamlNode, given: dict[str, Any], known: set[str], setting: Setting) -> None:
        """Note the mistakes of values, each at its own place, and what they read that no event has.

        Args:
            node: of the setting.
            given: what it holds.
            known: destinations that are no mistake.
            setting: which.
        """
        note = self._note_at(node, setting)
        for destination, value in given.items():
            if destination not in known:
                expressions = [compile_value(value, below((destination,), note))]
            else:
                entries = set_entries({destination: value}, note, destination_parser(setting.section))
                for entry in entries:
                    made = entry.expression
                    self._check_value(
                        _node_at(node, entry.keys),
                        entry.destination,
                        _known_value(made),
                        setting,
                        is_constant=made.is_constant,
                    )
                expressions = [entry.expression for entry in entries]
            for expression in expressions:
                self._doubt_sources(_node_at(node, (destination,)), expression.sources, setting)

    def _constants(self, node: YamlNode, given: dict[str, Any], setting: Setting) -> dict[str, Any]:
        """Return constants by their destinations, those in braces, too; note what can never be sent."""
        note, found = self._note_at(node, setting), dict[str, Any]()
        for keys, destination, value in constants(given, note, destination_parser(setting.section)):
            self._check_value(_node_at(node, keys), destination, value, setting, is_constant=True)
            found[destination.text] = value
        return found

    def _check_value(
        self, node: YamlNode, destination: FieldPath, value: Any, setting: Setting, *, is_constant: bool
    ) -> None:
        """Note a value that its destination never takes, and an id that would join all people into one."""
        *above, field = destination.keys
        if reason := reason_of_misfit(destination.keys, value):
            self._problems.add(node.place, setting.path, f"{destination.text}: {_MISFITS[reason]}")
        elif is_constant and value is not None and above == ["customer"] and field in IDS:
            message = f"{destination.text} is the same for all events, so all of them go to one customer"
            self._problems.doubt(node.place, setting.path, message)
        elif is_constant and value is not None and destination.keys == ("source_id",):
            message = "source_id is the same for all events, so all of them become one order"
            self._problems.doubt(node.place, setting.path, message)

    def _note_at(self, node: YamlNode, setting: Setting) -> Note:
        """Return what notes a mistake at the place in a setting to which keys lead."""
        return lambda keys, message: self._problems.add(_node_at(node, keys).place, setting.path, message)

    def _doubt_sources(self, node: YamlNode, sources: Iterable[FieldPath], setting: Setting) -> None:
        """Note what is read that no event of the type has; not where something else may stand in for it."""
        type_ = SECTION_TYPES[_type_of(setting.section)]
        doubts = {source: doubt_of_source(source, type_) for source in sources if source.keys}
        for source, doubt in doubts.items():
            if doubt and (all(doubts.values()) or str(source.keys[0]) not in ("traits", "properties")):
                self._problems.doubt(node.place, setting.path, f"{source.text!r}: {doubt}")

    def _doubt_directives(self, node: YamlNode, given: dict[str, Any], path: str) -> None:
        for destination, value in given.items():
            if is_directive(value):
                message = f"{next(iter(value))} is sent as it stands here: add takes constants, set takes directives"
                self._problems.doubt(_node_at(node, (destination,)).place, path, message)

    def _doubt_texts(self, node: YamlNode, given: dict[str, Any], path: str) -> None:
        """Note texts that look like a path or a template, but stand for themselves."""
        for keys, text in _own_texts(given):
            name = None
            if _LIKE_PATH.fullmatch(text):
                name = "@path"
            elif _LIKE_TEMPLATE.search(text):
                name = "@template"
            if name:
                where = "" if path.endswith(".set") else " below set"
                message = f'a text, taken as it stands; to read the event, write {{"{name}": …}}{where}'
                self._problems.doubt(_node_at(node, keys).place, path, message)

    def _where(self, node: YamlNode, setting: Setting) -> str | None:
        text = self.text(node)
        if not text.strip():
            return None
        try:
            condition = parse_condition(text)
        except ConditionError as error:
            raise Mistake(f"column {error.column} of the condition: {error}") from None
        self._doubt_sources(node, condition.sources, setting)
        section = _type_of(setting.section)
        for doubt in condition.doubts("track" if section == ORDERS.name else section):
            self._problems.doubt(node.place, setting.path, doubt)
        return text

    def _one(self, node: YamlNode, setting: Setting) -> Any:
        """Read a setting of one value; None stands for the default, which an empty text of any kind is."""
        if setting.type is Secret:  # its variables are looked up when a call is made
            check_references(one_value(node))
            if _BARE_VARIABLE.fullmatch(one_value(node)):
                raise Mistake("the name of a variable stands in ${…}, such as ${VOUCHERIFY_API_KEY}")
            return Secret(one_value(node))
        text = self.text(node)
        if setting.name == "rename":
            return _new_name(text)
        if setting.type is str and not text.strip():
            return None
        if setting.choices:
            return _read_choice(text, setting.choices)
        if setting.type is int:
            return _read_count(text, *setting.bounds)
        readers: dict[Any, Callable[[str], Any]] = {bool: _read_flag, float: _read_share, Rate: parse_rate}
        return readers.get(setting.type, str)(text)

    def _name(self, node: YamlNode) -> str:
        text = self.text(node)
        if not text.strip():
            raise Mistake("a name is missing")
        return text

    def _rows(self, node: YamlNode, setting: Setting) -> dict[str, Any]:
        rows: dict[str, Any] = {}
        path, section = setting.path, setting.section
        for name, (key, value) in self.pairs(node, path, "`source: destination` rows").items():
            source = self.tried(key, path, _source, name, value)
            if value.pairs is not None and (not value.pairs or _ROW_KEYS & value.pairs.keys()):
                rows[name] = self._row_target(value, source, setting)
                continue
            targets = value.items or [value]
            if source is not None:
                self._doubt_row(key, source, targets, setting)
            rows[name] = [self.tried(each, path, self._target, each, source, section) for each in targets]
        return rows

    def _doubt_row(
        self, key: YamlNode, source: FieldPath, targets: Sequence[YamlNode], setting: Setting
    ) -> None:
        """Note where a row is likely to be meant otherwise."""
        is_turned = any(_EVENT_PATH.match(each.text or "") for each in targets)  # which is a mistake
        type_ = SECTION_TYPES[_type_of(setting.section)]
        doubt = None if is_turned else doubt_of_source(source, type_)
        if re.fullmatch(r"[^\"'\[]*\|[^\"'\[]*", source.text):
            doubt = "this is one path; filters stand below `apply`, such as {to: …, apply: strip}"
        if _JOINED.search(source.text):
            doubt = (
                'this is one path; an entry of `set` joins values: {"@template": "{{traits.a}} {{traits.b}}"}'
            )
        if doubt:
            self._problems.doubt(key.place, setting.path, f"{source.text!r}: {doubt}")
        for each in targets:
            if _JOINED.search(each.text or ""):
                message = "this is one path; several are a list, such as [customer.name, metadata.name]"
                self._problems.doubt(each.place, setting.path, message)

    def _row_target(self, node: YamlNode, source: FieldPath | None, setting: Setting) -> RowTarget:
        """Read a row that says more than its destinations."""
        path, nodes = setting.path, dict[str, YamlNode]()
        for name, (key, value) in (node.pairs or {}).items():
            if name not in _ROW_KEYS:
                near = difflib.get_close_matches(name[:60].lower(), sorted(_ROW_KEYS), n=1)
                self._problems.add(
                    key.place, path, f"a row has to, or and apply, not {shown(name)}{did_you_mean(near)}"
                )
            elif not value.is_null:
                nodes[name] = value
        if "to" not in nodes:
            self._problems.add(node.place, path, "a row needs `to`, its destination")
        targets = nodes["to"].items or [nodes["to"]] if "to" in nodes else []
        if source is not None:
            self._doubt_row(node, source, targets, setting)
        others = nodes["or"].items or [nodes["or"]] if "or" in nodes else []
        to = [self.tried(each, path, self._target, each, source, setting.section) for each in targets]
        or_ = [self.tried(each, path, self._other_source, each, setting) for each in others]
        apply = None
        if "apply" in nodes:
            apply = self.tried(
                nodes["apply"], path, self._filters, nodes["apply"], source, to, setting.section
            )
        return RowTarget(list(filter(None, to)), list(filter(None, or_)), apply)

    def _other_source(self, node: YamlNode, setting: Setting) -> str:
        text = self.text(node)
        if pasted := pasted_filters(text):
            raise Mistake(
                f"{text!r}: filters stand below `apply`, for all sources of a row: {_apply(pasted[1])}"
            )
        source = _parse(parse_source, text)
        if source.wildcard:
            raise Mistake(f"{text!r}: a wildcard has no `or`")
        self._doubt_row(node, source, [], setting)
        return text

    def _filters(
        self, node: YamlNode, source: FieldPath | None, to: Sequence[str | None], section: str
    ) -> str:
        if node.items is not None:
            raise Mistake("apply is one text, not a list; write its filters with | between: strip | downcase")
        text = self.text(node)
        try:
            parse_filters(text)
        except FilterError as error:
            raise Mistake(f"apply, column {error.column}: {error}") from None
        if source is not None and source.wildcard:
            raise Mistake(
                f"{source.text!r} stands for many values, so it has no `apply`; write a row for each"
            )
        if objects := [each for each in to if each and destination_parser(section)(each).keys in HOLDERS]:
            raise Mistake(
                f"{objects[0]!r} takes an object, so the row has no `apply`; write a row for each key"
            )
        return text

    def _target(self, node: YamlNode, source: FieldPath | None, section: str) -> str:
        if node.is_null or node.items == []:
            raise Mistake("a destination is missing")
        if node.pairs:
            example = (
                f", such as `{source.text}.{shown(next(iter(node.pairs)))}: …`" if source is not None else ""
            )
            raise Mistake(
                f"a row goes to one destination or to a list of them; write a row for each key{example}"
            )
        text = self.text(node)
        if source is not None and _EVENT_PATH.match(text):
            raise Mistake(f"a row is `source: destination`; did you mean `{text}: {source.text}`?")
        destination = self._destination(text, section)
        if source is not None:
            check_row(source, destination)
        return text

    def _destination(self, text: str, section: str) -> FieldPath:
        """Parse a place in a request, and refuse what the requests of a section do not have."""
        if pasted := pasted_filters(text):
            place, filters = pasted
            raise Mistake(f"{text!r}: filters stand in a row, `source: {{to: {place}, {_apply(filters)}}}`")
        destination = _parse(destination_parser(section), text)
        part, *below = destination.keys
        if SECTION_TYPES[_type_of(section)].kind is Kind.CUSTOMER and part != "customer":
            meant = path_of("customer", part, *below) + (".*" if destination.wildcard else "")
            advice = (
                did_you_mean([meant])
                if part == "metadata"
                else "; only a custom event has, so it belongs to track"
            )
            raise Mistake(f"{text!r}: a customer update has no {part}{advice}")
        return destination


def _type_of(section: str) -> str:
    """Return the type of the events of a section: those of an entry of `track.events` are track events."""
    return section.partition(".")[0]


def _settings_in(section: str) -> dict[str, Setting]:
    """Return the settings of a section; those of an entry of `track.events` are under its name."""
    if not section.startswith(f"{ENTRIES}."):
        return settings_of(section)
    return {name: replace(setting, section=section) for name, setting in settings_of(ENTRIES).items()}


def _node_at(node: YamlNode, keys: Keys) -> YamlNode:
    """Return the node to which keys lead, or the last one on the way that there is."""
    for key in keys:
        if isinstance(key, int) and node.items is not None and key < len(node.items):
            node = node.items[key]
        elif node.pairs is not None and str(key) in node.pairs:
            node = node.pairs[str(key)][1]
        else:
            break
    return node


def _known_value(expression: Expression) -> Any:
    """Return what an expression gives as far as that is the same for all events, such as its type; else None."""
    if not is_directive(expression.value):
        return expression.value
    if not expression.is_constant:
        return _GIVES.get(expression.name)
    value = expression.read({}, None)
    return None if value is MISSING else value


def _own_texts(value: Any, keys: Keys = ()) -> Iterator[tuple[Keys, str]]:
    """Yield the texts of `set` or `add` that stand for themselves, each with the keys that lead to it."""
    if isinstance(value, dict):
        for key, inside in value.items():
            if isinstance(inside, str) and (key in _TAKE_TEXT or (key == "@template" and "{{" in inside)):
                continue
            path_of_list = (*keys, key, 0) if key == "@arrayPath" else None
            yield from (found for found in _own_texts(inside, (*keys, key)) if found[0] != path_of_list)
    elif isinstance(value, list):
        for index, inside in enumerate(value):
            yield from _own_texts(inside, (*keys, index))
    elif isinstance(value, str):
        yield keys, value


def _parse(parser: Callable[[str], FieldPath], text: str) -> FieldPath:
    if len(text) > _MAX_PATH:
        raise Mistake(f"a path of more than {_MAX_PATH} characters")
    return parser(text)


def _new_name(text: str) -> str:
    """Check the name that an entry of `track.events` gives its events."""
    if not text.strip():
        raise Mistake("a name is missing; leave rename out to send each event by its own name")
    if "*" in text:
        raise Mistake(
            "a * stands for no part of the event's name here; write the name out, or make it with set: event. "
            "Where the * is meant, write add: {event: …}"
        )
    if len(text) > MAX_EVENT_NAME:
        raise Mistake(_MISFITS[TOO_LONG])
    return text


def _source(text: str, target: YamlNode) -> FieldPath:
    """Parse the source of a row, and refuse filters behind it."""
    if pasted := pasted_filters(text):
        path, filters = pasted
        raise Mistake(
            f"a source has no filters; write `{path}: {{to: {target.text or '…'}, {_apply(filters)}}}`"
        )
    return _parse(parse_source, text)


def _apply(filters: str) -> str:
    """Return filters as they are written below a row."""
    if re.fullmatch(r"[\w |]+", filters):
        return f"apply: {filters}"
    quote = "'" if '"' in filters else '"'
    return f"apply: {quote}{filters}{quote}"


def _why_unknown(section: str, name: str) -> str:
    """Say what an unknown name inside a section may stand for; at the top of the file the section is empty."""
    if not section and name in {setting.path for setting in all_settings()}:
        owner, _, own_name = name.partition(".")
        return f"write `{own_name}:` below `{owner}:`, on a line of its own"
    if _type_of(section) in SECTION_TYPES and _EVENT_PATH.match(name):
        return f"a row belongs below `mapping:`, in {section}"
    if owners := [each for each in SECTIONS if section and name in settings_of(each)]:
        owners = difflib.get_close_matches(section, owners, n=1, cutoff=0.7) or owners
        return f"no such setting here; {name} belongs to {either(owners)}"
    return "no such setting" + did_you_mean(_similar_settings(section, name))


def _similar_settings(section: str, key: str) -> list[str]:
    """Return what an unknown key inside a section may stand for; at the top of the file the section is empty.

    A name without case and separators counts: eventsFilter, events-filter and events_filter are one. Right names in a
    wrong section are found, and Segment's own names, such as trackEventsFilter.
    """

    def squashed(name: str) -> str:
        return re.sub(r"[^a-z0-9]", "", name[:60].lower())

    if section:
        own = {squashed(name): setting.path for name, setting in _settings_in(section).items()}
    else:
        own = {squashed(name): name for name in (*SECTIONS, TESTS)}
    wanted = squashed(key)
    if wanted in own:
        return [own[wanted]]
    if wanted in _ALSO_CALLED:
        return [_ALSO_CALLED[wanted]]
    paths: dict[str, list[str]] = {}
    for setting in all_settings():
        for text in (setting.name, setting.path):
            paths.setdefault(squashed(text), []).append(setting.path)
    near = [own[name] for name in _nearest(wanted, own, 0.6)]
    return (
        paths.get(wanted)
        or near
        or [path for name in _nearest(wanted, paths, 0.8) for path in paths[name]]
        or [
            setting.path for setting in all_settings() if len(wanted) > 3 and wanted in squashed(setting.name)
        ]
    )


def _nearest(wanted: str, names: Iterable[str], cutoff: float) -> list[str]:
    """Return the most similar name; two that are about as similar, such as identify and identity, are both meant."""
    near = difflib.get_close_matches(wanted, names, n=2, cutoff=cutoff)
    ratios = [difflib.SequenceMatcher(None, name, wanted).ratio() for name in near]
    return [name for name, ratio in zip(near, ratios, strict=True) if ratio > ratios[0] - 0.05]
