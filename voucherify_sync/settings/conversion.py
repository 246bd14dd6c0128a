"""Text -> the value of one setting, or a Mistake that says what it takes. Knows no file and no place.

Nodes of a settings file -> values. A mistake is noted at its place, and None stands for the value.

What an unknown key was meant to be: near names, right names in a wrong section, Segment's own names.

The tree of a settings file -> Settings, by the catalog. A mistake is noted, and the walk goes on.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from voucherify_sync.paths import FieldPath, PathError, check_row, parse_destination, parse_source
from voucherify_sync.settings.environment import check_references, clean_url, interpolate
from voucherify_sync.settings.types import (
    PERIODS_S,
    Api,
    Form,
    Rate,
    Secret,
    Section,
    Setting,
    Settings,
    all_settings,
    sections,
)
from voucherify_sync.settings.yaml_nodes import Broken, Items, Mistake, Node, Pairs, Problems, Scalar, shown

_FLAGS = {"true": True, "false": False}
_LIKE_FLAGS = {
    "yes": "true",
    "on": "true",
    "y": "true",
    "1": "true",
    "no": "false",
    "off": "false",
    "n": "false",
}
_LIKE_FLAGS |= {"0": "false", "true": "true", "false": "false"}
_UNITS = {"second": "s", "sec": "s", "m": "min", "minute": "min", "mins": "min", "hour": "h", "hr": "h"}
_JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_MAX_DIGITS = 15


def read_flag(text: str) -> bool:
    """Read true or false; YAML's other words for them are suggested, never taken."""
    if text in _FLAGS:
        return _FLAGS[text]
    meant = _LIKE_FLAGS.get(text.lower())
    raise Mistake("must be true or false" + (f"; did you mean {meant}?" if meant else ""))


def read_count(text: str, at_least: int | None, at_most: int | None) -> int:
    """Read a whole number within its bounds."""
    least = f" of at least {at_least}" if at_least is not None else ""
    range_of = f" from {at_least} to {at_most}" if at_most is not None else least
    expected = f"must be a whole number{range_of}"
    if not re.fullmatch(r"-?[0-9]+", text) or len(text) > _MAX_DIGITS:
        plain = re.sub(r"[,_ ]|\.0*$", "", text)
        raise Mistake(expected + (f"; did you mean {plain}?" if re.fullmatch(r"[0-9]{1,15}", plain) else ""))
    number = int(text)
    if (at_least is not None and number < at_least) or (at_most is not None and number > at_most):
        raise Mistake(expected)
    return number


def read_share(text: str) -> float:
    """Read a share of a whole, such as 10% or 0.1; from 0 to below 1."""
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,15})?) ?(%?)", text)
    if match and match[2] and float(match[1]) < 100:
        return float(match[1]) / 100
    if match and not match[2] and float(match[1]) < 1:
        return float(match[1])
    number = match is not None and not match[2] and float(match[1]) < 100
    raise Mistake(
        "must be a share below 100%, such as 10% or 0.1" + (f"; did you mean {text}%?" if number else "")
    )


