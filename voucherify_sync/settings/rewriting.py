"""The text of a file with mapping tests -> the same text with other expectations, and all else as it stands.

Only what differs is written anew, in the style that it had; comments stay, but for those inside of what is replaced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct

from voucherify_sync.errors import SettingsError
from voucherify_sync.events import Json
from voucherify_sync.settings.conversion import TESTS
from voucherify_sync.settings.mapping_tests import CONTAINS, Expected, MappingTest, read_tests
from voucherify_sync.settings.template import escaped, to_yaml
from voucherify_sync.settings.yaml_nodes import Mistake, Problems, read_document

_Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


class _Edit(Struct, frozen=True):
    """Characters from start to end are replaced."""

    start: int
    end: int
    text: str


def rewrite(
    text: str, file: Path, wanted: Mapping[int, Expected | str], environment: Mapping[str, str]
) -> str:
    """Return the text with other expectations.

    Args:
        text: of a file that was read without a mistake; its lines end in line feeds.
        file: where it was read.
        wanted: number of a test -> what it is to expect.
        environment: where `${VAR}` is looked up.

    Raises:
        Mistake: it cannot be done without touching something else.
    """
    tests = _tests_in(text, file, environment)
    listed = _value_of(yaml.compose(text, Loader=_Loader), TESTS).value
    writer = _Writer(text)
    edits = [
        edit
        for number, expect in wanted.items()
        for edit in writer.expectation(listed[number], tests[number].expect, expect)
    ]
    new_text = text
    for edit in sorted(edits, key=lambda edit: edit.start, reverse=True):
        new_text = new_text[: edit.start] + edit.text + new_text[edit.end :]
    if not _is_true(new_text, text, file, wanted, environment):
        raise Mistake("cannot be written anew in the style that it has; write `expect:` as indented lines")
    return new_text


def _tests_in(text: str, file: Path, environment: Mapping[str, str]) -> list[MappingTest]:
    problems = Problems(str(file))
    tests = read_tests(read_document(text, problems), file, problems, environment)
    problems.raise_any()
    return tests


def _is_true(
    new_text: str,
    text: str,
    file: Path,
    wanted: Mapping[int, Expected | str],
    environment: Mapping[str, str],
) -> bool:
    """Tell whether a text says what is wanted, and everything else as before."""
    try:
        tests = _tests_in(new_text, file, environment)
        rest, rest_before = (_rest(each, wanted) for each in (new_text, text))
    except (SettingsError, yaml.YAMLError, LookupError):
        return False
    return rest == rest_before and all(_fulfils(tests[number].expect, wanted[number]) for number in wanted)


def _rest(text: str, wanted: Mapping[int, Expected | str]) -> Any:
    """Return what a file holds, without the expectations that change."""
    data = yaml.load(text, Loader=_Loader)  # noqa: S506 - it makes texts, lists and dicts only
    for number in wanted:
        for key in ("expect", "expect_skipped"):
            data[TESTS][number].pop(key, None)
    return data


def _fulfils(expect: Expected | str, wanted: Expected | str) -> bool:
    if isinstance(expect, str) or isinstance(wanted, str):
        return expect == wanted
    return expect.partial is wanted.partial and _alike(expect.request, wanted.request)


def _alike(one: Any, other: Any) -> bool:
    """Tell whether two JSON values are the same; true is not 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)


