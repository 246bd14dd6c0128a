"""The tree of a settings file -> Settings, by the catalog. A mistake is noted, and the walk goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from voucherify_sync.paths import FieldPath, check_row, parse_destination, parse_source
from voucherify_sync.settings.address import clean_url
from voucherify_sync.settings.catalog import Form, Section, Setting, sections
from voucherify_sync.settings.document import Items, Node, Scalar
from voucherify_sync.settings.environment import check_references
from voucherify_sync.settings.problems import Mistake, Problems, shown
from voucherify_sync.settings.reader import NodeReader, is_absent, scalar
from voucherify_sync.settings.suggestions import TESTS, meant_setting, question
from voucherify_sync.settings.types import Api, Secret, Settings
from voucherify_sync.settings.values import (
    parse_rate,
    read_choice,
    read_count,
    read_flag,
    read_name,
    read_share,
)

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
