"""The `tests:` list of a settings file, or of a `*.test.yaml` beside it -> MappingTests. Runs none of them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from voucherify_sync.errors import UsageProblem
from voucherify_sync.events import Json
from voucherify_sync.settings.conversion import TESTS, NodeReader, is_absent, question, scalar
from voucherify_sync.settings.environment import expanded
from voucherify_sync.settings.yaml_nodes import (
    Broken,
    Items,
    Mistake,
    Node,
    Pairs,
    Place,
    Problems,
    Scalar,
    shown,
)

REQUEST_KEYS = ("method", "path", "body")
CONTAINS = "contains"
_KEYS = ("name", "event", "expect", "expect_skipped")
_FILE_AND_LINE = re.compile(r"(.+):([1-9][0-9]{0,11})(?:\[([0-9]{1,9})\])?", re.DOTALL)
_NO_EVENT = "must be an event, or where one is: FILE:LINE, such as events.ndjson:12"


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
    place: Place
    event_place: Place


def files_of_tests(beside: Path | None) -> list[Path]:
    """Return the `*.test.yaml` files in the folder of a settings file; without one, in the working directory."""
    folder = beside.parent if beside is not None else Path()
    found = (file for file in folder.glob("*.test.yaml") if not file.name.startswith("."))
    return sorted(file for file in found if file != beside)


def read_tests(
    root: Node | None, file: Path, problems: Problems, environment: Mapping[str, str], *, only: bool = False
) -> list[MappingTest]:
    """Return the tests of a file's tree; they count only if no problem was added.

    Args:
        root: the tree.
        file: where it was read.
        problems: takes the mistakes.
        environment: where `${VAR}` is looked up.
        only: the file may hold nothing but tests.
    """
    return _Tests(problems, environment, file).tests(root, only=only)


class _Tests(NodeReader):
    """One walk through the tests of a file."""

    def __init__(self, problems: Problems, environment: Mapping[str, str], file: Path) -> None:
        super().__init__(problems, environment)
        self._file = file

    def tests(self, root: Node | None, *, only: bool) -> list[MappingTest]:
        pairs = self.pairs(root, "", "a list `tests:`") if only else _pairs_of(root)
        nodes = self._known(pairs, "", (TESTS,)) if only else {key.text: value for key, value in pairs}
        listed = nodes.get(TESTS)
        if listed is None or is_absent(listed) or isinstance(listed, Broken):
            return []
        if not isinstance(listed, Items):
            self._problems.add(listed.place, TESTS, "must be a list of tests, each `- name: …`")
            return []
        found = [self._test(node, number) for number, node in enumerate(listed.items)]
        return [test for test in found if test is not None]

    def _test(self, node: Node, number: int) -> MappingTest | None:
        path = f"{TESTS}[{number}]"
        nodes = self._known(self.pairs(node, path, "`name:`, `event:` and `expect:`"), path, _KEYS)
        if not isinstance(node, Pairs):
            return None
        for key in ("name", "event"):
            self._demand(nodes, key, node.place, path)
        name = (
            self.tried(nodes["name"], f"{path}.name", self._name, nodes["name"]) if "name" in nodes else None
        )
        event = self._event(nodes["event"], f"{path}.event") if "event" in nodes else None
        expectations = [
            self._expectation(nodes[key], f"{path}.{key}")
            for key in ("expect", "expect_skipped")
            if key in nodes
        ]
        if len(expectations) != 1:
            found = "both are given" if expectations else "one is missing"
            self._problems.add(node.place, path, f"needs `expect` or `expect_skipped`; {found}")
            return None
        (expect,) = expectations
        if name is None or event is None or expect is None:
            return None
        return MappingTest(name, event, expect, self._file, number, node.place, nodes["event"].place)

    def _name(self, node: Node) -> str:
        text = self.text(node)
        if is_absent(node) or not text.strip():
            raise Mistake("a name is missing")
        return text

    def _event(self, node: Node, path: str) -> Json | EventAt | None:
        if isinstance(node, Pairs):
            fields: Json = self.constant(node, path)
            return fields
        return self.tried(node, path, self._event_at, node)

    def _event_at(self, node: Node) -> EventAt:
        match = _FILE_AND_LINE.fullmatch(self.text(node)) if isinstance(node, Scalar) else None
        if match is None:
            raise Mistake(_NO_EVENT)
        item = int(match[3]) if match[3] else None
        try:
            path = expanded(match[1])
        except UsageProblem as problem:
            raise Mistake(f"{problem.message} {problem.remedy}") from None
        return EventAt(self._file.parent / path, int(match[2]), item)

    def _expectation(self, node: Node, path: str) -> Expected | str | None:
        if path.endswith("expect_skipped"):
            return self.tried(node, path, self._reason, node)
        pairs = self.pairs(node, path, "`method`, `path` and `body`, or `contains`")
        nodes = self._known(pairs, path, (*REQUEST_KEYS, CONTAINS))
        if CONTAINS in nodes:
            return self._partial(nodes, path)
        if isinstance(node, Pairs) or is_absent(node):
            for key in REQUEST_KEYS:
                self._demand(nodes, key, node.place, path)
        return self._request(nodes, path, partial=False)

    def _partial(self, nodes: dict[str, Node], path: str) -> Expected | None:
        if len(nodes) > 1:
            place = next(node.place for key, node in nodes.items() if key != CONTAINS)
            self._problems.add(place, path, "what is beside `contains` belongs below it")
            return None
        inside, path = nodes[CONTAINS], f"{path}.{CONTAINS}"
        pairs = self.pairs(inside, path, f"some of {_listed(REQUEST_KEYS)}")
        known = self._known(pairs, path, REQUEST_KEYS)
        if not known and (is_absent(inside) or isinstance(inside, Pairs)):
            self._problems.add(inside.place, path, f"must hold some of {_listed(REQUEST_KEYS)}")
        return self._request(known, path, partial=True)

    def _request(self, nodes: dict[str, Node], path: str, *, partial: bool) -> Expected:
        request: Json = {}
        for key, node in nodes.items():
            if key == "body" and not isinstance(node, Pairs | Broken):
                self._problems.add(node.place, f"{path}.body", "must hold `field: value` lines")
            elif key != "body":
                request[key] = self.tried(node, f"{path}.{key}", self.text, node)
            else:
                request[key] = self.constant(node, f"{path}.body")
        return Expected(request, partial)

    def _reason(self, node: Node) -> str:
        if is_absent(node) or not scalar(node).text.strip():
            raise Mistake("must be the reason why no request is made, such as no_id")
        return self.text(node).strip()

    def _known(
        self, pairs: Sequence[tuple[Scalar, Node]], path: str, known: tuple[str, ...]
    ) -> dict[str, Node]:
        """Return the nodes by key; a key that is not known is a mistake."""
        for key, _ in pairs:
            if key.text not in known:
                meant = difflib.get_close_matches(key.text[:60].lower(), known, n=1)
                name = f"{path}.{shown(key.text)}" if path else shown(key.text)
                self._problems.add(key.place, name, f"no such key, only {_listed(known)}{question(meant)}")
        return {key.text: node for key, node in pairs if key.text in known}

    def _demand(self, nodes: dict[str, Node], key: str, place: Place, path: str) -> None:
        if key not in nodes:
            self._problems.add(place, path, f"needs `{key}`")


def _pairs_of(root: Node | None) -> Sequence[tuple[Scalar, Node]]:
    return root.pairs if isinstance(root, Pairs) else ()


def _listed(names: Sequence[Any]) -> str:
    return ", ".join(f"`{name}`" for name in names)