class _Writer:
    """Finds the edits that turn the values of nodes into other values."""

    def __init__(self, text: str) -> None:
        self._text = text

    def expectation(self, test: Any, old: Expected | str, new: Expected | str) -> Iterator[_Edit]:
        """Yield the edits for the expectation of one test."""
        key, node = next((key, node) for key, node in test.value if key.value.startswith("expect"))
        if isinstance(old, Expected) and isinstance(new, Expected) and old.partial == new.partial:
            node = _value_of(node, CONTAINS) if old.partial else node
            yield from self._change(test, key, node, old.request, new.request)
            return
        name = "expect" if isinstance(new, Expected) else "expect_skipped"
        value = new if isinstance(new, str) else {CONTAINS: new.request} if new.partial else new.request
        yield self._pair(test, key, node, {name: value})

    def _change(self, parent: Any, key: Any, node: Any, old: Any, new: Any) -> Iterator[_Edit]:
        """Yield the edits that turn a node into another value.

        Args:
            parent: the mapping or list that holds the node.
            key: the node's key, None in a list.
            node: what stands there.
            old: its value.
            new: the value that it is to have.
        """
        if isinstance(node, yaml.MappingNode) and isinstance(new, dict) and self._can_be_edited(node, new):
            yield from self._mapping(node, old, new)
        elif isinstance(node, yaml.SequenceNode) and isinstance(new, list) and len(new) == len(node.value):
            for item, *values in zip(node.value, old, new, strict=True):
                yield from self._change(node, None, item, *values)
        elif not _alike(old, new):
            yield self._replace(parent, key, node, new)

    def _mapping(self, node: Any, old: Json, new: Json) -> Iterator[_Edit]:
        last = node.start_mark.index
        for key, value in node.value:
            if key.value in new:
                yield from self._change(node, key, value, old[key.value], new[key.value])
                last = _end(value, self._text)
            else:
                yield _Edit(self._line_start(key.start_mark.index), self._line_end(value) + 1, "")
        added = {name: value for name, value in new.items() if name not in old}
        if added:
            end = self._line_end_at(last)
            yield _Edit(end, end, f"\n{' ' * node.start_mark.column}{_block(added, node.start_mark.column)}")

    def _can_be_edited(self, node: Any, new: Json) -> bool:
        """Tell whether pairs can be taken out of a mapping and put into it: of a block, whole lines."""
        keys = [key.value for key, _ in node.value]
        if keys and set(keys) == set(new):
            return True
        lines_of_their_own = all(
            not self._text[self._line_start(key.start_mark.index) : key.start_mark.index].strip()
            for key, _ in node.value
        )
        return not node.flow_style and lines_of_their_own and not new.keys().isdisjoint(keys)

    def _replace(self, parent: Any, key: Any, node: Any, new: Any) -> _Edit:
        start, end = node.start_mark.index, _end(node, self._text)
        is_collection = isinstance(new, dict | list) and bool(new)
        was_flow = not isinstance(node, yaml.ScalarNode) and node.flow_style
        if parent.flow_style or (was_flow and is_collection):
            return _Edit(start, end, _flow(new))
        if key is None:
            space = " " if start == end else ""
            return _Edit(start, end, space + _block(new, node.start_mark.column))
        if isinstance(node, yaml.ScalarNode) and start < end and not is_collection:
            return _Edit(start, end, _block(new, 0))
        return self._pair(parent, key, node, {key.value: new})

    def _pair(self, parent: Any, key: Any, node: Any, pair: Json) -> _Edit:
        """Write a key and its value anew, in the style of the mapping that holds them."""
        text = _flow(pair)[1:-1] if parent.flow_style else _block(pair, key.start_mark.column)
        return _Edit(key.start_mark.index, max(_end(node, self._text), key.end_mark.index + 1), text)

    def _line_start(self, index: int) -> int:
        return self._text.rfind("\n", 0, index) + 1

    def _line_end(self, node: Any) -> int:
        return self._line_end_at(_end(node, self._text))

    def _line_end_at(self, index: int) -> int:
        end = self._text.find("\n", index)
        return len(self._text) if end < 0 else end


def _value_of(node: Any, name: str) -> Any:
    return next(value for key, value in node.value if key.value == name)


def _end(node: Any, text: str) -> int:
    """Return where a node really ends: marks of blocks lie behind the comments and blank lines that follow."""
    if isinstance(node, yaml.ScalarNode):
        end: int = node.end_mark.index
        return node.start_mark.index + len(text[node.start_mark.index : end].rstrip()) if node.style else end
    if node.flow_style:
        return int(node.end_mark.index)
    last = node.value[-1]
    key, value = last if isinstance(last, tuple) else (None, last)
    return max(_end(value, text), key.end_mark.index + 1 if key is not None else 0)


def _flow(value: Any) -> str:
    """Return a value as it stands inside of brackets, on one line."""
    return to_yaml([escaped(value)], flow=True).rstrip("\n")[1:-1]


def _block(value: Any, column: int) -> str:
    """Return a value of several lines, of which all but the first are indented; what is one value stands on one."""
    if isinstance(value, dict | list) and value:
        return to_yaml(escaped(value)).rstrip("\n").replace("\n", "\n" + " " * column)
    return to_yaml([escaped(value)]).rstrip("\n").removeprefix("- ")
