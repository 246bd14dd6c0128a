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
from voucherify_sync.text import on_one_line

MAX_SHOWN: Final = 50
MAX_DEPTH: Final = 32
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z_.\- ]{0,39}|<<")
Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # libyaml is not built everywhere
NULLS: Final = frozenset(("", "~", "null", "Null", "NULL"))
"""What YAML takes for null without quotes."""
_NOT_PRINTABLE: Final = yaml.reader.Reader.NON_PRINTABLE
_QUOTED: Final = re.compile(r"(['\"])(?:(.|<[a-z ]+>)|.*?)\1")
_FAULTS: Final = {
    "cannot start any token": "a value that begins with @, ` or %; quote it",
    "alphabetic or numeric": "a value that begins with * or &; quote it",
    "mapping values are not allowed": "a second `: ` on the line; quote a value that holds `: `, "
    "and indent like the lines around",
    "expected key": "a line that is indented differently; indent like the lines around",
    "block end": "a line that is indented differently; indent like the lines around",
    "expected ':'": "no `name: value`; write a space after the colon",
    "expected ','": "an open bracket or brace, or a second `: ` inside one; close it, and quote a value that holds "
    "${…} or `: `",
    "whitespace or line break": "a value that begins with !; quote it",
    "hexdecimal": "a backslash in double quotes; write it twice, or use single quotes",
    "hexadecimal": "a backslash in double quotes; write it twice, or use single quotes",
    "unknown escape": "a backslash in double quotes; write it twice, or use single quotes",
    "document start": "something behind the end of the settings; leave it out",
    "end of stream": "open quotes or brackets; close them",
}
"""Words of YAML's parsers -> what people have most likely written."""


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
    """The mistakes found so far, and what is likely to be meant otherwise.

    Attributes:
        file: the file's name as the user gave it.
        is_cut: the file ceases to be YAML somewhere, so that what follows is not known.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.is_cut = False
        self._spoiled_lines: set[int] = set()
        self._found: list[tuple[LineColumn, str]] = []
        self._doubts: list[tuple[LineColumn, str]] = []

    def add(self, place: LineColumn, path: str, message: str) -> None:
        """Note a mistake of the setting at `path`; an empty path means the file as such."""
        if place.line not in self._spoiled_lines:
            self._found.append((place, f"{path}: {message}" if path else message))

    def add_spoiled(self, place: LineColumn, message: str) -> None:
        """Note what spoils a line: what else is found on it would mislead."""
        self._found.append((place, message))
        self.spoil(place.line)

    def spoil(self, line: int) -> None:
        """Leave out what is found on a line from now on."""
        self._spoiled_lines.add(line)

    def replace_all(self, place: LineColumn, message: str) -> None:
        """Note one mistake of the file as such in place of all others, which follow from it."""
        self._found = [(place, message)]

    def doubt(self, place: LineColumn, path: str, message: str) -> None:
        """Note what can be, and is likely to be meant otherwise."""
        self._doubts.append((place, f"{path}: {message}"))

    @property
    def are_many(self) -> bool:
        """Tell whether more would not be shown anyway, so that no time need go into their wording."""
        return len(self._found) > MAX_SHOWN

    def lines(self) -> list[str]:
        """Return one line a mistake; beyond `MAX_SHOWN` only how many more there are."""
        return self._lines(self._found, "mistakes")

    def warnings(self) -> list[str]:
        """Return one line for each thing that is likely to be meant otherwise, as `lines` does."""
        return self._lines(self._doubts, "warnings")

    def _lines(self, found: list[tuple[LineColumn, str]], kind: str) -> list[str]:
        ordered = sorted(found, key=lambda problem: problem[0])
        lines = [f"{self.file}:{line}:{column}: {text}" for (line, column), text in ordered[:MAX_SHOWN]]
        if len(ordered) > MAX_SHOWN:
            lines.append(f"{self.file}: and {len(ordered) - MAX_SHOWN} {kind} more")
        return list(map(on_one_line, lines))


def raise_all(files: Iterable[Problems]) -> None:
    """Raise one SettingsError for the mistakes of all files, if there is one; the warnings follow them."""
    files = list(files)
    if lines := [line for problems in files for line in problems.lines()]:
        lines += [f"Warning: {line}" for problems in files for line in problems.warnings()]
        raise SettingsError(lines, "`voucherify-sync init -` prints a settings file with every setting.")


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
    if odd := _NOT_PRINTABLE.search(text):
        problems.add_spoiled(
            place_of(text, odd.start()), "a character that YAML does not allow; write it as an escape"
        )
        text = _NOT_PRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)
    try:
        return _Builder(text, problems).document()
    except Mistake as mistake:
        problems.add(mistake.place or LineColumn(1, 1), "", str(mistake))
    except (yaml.YAMLError, ValueError, OverflowError):
        problems.add(LineColumn(1, 1), "", "not valid YAML")
    return None


def place_of(text: str, index: int) -> LineColumn:
    """Return where a character of a text stands."""
    return LineColumn(text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index))


class _Builder:
    """Makes nodes of the parser's events: those still know of anchors and aliases, composed nodes do not.

    Where the text is no YAML, the tree ends with what stands before, so that the mistakes there are found, too.
    """

    def __init__(self, text: str, problems: Problems) -> None:
        self._text = text
        self._events: Iterator[Any] = yaml.parse(text, Loader=Loader)
        self._problems = problems
        self._last: Any = None

    def document(self) -> YamlNode | None:
        root: YamlNode | None = None
        while (event := self._next()) is not None and not isinstance(event, yaml.StreamEndEvent):
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    message = "only one document (`---`) is read"
                    self._problems.add(_place(event.start_mark), "", message)
                    break
                root = self._node(self._next(), "", 1)
        return root

    def _next(self) -> Any:
        """Return the next event, or None from the first mistake of syntax on."""
        if not self._problems.is_cut:
            try:
                self._last = next(self._events)
            except yaml.MarkedYAMLError as error:
                place = _place(error.problem_mark or error.context_mark)
                if self._last is not None and self._last.end_mark.line + 1 == place.line:
                    self._problems.spoil(_place(self._last.start_mark).line)  # the value goes on to that line
                self._problems.add_spoiled(place, f"not valid YAML: {self._meant(error, place)}")
                self._problems.is_cut = True
            else:
                return self._last
        return None

    def _meant(self, error: Any, place: LineColumn) -> str:
        """Return what is likely wrong; else the parser's words without what they quote, which may be a secret."""
        words = _QUOTED.sub(lambda quoted: quoted[0] if quoted[2] else "…", error.problem or "cannot be read")
        line = self._text.split("\n")[place.line - 1 : place.line]
        if line and line[0][place.column - 1 : place.column] == "\t":
            return "a tab; indent with spaces"
        if "expected key" in words and line and line[0][: place.column - 1].strip():
            return "text behind a value in quotes; inside single quotes, write '' for one quote"
        return next((meant for part, meant in _FAULTS.items() if part in words), words)

    def _node(self, event: Any, path: str, depth: int) -> YamlNode:
        if event is None:
            return YamlNode(LineColumn(1, 1))
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
            while (inside := self._next()) is not None and not isinstance(inside, yaml.SequenceEndEvent):
                items.append(self._node(inside, path, depth + 1))
            return YamlNode(place, items=items)
        pairs: dict[str, tuple[YamlNode, YamlNode]] = {}
        while (inside := self._next()) is not None and not isinstance(inside, yaml.MappingEndEvent):
            self._add_pair(inside, pairs, path, depth + 1)
        return YamlNode(place, pairs=pairs)

    def _add_pair(
        self, event: Any, pairs: dict[str, tuple[YamlNode, YamlNode]], path: str, depth: int
    ) -> None:
        key = self._node(event, path, depth)
        name = "…" if key.text is None else shown(key.text)
        inner = f"{path}.{name}" if path else name
        value = self._node(self._next(), inner, depth)
        if key.text is None:
            if not key.is_noted:
                self._problems.add(key.place, path, "a key must be a text; quote it")
        elif key.plain and key.text == "<<":
            self._problems.add(key.place, inner, "a merge key (<<); write out what it stands for")
        elif key.text in pairs:
            earlier, first = pairs[key.text]
            lines = f"in line {earlier.place.line} and in line {key.place.line}"
            self._problems.add(key.place, inner, f"given twice, {lines}; leave one out")
            if first.pairs is not None:  # the mistakes of both are found
                for name, pair in (value.pairs or {}).items():
                    first.pairs.setdefault(name, pair)
        else:
            pairs[key.text] = key, value


def _place(mark: Any) -> LineColumn:
    return LineColumn(mark.line + 1, mark.column + 1) if mark else LineColumn(1, 1)
