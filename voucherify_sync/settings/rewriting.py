"""Edits the expectation of a mapping test in the text of its file; all else stays as it is written.

Only the smallest part that changes is replaced. ruamel.yaml round-trips the lines of that part, so that its comments,
order, quotes and indentation stay. A round trip of the whole file would change other lines, such as the spaces in
`disabled:   false`.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from voucherify_sync.errors import SettingsError
from voucherify_sync.settings.conversion import TESTS, is_json_word
from voucherify_sync.settings.mapping_tests import CONTAINS, Expected, MappingTest, read_tests
from voucherify_sync.settings.template import escaped
from voucherify_sync.settings.yaml_nodes import Mistake, Problems, raise_all, read_document

_Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_NO_TEXTS: Final = {"", "~", "null", "Null", "NULL", "<<"}
"""What is no text without quotes."""

_Edit = tuple[int, int, str]
"""Characters from start to end, and what replaces them."""


def rewrite(
    text: str, file: Path, number: int, expect: Expected | str, environment: Mapping[str, str]
) -> str:
    """Return the text with another expectation of a test.

    Args:
        text: of a file that was read without a mistake; its lines end in line feeds.
        file: where it was read.
        number: of the test.
        expect: what it is to expect.
        environment: where `${VAR}` is looked up.

    Raises:
        Mistake: it cannot be done without touching something else.
    """
    old = _tests_in(text, file, environment)[number].expect
    root: Any = yaml.compose(text, Loader=_Loader)
    listed = next(node for key, node in root.value if key.value == TESTS)
    new_text = text
    for start, end, edited in sorted(_edits_of_test(text, listed.value[number], old, expect), reverse=True):
        new_text = new_text[:start] + edited + new_text[end:]
    try:
        new = _tests_in(new_text, file, environment)[number].expect
        is_right = _is_same(_plain(new), _plain(expect)) and _others(new_text, number) == _others(
            text, number
        )
    except (SettingsError, yaml.YAMLError, LookupError):
        is_right = False
    if not is_right:
        raise Mistake("cannot be updated in the style that it has; write `expect:` as indented lines")
    return new_text


def _tests_in(text: str, file: Path, environment: Mapping[str, str]) -> list[MappingTest]:
    problems = Problems(str(file))
    tests = read_tests(read_document(text, problems), file, problems, environment)
    raise_all([problems])
    return tests


def _others(text: str, number: int) -> Any:
    """Return what a file holds, without the expectation of a test."""
    data = yaml.load(text, Loader=_Loader)  # noqa: S506 - it makes texts, lists and dicts only
    for key in ("expect", "expect_skipped"):
        data[TESTS][number].pop(key, None)
    return data


def _plain(expect: Expected | str) -> Any:
    if isinstance(expect, str):
        return {"expect_skipped": expect}
    return {"expect": {CONTAINS: expect.request} if expect.partial else expect.request}


def _is_same(one: Any, other: Any) -> bool:
    """Tell whether two JSON values are the same; true is not 1, and the order of keys does not count."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _edits_of_test(text: str, test: Any, old: Expected | str, new: Expected | str) -> Iterator[_Edit]:
    key, node = next((key, node) for key, node in test.value if key.value.startswith("expect"))
    ((name, value),) = _plain(new).items()
    if name == key.value:
        yield from _edits(text, key, node, _plain(old)[name], value, in_flow=test.flow_style)
    elif test.flow_style:
        yield key.start_mark.index, max(_end(node, text), key.end_mark.index + 1), _flow({name: value})[1:-1]
    else:
        yield _edit_of_pair(text, key, node, None, value, name)


def _edits(text: str, key: Any, node: Any, old: Any, new: Any, *, in_flow: bool) -> Iterator[_Edit]:
    """Yield the edits that give a key another value.

    Args:
        text: of the file.
        key: its node.
        node: of the value.
        old: the value.
        new: the value that it is to have.
        in_flow: the key stands inside of braces.
    """
    is_scalar, is_flow = (
        isinstance(node, yaml.ScalarNode),
        in_flow or bool(getattr(node, "flow_style", False)),
    )
    if (
        isinstance(node, yaml.MappingNode)
        and isinstance(new, dict)
        and {k.value for k, _ in node.value} == set(new)
    ):
        for inner, value in node.value:
            name = inner.value
            if not _is_same(old[name], new[name]):
                yield from _edits(text, inner, value, old[name], new[name], in_flow=is_flow)
    elif is_flow and not is_scalar:
        start, end = node.start_mark.index, node.end_mark.index
        yield start, end, _flow(_merged(_round_trip().load(text[start:end]), old, new))
    elif in_flow or (
        is_scalar and node.value and node.style not in ("|", ">") and not isinstance(new, dict | list)
    ):
        start = node.start_mark.index
        yield start, _end(node, text), ("" if node.value or node.style else " ") + _flow(_written(new))
    else:
        yield _edit_of_pair(text, key, node, old, new, key.value)


