"""Reads the text of a settings file into nodes with their places; every scalar stays the text that it is.

What YAML offers beyond that is refused: anchors, aliases, merge keys, tags, duplicate keys, depth. All mistakes of a
file are collected, and shown in the file's order. A message never quotes a value: one mistyped line is enough to put a
secret where a name is expected.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import yaml
from msgspec import Struct

from voucherify_sync.errors import SettingsError

MAX_SHOWN: Final = 50
MAX_DEPTH: Final = 32
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z_.\- ]{0,39}|<<")
Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # libyaml is not built everywhere
NULLS: Final = frozenset(("", "~", "null", "Null", "NULL"))
"""What YAML takes for null without quotes."""
_NOT_PRINTABLE: Final = yaml.reader.Reader.NON_PRINTABLE
_QUOTED: Final = re.compile(r"(['\"])(?:(.|<[a-z ]+>)|.*?)\1")
_HINTS: Final = {
    "cannot start any token": "quote a value that begins with @, ` or %, and indent with spaces, not tabs",
    "alphabetic or numeric": "quote a value that begins with * or &",
    "mapping values are not allowed": "quote a value that holds `: `, and indent like the lines around",
    "expected key": "indent like the lines around",
    "block end": "indent like the lines around",
    "expected ':'": "write `name: value`, with a space after the colon",
    "expected ','": "close the bracket or brace, and quote a value that holds ${…} inside one",
    "end of stream": "close the quotes or brackets that are open",
}


class LineColumn(NamedTuple):
    """Where something stands in the file, both numbers 1-based."""

    line: int
    column: int


class Mistake(ValueError):
    """A value that a setting cannot have; the text says what it takes instead.

    Attributes:
        place: where it stands; None if the caller knows that.
    """

    def __init__(self, message: str, place: LineColumn | None = None) -> None:
        super().__init__(message)
        self.place = place


class Problems:
    """The mistakes found so far.

    Attributes:
        file: the file's name as the user gave it.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self._found: list[tuple[LineColumn, str]] = []

    def add(self, place: LineColumn, path: str, message: str) -> None:
        """Note a mistake of the setting at `path`; an empty path means the file as such."""
        self._found.append((place, f"{path}: {message}" if path else message))

    @property
    def are_many(self) -> bool:
        """Tell whether more would not be shown anyway, so that no time need go into their wording."""
        return len(self._found) > MAX_SHOWN

    def lines(self) -> list[str]:
        """Return one line a mistake; beyond `MAX_SHOWN` only how many more there are."""
        ordered = sorted(self._found, key=lambda problem: problem[0])
        lines = [f"{self.file}:{line}:{column}: {text}" for (line, column), text in ordered[:MAX_SHOWN]]
        if len(ordered) > MAX_SHOWN:
            lines.append(f"{self.file}: and {len(ordered) - MAX_SHOWN} mistakes more")
        return [
            "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line) for line in lines
        ]


def raise_all(files: Iterable[Problems]) -> None:
    """Raise one SettingsError for the mistakes of all files, if there is one."""
    lines = [line for problems in files for line in problems.lines()]
    if lines:
        raise SettingsError(lines, "`voucherify-sync init` writes a settings file with every setting.")


def shown(key: str) -> str:
    """Return a key for a message if it looks like a name: anything else may be a secret."""
    return key if _NAME.fullmatch(key) else "…"


class YamlNode(Struct, frozen=True):
    """A part of the file. It has a text, pairs or items; none of them if it is a mistake that is noted already.

    Attributes:
        place: where it begins.
        text: of a scalar.
        plain: the text stands there without quotes.
        pairs: of `key: value` lines, the nodes of key and value by the key's text.
        items: of a list.
    """

    place: LineColumn
    text: str | None = None
    plain: bool = False
    pairs: dict[str, tuple[YamlNode, YamlNode]] | None = None
    items: list[YamlNode] | None = None

    @property
    def is_null(self) -> bool:
        """Nothing, ~ or null without quotes: the setting keeps its default."""
        return self.plain and self.text in NULLS

    @property
    def is_noted(self) -> bool:
        """It is a mistake that is noted already."""
        return self.text is None and self.pairs is None and self.items is None


