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
from voucherify_sync.events import Json
from voucherify_sync.settings.conversion import TESTS, is_json_word
from voucherify_sync.settings.mapping_tests import CONTAINS, Expected, MappingTest, MappingTestReader
from voucherify_sync.settings.template import escaped
from voucherify_sync.settings.yaml_nodes import Loader, Mistake, Problems, raise_all, read_document

_TEXT: Final = "tag:yaml.org,2002:str"
_RESOLVER: Final[Any] = yaml.resolver.Resolver()

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
    old, wanted = _plain(_tests_in(text, file, environment)[number].expect), _plain(expect)
    root: Any = yaml.compose(text, Loader=Loader)
    listed = next(node for key, node in root.value if key.value == TESTS)
    new_text = text
    for start, end, edited in sorted(_edits_of_test(text, listed.value[number], old, wanted), reverse=True):
        new_text = new_text[:start] + edited + new_text[end:]
    try:
        new = _plain(_tests_in(new_text, file, environment)[number].expect)
        is_right = _is_same(new, wanted) and _others(new_text, number) == _others(text, number)
    except (SettingsError, yaml.YAMLError, LookupError):
        is_right = False
    if not is_right:
        raise Mistake("cannot be updated in the style that it has; write `expect:` as indented lines")
    return new_text


def _tests_in(text: str, file: Path, environment: Mapping[str, str]) -> list[MappingTest]:
    problems = Problems(str(file))
    tests = MappingTestReader(problems, environment, file).tests(read_document(text, problems))
    raise_all([problems])
    return tests


def _others(text: str, number: int) -> Any:
    """Return what a file holds, without the expectation of a test."""
    data = yaml.load(text, Loader=Loader)  # noqa: S506 - it makes texts, lists and dicts only
    for key in ("expect", "expect_skipped"):
        data[TESTS][number].pop(key, None)
    return data


def _plain(expect: Expected | str) -> Json:
    if isinstance(expect, str):
        return {"expect_skipped": expect}
    return {"expect": {CONTAINS: expect.request} if expect.partial else expect.request}