def _edit_of_pair(text: str, key: Any, node: Any, old: Any, new: Any, name: str) -> _Edit:
    """Round-trip the lines of a pair outside of braces."""
    start, column = key.start_mark.index, key.start_mark.column
    end = max(_end(node, text), key.end_mark.index + 1)
    end = (
        text.find("\n", end) if "\n" in text[end:] else len(text)
    )  # a comment behind the value belongs to it
    indent = " " * column
    lines = [line.removeprefix(indent) for line in text[start:end].split("\n")]
    parser = _round_trip()
    pair = parser.load("\n".join(lines))
    if name == key.value:
        pair[name] = _merged(pair[name], old, new)
    else:
        pair = {name: _written(new)}
    parser.indent(**_indentation(pair, {"mapping": 2, "sequence": 4, "offset": 2}))
    stream = io.StringIO()
    parser.dump(pair, stream)
    edited = stream.getvalue().rstrip("\n").split("\n")
    return start, end, "\n".join([edited[0], *(indent + line if line else line for line in edited[1:])])


def _round_trip() -> Any:
    """Return a parser and emitter for which every scalar is the text that it is, as for the loader of the settings."""
    from ruamel.yaml import YAML  # slow to import, and of use only where a file is edited
    from ruamel.yaml.resolver import VersionedResolver

    class TextResolver(VersionedResolver):
        """Finds no numbers, dates or nulls, which would be written in another way than they stand."""

        versioned_resolver: Mapping[str, Any] = {}

    parser = YAML()
    parser.Resolver = TextResolver
    parser.preserve_quotes = True
    parser.width = sys.maxsize
    return parser


def _indentation(node: Any, known: dict[str, int]) -> dict[str, int]:
    """Return how far the parts of a round-tripped mapping are indented, by the first of each kind."""
    for inside in node.values() if hasattr(node, "lc") and isinstance(node, dict) else ():
        if hasattr(inside, "lc") and inside and not inside.fa.flow_style():
            indent = inside.lc.col - node.lc.col
            if isinstance(inside, dict):
                return _indentation(inside, known) | {"mapping": indent}
            known = known | {"sequence": inside.lc.item(0)[1] - node.lc.col, "offset": indent}
    return known


def _merged(node: Any, old: Any, new: Any) -> Any:
    """Return a round-tripped value with what differs replaced; what is the same stays as it is written."""
    if isinstance(node, dict) and isinstance(old, dict) and isinstance(new, dict):
        for key in [key for key in node if key not in new]:
            _delete(node, key)
        for key, value in new.items():
            if key not in node or not _is_same(old[key], value):
                node[key] = _merged(node.get(key), old.get(key), value)
        return node
    if isinstance(node, list) and isinstance(new, list) and len(node) == len(new):
        for index, value in enumerate(new):
            if not _is_same(old[index], value):
                node[index] = _merged(node[index], old[index], value)
        return node
    return _written(new)


def _delete(node: Any, key: str) -> None:
    """Delete a key; comment lines below it belong to the next one."""
    comment = next((token.value for token in node.ca.items.get(key, ()) if hasattr(token, "value")), "")
    below = [line.strip().removeprefix("#").strip() for line in comment.split("\n")[1:] if line.strip()]
    following = next((each for each in list(node)[list(node).index(key) + 1 :]), None)
    del node[key]
    if below and following is not None:
        node.yaml_set_comment_before_after_key(following, before="\n".join(below), indent=node.lc.col)


def _written(value: Any) -> Any:
    """Return a JSON value with the scalars as the texts that stand in a file."""
    from ruamel.yaml import scalarstring

    if isinstance(value, dict):
        return {_written(key): _written(inside) for key, inside in value.items()}
    if isinstance(value, list):
        return list(map(_written, value))
    if not isinstance(value, str):
        return scalarstring.PlainScalarString(json.dumps(value))
    if not value.isprintable():
        return scalarstring.DoubleQuotedScalarString(escaped(value))
    if is_json_word(value) or value in _NO_TEXTS:
        return scalarstring.SingleQuotedScalarString(value)
    return escaped(value)


def _flow(value: Any) -> str:
    """Return a value as it stands inside of braces, on one line."""
    emitter, stream = _round_trip(), io.StringIO()
    emitter.default_flow_style = True
    emitter.dump({"a": value}, stream)  # in a list, one pair would have no braces
    return stream.getvalue().strip().removeprefix("{a: ").removesuffix("}")


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