def parse_rate(text: str) -> Rate:
    """Read a rate of calls: 5/s, 90/min or 100/h.

    Raises:
        Mistake: a ValueError whose text says what a rate looks like, with a suggestion where there is one.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,8})/(s|min|h)", text)
    if match:
        return Rate(int(match[1]), PERIODS_S[match[2]])
    loose = re.fullmatch(r"\s*([1-9][0-9]{0,8})\s*(?:(?:/|per|an?)?\s*([a-z]+))?\s*", text.lower())
    unit = _rate_unit(loose[2]) if loose else None
    suggestion = f"; did you mean {loose[1]}/{unit}?" if loose and unit else ""
    raise Mistake("must be a number of calls per s, min or h, such as 90/min" + suggestion)


def _rate_unit(word: str | None) -> str | None:
    if word is None or word in PERIODS_S:
        return word or "min"
    return _UNITS.get(word) or _UNITS.get(word.removesuffix("s"))


def read_choice(text: str, choices: Sequence[str]) -> str:
    """Read one of a closed set of words."""
    if text in choices:
        return text
    near = difflib.get_close_matches(text.lower(), choices, n=1)
    raise Mistake(f"must be one of {', '.join(choices)}" + (f"; did you mean {near[0]}?" if near else ""))


def read_name(text: str) -> str:
    """Read an item of a list of names."""
    if not text.strip():
        raise Mistake("a name is missing")
    return text


def is_json_word(text: str) -> bool:
    """Tell whether a constant without quotes is a value of JSON other than a string: 12, true, null."""
    return text in {"null", "true", "false"} or _JSON_NUMBER.fullmatch(text) is not None


def read_constant(text: str) -> bool | int | float | str | None:
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


_P = ParamSpec("_P")
_T = TypeVar("_T")


class NodeReader:
    """Reads nodes of one file.

    Args:
        problems: takes the mistakes.
        environment: where `${VAR}` is looked up.
    """

    def __init__(self, problems: Problems, environment: Mapping[str, str]) -> None:
        self._problems = problems
        self._environment = environment

    def constant(self, node: Node, path: str) -> Any:
        """Return a value as in JSON: unquoted null, true, false and numbers are what they are there."""
        if isinstance(node, Items):
            return [self.constant(item, path) for item in node.items]
        if isinstance(node, Pairs):
            return {key.text: self.constant(value, path) for key, value in node.pairs}
        return self.tried(node, path, self._json_value, node)

    def text(self, node: Node) -> str:
        """Return the text of a scalar with its variables put in; anything else is a Mistake."""
        return interpolate(scalar(node).text, self._environment)

    def tried(
        self, node: Node, path: str, read: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> _T | None:
        """Return what `read` gives; note what it refuses, at the node's place, and return None."""
        if not isinstance(node, Broken):
            try:
                return read(*args, **kwargs)
            except (Mistake, PathError) as mistake:
                self._problems.add(node.place, path, str(mistake))
        return None

    def pairs(self, node: Node | None, path: str, expected: str) -> list[tuple[Scalar, Node]]:
        """Return the pairs of a node; what holds something else is a mistake, what is null holds none."""
        if isinstance(node, Pairs):
            return node.pairs
        if node is not None and not is_absent(node) and not isinstance(node, Broken):
            self._problems.add(node.place, path, f"must hold {expected}")
        return []

    def _json_value(self, node: Node) -> Any:
        if is_absent(node):
            return None
        written, text = scalar(node), self.text(node)
        return read_constant(text) if written.plain and text == written.text else text


def is_absent(node: Node) -> bool:
    """Tell whether a node is null or nothing."""
    return isinstance(node, Scalar) and node.is_null


def scalar(node: Node) -> Scalar:
    """Return a node that must be one value."""
    if not isinstance(node, Scalar):
        raise Mistake(
            "must be one value, not " + ("a list" if isinstance(node, Items) else "`name: value` lines")
        )
    return node


TESTS = "tests"
"""The key beside the sections that holds a list: the mapping tests."""


def meant_setting(section: str, key: str) -> list[str]:
    """Return what an unknown key inside a section may stand for; at the top of the file the section is empty."""
    own = _own(section)
    wanted = _squashed(key)
    if wanted in own:
        return [own[wanted]]
    near = difflib.get_close_matches(wanted, own, n=1)
    return _elsewhere(wanted) or [own[name] for name in near] or _near_anywhere(wanted)


def question(meant: list[str]) -> str:
    """Return `; did you mean this or that?`, or nothing when there is nothing to suggest."""
    return f"; did you mean {' or '.join(meant)}?" if meant else ""


def _own(section: str) -> dict[str, str]:
    """Return what may stand in a section: squashed name -> path."""
    if not section:
        return {_squashed(name): name for name in (*sections(), TESTS)}
    return {_squashed(name): f"{section}.{name}" for name in sections()[section].settings}


def _elsewhere(wanted: str) -> list[str]:
    """Return settings of any section with that name, or Segment's for it: trackEventsFilter, eventsFilter."""
    return [s.path for s in all_settings() if wanted in {_squashed(s.name), _squashed(s.path)}]


def _near_anywhere(wanted: str) -> list[str]:
    by_name = {_squashed(text): s.path for s in all_settings() for text in (s.name, s.path)}
    return [by_name[name] for name in difflib.get_close_matches(wanted, by_name, n=1, cutoff=0.75)]


def _squashed(name: str) -> str:
    """Return a name without case and separators: eventsFilter, events-filter and events_filter are one."""
    return re.sub(r"[^a-z0-9]", "", name[:60].lower())