def _is_same(one: Any, other: Any) -> bool:
    """Tell whether two JSON values are the same; true is not 1, and the order of keys does not count."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _edits_of_test(text: str, test: Any, old: Json, new: Json) -> Iterator[_Edit]:
    key, node = next((key, node) for key, node in test.value if key.value.startswith("expect"))
    ((name, value),) = new.items()
    if name == key.value:
        yield from _edits(text, key, node, old[name], value, in_flow=test.flow_style)
    elif test.flow_style:
        yield key.start_mark.index, _end_of_pair(key, node, text), _in_braces(_written(escaped(new)))[1:-1]
    else:
        yield _edit_of_pair(text, key, node, old, new)


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
    is_scalar, start = isinstance(node, yaml.ScalarNode), node.start_mark.index
    is_flow = in_flow or (not is_scalar and node.flow_style)
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        for inner, value in node.value:
            if not _is_same(old[inner.value], new[inner.value]):
                yield from _edits(text, inner, value, old[inner.value], new[inner.value], in_flow=is_flow)
    elif is_flow and not is_scalar:
        end = node.end_mark.index
        yield start, end, _in_braces(_merged(_round_trip().load(text[start:end]), old, new))
    elif is_flow or (
        is_scalar and node.value and node.style not in ("|", ">") and not isinstance(new, dict | list)
    ):
        space = "" if node.value or node.style else " "
        yield start, _end(node, text), space + _in_braces(_written(escaped(new)))
    else:
        yield _edit_of_pair(text, key, node, {key.value: old}, {key.value: new})


def _edit_of_pair(text: str, key: Any, node: Any, old: Json, new: Json) -> _Edit:
    """Round-trip the lines of a pair outside of braces, with a comment behind its value."""
    start, indent = key.start_mark.index, " " * key.start_mark.column
    end = (text + "\n").index("\n", _end_of_pair(key, node, text))
    parser, stream = _round_trip(), io.StringIO()
    lines = [line.removeprefix(indent) for line in text[start:end].split("\n")]
    pair = parser.load("\n".join(lines))
    ((name, comment),) = [(name, _comment(pair, name)) for name in pair]
    pair = _merged(pair, old, new)
    if comment and name not in new:
        pair.yaml_add_eol_comment(comment, next(iter(new)))
    parser.indent(**_indentation(pair, {"mapping": 2, "sequence": 4, "offset": 2}))
    parser.dump(pair, stream)
    first, *others = stream.getvalue().rstrip("\n").split("\n")
    return start, end, "\n".join([first, *(indent + line if line else line for line in others)])


def _comment(pair: Any, name: str) -> str:
    """Return the comment behind the value of a key, without the lines below it."""
    text: str = next((token.value for token in pair.ca.items.get(name, ()) if hasattr(token, "value")), "")
    return text.partition("\n")[0].strip()


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
                node[_written(key)] = _merged(node.get(key), old.get(key), value)
        return node
    if isinstance(node, list) and isinstance(new, list) and len(node) == len(new):
        for index, value in enumerate(new):
            if not _is_same(old[index], value):
                node[index] = _merged(node[index], old[index], value)
        return node
    return _written(escaped(new))


def _delete(node: Any, key: str) -> None:
    """Delete a key; comment lines below it, which ruamel keeps at its last scalar, belong to the next one."""
    holder: Any = node
    last: Any = key
    while isinstance(holder[last], dict | list) and holder[last] and not holder[last].fa.flow_style():
        holder = holder[last]
        last = list(holder)[-1] if isinstance(holder, dict) else len(holder) - 1
    comment = next((token.value for token in holder.ca.items.get(last, ()) if hasattr(token, "value")), "")
    below = [line.strip().removeprefix("#").strip() for line in comment.split("\n")[1:] if line.strip()]
    following = next((each for each in list(node)[list(node).index(key) + 1 :]), None)
    del node[key]
    if below and following is not None:
        node.yaml_set_comment_before_after_key(following, before="\n".join(below), indent=node.lc.col)


def _written(value: Any) -> Any:
    """Return a JSON value with the scalars as the texts that stand in a file."""
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString, PlainScalarString, SingleQuotedScalarString

    if isinstance(value, dict):
        return {_written(key): _written(inside) for key, inside in value.items()}
    if isinstance(value, list):
        return list(map(_written, value))
    if not isinstance(value, str):
        return PlainScalarString(json.dumps(value))
    if not value.isprintable():
        return DoubleQuotedScalarString(value)
    # Other programs read `on`, `yes` and dates without quotes as YAML 1.1 does.
    is_text = _RESOLVER.resolve(yaml.ScalarNode, value, (True, False)) == _TEXT and not is_json_word(value)
    return value if is_text else SingleQuotedScalarString(value)


def _in_braces(value: Any) -> str:
    """Return a value as it stands inside of braces, on one line."""
    emitter, stream = _round_trip(), io.StringIO()
    emitter.default_flow_style = emitter.brace_single_entry_mapping_in_flow_sequence = True
    emitter.dump({"a": value}, stream)  # in a list, one pair would have no braces
    return stream.getvalue().strip().removeprefix("{a: ").removesuffix("}")


def _end_of_pair(key: Any, node: Any, text: str) -> int:
    return max(_end(node, text), int(key.end_mark.index) + 1)


def _end(node: Any, text: str) -> int:
    """Return where a node really ends: marks of blocks lie behind the comments and blank lines that follow."""
    start, end = node.start_mark.index, int(node.end_mark.index)
    if isinstance(node, yaml.ScalarNode):
        return start + len(text[start:end].rstrip()) if node.style else end
    if node.flow_style:
        return end
    last = node.value[-1]
    return _end_of_pair(last[0], last[1], text) if isinstance(last, tuple) else _end(last, text)