def read_document(text: str, problems: Problems) -> YamlNode | None:
    """Return the file's tree, or None if it is empty or unreadable; what is wrong is added to `problems`."""
    odd = _NOT_PRINTABLE.search(text)
    if odd:
        before = text[: odd.start()]
        place = LineColumn(before.count("\n") + 1, odd.start() - before.rfind("\n"))
        problems.add(place, "", "a character that YAML does not allow; write it as an escape")
        return None
    try:
        return _Builder(yaml.parse(text, Loader=Loader), problems).document()
    except Mistake as mistake:
        problems.add(mistake.place or LineColumn(1, 1), "", str(mistake))
    except yaml.MarkedYAMLError as error:
        # The parser's words without what they quote, which may be a secret, and what usually helps.
        words = _QUOTED.sub(lambda quoted: quoted[0] if quoted[2] else "…", error.problem or "cannot be read")
        hint = next((f"; {hint}" for part, hint in _HINTS.items() if part in words), "")
        problems.add(_place(error.problem_mark or error.context_mark), "", f"not valid YAML: {words}{hint}")
    except (yaml.YAMLError, ValueError, OverflowError):
        problems.add(LineColumn(1, 1), "", "not valid YAML")
    return None


class _Builder:
    """Makes nodes of the parser's events: those still know of anchors and aliases, composed nodes do not."""

    def __init__(self, events: Iterator[Any], problems: Problems) -> None:
        self._events = events
        self._problems = problems

    def document(self) -> YamlNode | None:
        root: YamlNode | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise Mistake("only one document (`---`) is read", _place(event.start_mark))
                root = self._node(next(self._events), "", 1)
        return root

    def _node(self, event: Any, path: str, depth: int) -> YamlNode:
        place = _place(event.start_mark)
        if depth > MAX_DEPTH:
            raise Mistake(f"nested deeper than {MAX_DEPTH} levels", place)
        if isinstance(event, yaml.AliasEvent):
            self._problems.add(place, path, "an alias (*); quote the value, or write out what it stands for")
            return YamlNode(place)
        if event.anchor is not None:
            self._problems.add(place, path, "an anchor (&); quote the value, or leave the anchor out")
        if event.tag is not None:
            self._problems.add(place, path, "a tag (!); quote the value")
        if isinstance(event, yaml.ScalarEvent):
            return YamlNode(place, event.value, plain=not event.style)
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[YamlNode] = []
            while not isinstance(inside := next(self._events), yaml.SequenceEndEvent):
                items.append(self._node(inside, path, depth + 1))
            return YamlNode(place, items=items)
        pairs: dict[str, tuple[YamlNode, YamlNode]] = {}
        while not isinstance(inside := next(self._events), yaml.MappingEndEvent):
            self._add_pair(inside, pairs, path, depth + 1)
        return YamlNode(place, pairs=pairs)

    def _add_pair(
        self, event: Any, pairs: dict[str, tuple[YamlNode, YamlNode]], path: str, depth: int
    ) -> None:
        key = self._node(event, path, depth)
        name = "…" if key.text is None else shown(key.text)
        inner = f"{path}.{name}" if path else name
        value = self._node(next(self._events), inner, depth)
        if key.text is None:
            if not key.is_noted:
                self._problems.add(key.place, path, "a key must be a text; quote it")
        elif key.plain and key.text == "<<":
            self._problems.add(key.place, inner, "a merge key (<<); write out what it stands for")
        elif key.text in pairs:
            lines = f"in line {pairs[key.text][0].place.line} and in line {key.place.line}"
            self._problems.add(key.place, inner, f"given twice, {lines}")
        else:
            pairs[key.text] = key, value


def _place(mark: Any) -> LineColumn:
    return LineColumn(mark.line + 1, mark.column + 1) if mark else LineColumn(1, 1)