_MAX_PATH = 500
_SIMPLE: dict[Form, Callable[[Setting, str], Any]] = {
    Form.TEXT: lambda _, text: text,
    Form.FLAG: lambda _, text: read_flag(text),
    Form.COUNT: lambda setting, text: read_count(text, setting.at_least, setting.at_most),
    Form.SHARE: lambda _, text: read_share(text),
    Form.RATE: lambda _, text: parse_rate(text),
    Form.CHOICE: lambda setting, text: read_choice(text, setting.choices),
}


def convert(root: Node | None, problems: Problems, environment: Mapping[str, str]) -> Settings:
    """Return the settings of a tree; they count only if no problem was added."""
    return _Conversion(problems, environment).settings(root)


class _Conversion(NodeReader):
    """One walk through a file's tree."""

    def settings(self, root: Node | None) -> Settings:
        found: dict[str, Any] = {}
        for key, node in self.pairs(root, "", "sections such as `identify:`"):
            section = sections().get(key.text)
            if key.text == TESTS:
                continue  # they shape no request: `load_with_tests` reads them
            if section is None:
                self._unknown(key, "")
            else:
                found[section.name] = self._section(node, section)
        return Settings(**found)

    def _section(self, node: Node, section: Section) -> Any:
        nodes: dict[str, Node] = {}
        for key, value in self.pairs(node, section.name, "`name: value` lines"):
            if key.text not in section.settings:
                self._unknown(key, section.name)
            elif not is_absent(value):
                nodes[key.text] = value
        found = {name: self._value(value, section.settings[name]) for name, value in nodes.items()}
        if section.name == "api":
            self._check_api(nodes, found)
        return section.cls(**{name: value for name, value in found.items() if value is not None})

    def _check_api(self, nodes: dict[str, Node], found: dict[str, Any]) -> None:
        if found.get("url") is not None:
            found["url"] = self.tried(nodes["url"], "api.url", clean_url, found["url"])
        if "token_file" in nodes and found.get("token", Api().token) != Api().token:
            later = max(nodes["token"].place, nodes["token_file"].place)
            self._problems.add(later, "api", "token and token_file are both given; leave one out")

    def _value(self, node: Node, setting: Setting) -> Any:
        path = setting.path
        match setting.form:
            case Form.NAMES:
                return self._names(node, path)
            case Form.ROWS:
                return self._rows(node, path)
            case Form.CONSTANTS:
                return self._constants(node, path)
            case Form.SECRET:
                return self.tried(node, path, _read_secret, node)
        return self.tried(node, path, lambda: _SIMPLE[setting.form](setting, self.text(node)))

    def _names(self, node: Node, path: str) -> list[str | None]:
        items = node.items if isinstance(node, Items) else [node]
        return [self.tried(item, path, lambda item: read_name(self.text(item)), item) for item in items]

    def _rows(self, node: Node, path: str) -> dict[str, list[str | None]]:
        rows: dict[str, list[str | None]] = {}
        for key, value in self.pairs(node, path, "`source: destination` rows"):
            targets = value.items if isinstance(value, Items) and value.items else [value]
            source = self.tried(key, path, _parse, parse_source, key.text)
            rows[key.text] = [self.tried(each, path, self._destination, each, source) for each in targets]
        return rows

    def _destination(self, node: Node, source: FieldPath | None) -> str:
        if is_absent(node) or (isinstance(node, Items) and not node.items):
            raise Mistake("a destination is missing")
        text = self.text(node)
        destination = _parse(parse_destination, text)
        if source is not None:
            check_row(source, destination)
        return text

    def _constants(self, node: Node, path: str) -> dict[str, Any]:
        constants: dict[str, Any] = {}
        for key, value in self.pairs(node, path, "`destination: value` lines"):
            self.tried(key, path, _parse, parse_destination, key.text)
            constants[key.text] = self.constant(value, path)
        return constants

    def _unknown(self, key: Scalar, section: str) -> None:
        path = f"{section}.{shown(key.text)}" if section else shown(key.text)
        meant = [] if self._problems.are_many else meant_setting(section, key.text)
        self._problems.add(key.place, path, f"no such setting{question(meant)}")


def _read_secret(node: Node) -> Secret:
    text = scalar(node).text
    check_references(text)
    return Secret(text)


def _parse(parser: Callable[[str], FieldPath], text: str) -> FieldPath:
    if len(text) > _MAX_PATH:
        raise Mistake(f"a path of more than {_MAX_PATH} characters")
    return parser(text)
