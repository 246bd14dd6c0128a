"""Reads mapping tests: the `tests:` list of a settings file, or of a `*.test.yaml` beside it. Runs none of them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from voucherify_sync.errors import UsageProblem
from voucherify_sync.events import Json
from voucherify_sync.settings.conversion import TESTS, NodeReader, one_value
from voucherify_sync.settings.environment import expanded
from voucherify_sync.settings.yaml_nodes import LineColumn, Mistake, Problems, YamlNode, shown
from voucherify_sync.text import did_you_mean

REQUEST_KEYS: Final = ("method", "path", "body")
CONTAINS: Final = "contains"
_KEYS: Final = ("name", "event", "expect", "expect_skipped")
_FILE_AND_LINE: Final = re.compile(r"(.+):([1-9][0-9]{0,11})(?:\[([0-9]{1,9})\])?", re.DOTALL)


class EventAt(Struct, frozen=True):
    """An event in a file.

    Attributes:
        path: the file; a relative one is looked up from the folder of the file that names it.
        line: 1-based.
        item: 0-based index in an envelope or array, None for a line that is one event.
    """

    path: Path
    line: int
    item: int | None = None


class Expected(Struct, frozen=True):
    """The request that is expected.

    Attributes:
        request: `method`, `path` and `body`; of a partial one, some of them.
        partial: the request may hold more than this.
    """

    request: Json
    partial: bool = False


class MappingTest(Struct, frozen=True):
    """One event and what the mapping should make of it.

    Attributes:
        name: says what is tested.
        event: the event's fields, or where it is.
        expect: the request, or the reason why none is made.
        file: where the test stands.
        number: its 0-based index in that file.
        place: where it begins.
        event_place: of its event.
    """

    name: str
    event: Json | EventAt
    expect: Expected | str
    file: Path
    number: int
    place: LineColumn
    event_place: LineColumn


def files_of_tests(beside: Path | None) -> list[Path]:
    """Return the `*.test.yaml` files in the folder of a settings file; without one, in the working directory."""
    folder = beside.parent if beside is not None else Path()
    found = (file for file in folder.glob("*.test.yaml") if not file.name.startswith("."))
    return sorted(file for file in found if file != beside)


class MappingTestReader(NodeReader):
    """Reads the tests of one file.

    Args:
        problems: takes the mistakes.
        environment: where `${VAR}` is looked up.
        file: where the tests stand.
    """

    def __init__(self, problems: Problems, environment: Mapping[str, str], file: Path) -> None:
        super().__init__(problems, environment)
        self._file = file

    def tests(self, root: YamlNode | None, *, only: bool = False) -> list[MappingTest]:
        """Return the tests of the file's tree; they count only if no problem was added.

        Args:
            root: the tree.
            only: the file may hold nothing but tests.
        """
        if only:
            listed = self._nodes(root, "", "a list `tests:`", (TESTS,)).get(TESTS)
        else:
            listed = root.pairs[TESTS][1] if root and root.pairs and TESTS in root.pairs else None
        if listed is None or listed.is_null or listed.is_noted:
            return []
        if listed.items is None:
            self._problems.add(listed.place, TESTS, "must be a list of tests, each `- name: …`")
            return []
        found = [self._test(node, number) for number, node in enumerate(listed.items)]
        return [test for test in found if test is not None]

    def _nodes(
        self,
        node: YamlNode | None,
        path: str,
        expected: str,
        known: Sequence[str],
        demanded: Sequence[str] = (),
    ) -> dict[str, YamlNode]:
        """Return the values of a node's pairs; a key that is not known, or a missing one, is a mistake."""
        nodes: dict[str, YamlNode] = {}
        for name, (key, value) in self.pairs(node, path, expected).items():
            if name in known:
                nodes[name] = value
            else:
                near = difflib.get_close_matches(name[:60].lower(), known, n=1)
                inner = f"{path}.{shown(name)}" if path else shown(name)
                message = f"no such key, only {_listed(known)}{did_you_mean(near)}"
                self._problems.add(key.place, inner, message)
        for name in demanded:
            if name not in nodes and node is not None and (node.pairs is not None or node.is_null):
                self._problems.add(node.place, path, f"needs `{name}`")
        return nodes

    def _test(self, node: YamlNode, number: int) -> MappingTest | None:
        path = f"{TESTS}[{number}]"
        demanded = () if node.is_null else ("name", "event")
        nodes = self._nodes(node, path, "`name:`, `event:` and `expect:`", _KEYS, demanded)
        if node.pairs is None:
            return None
        name = event = None
        if "name" in nodes:
            name = self.tried(nodes["name"], f"{path}.name", self._name, nodes["name"])
        if "event" in nodes:
            event = self._event(nodes["event"], f"{path}.event")
        expectations: list[Expected | str | None] = []
        if "expect" in nodes:
            expectations.append(self._request(nodes["expect"], f"{path}.expect"))
        if "expect_skipped" in nodes:
            reason = nodes["expect_skipped"]
            expectations.append(self.tried(reason, f"{path}.expect_skipped", self._reason, reason))
        if len(expectations) != 1:
            found = "both are given" if expectations else "one is missing"
            self._problems.add(node.place, path, f"needs `expect` or `expect_skipped`; {found}")
        elif name is not None and event is not None and expectations[0] is not None:
            places = node.place, nodes["event"].place
            return MappingTest(name, event, expectations[0], self._file, number, *places)
        return None

    def _name(self, node: YamlNode) -> str:
        text = self.text(node)
        if node.is_null or not text.strip():
            raise Mistake("a name is missing")
        return text

    def _event(self, node: YamlNode, path: str) -> Json | EventAt | None:
        if node.pairs is None:
            return self.tried(node, path, self._event_at, node)
        fields: Json = self.constant(node, path)
        return fields

    def _event_at(self, node: YamlNode) -> EventAt:
        match = _FILE_AND_LINE.fullmatch(self.text(node)) if node.text is not None else None
        if match is None:
            raise Mistake("must be an event, or where one is: FILE:LINE, such as events.ndjson:12")
        try:
            path = expanded(match[1])
        except UsageProblem as problem:
            raise Mistake(f"{problem.message} {problem.remedy}") from None
        return EventAt(self._file.parent / path, int(match[2]), int(match[3]) if match[3] else None)

    def _request(self, node: YamlNode, path: str) -> Expected | None:
        """Return the request that is expected, or the part of it below `contains`."""
        is_partial = node.pairs is not None and CONTAINS in node.pairs
        known = (*REQUEST_KEYS, CONTAINS)
        demanded = () if is_partial else REQUEST_KEYS
        nodes = self._nodes(node, path, "`method`, `path` and `body`, or `contains`", known, demanded)
        if is_partial:
            part = nodes.pop(CONTAINS)
            if nodes:
                place = next(iter(nodes.values())).place
                self._problems.add(place, path, "what is beside `contains` belongs below it")
                return None
            path += f".{CONTAINS}"
            nodes = self._nodes(part, path, f"some of {_listed(REQUEST_KEYS)}", REQUEST_KEYS)
            if not nodes and (part.is_null or part.pairs is not None):
                self._problems.add(part.place, path, f"must hold some of {_listed(REQUEST_KEYS)}")
        request: Json = {}
        for key, value in nodes.items():
            if key != "body":
                request[key] = self.tried(value, f"{path}.{key}", self.text, value)
            elif value.pairs is not None:
                request[key] = self.constant(value, f"{path}.body")
            elif not value.is_noted:
                self._problems.add(value.place, f"{path}.body", "must hold `field: value` lines")
        return Expected(request, is_partial)

    def _reason(self, node: YamlNode) -> str:
        if node.is_null or not one_value(node).strip():
            raise Mistake("must be the reason why no request is made, such as no_id")
        return self.text(node).strip()


def _listed(names: Sequence[Any]) -> str:
    return ", ".join(f"`{name}`" for name in names)
