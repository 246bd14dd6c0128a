"""The mistakes of a settings file with their places; they are raised all at once, in the file's order.

A message never quotes a value: one mistyped line is enough to put a secret where a name is expected.

Text of a settings file -> a tree of nodes with their places; every scalar stays the text that it was.

Refuses what YAML offers beyond that: anchors, aliases, merge keys, tags, duplicate keys, depth.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, cast

import yaml
from msgspec import Struct

from voucherify_sync.errors import SettingsError

MAX_SHOWN = 50
_NAME = re.compile(r"[A-Za-z_][A-Za-z_.\- ]{0,39}|<<")


class Mistake(ValueError):
    """A value that a setting cannot have; the text says what it takes instead."""


class Place(Struct, frozen=True, order=True):
    """Where something stands in the file, both numbers 1-based."""

    line: int
    column: int


class Problems:
    """The mistakes found so far.

    Attributes:
        file: the file's name as the user gave it.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self._found: list[tuple[Place, str]] = []

    def add(self, place: Place, path: str, message: str) -> None:
        """Note a mistake of the setting at `path`; an empty path means the file as such."""
        self._found.append((place, f"{path}: {message}" if path else message))

    @property
    def are_many(self) -> bool:
        """Tell whether more would not be shown anyway, so that no time need go into their wording."""
        return len(self._found) > MAX_SHOWN

    def lines(self) -> list[str]:
        """Return one line a mistake; beyond `MAX_SHOWN` only how many more there are."""
        ordered = sorted(self._found, key=lambda problem: problem[0])
        shown = [
            _clean(f"{self.file}:{place.line}:{place.column}: {text}") for place, text in ordered[:MAX_SHOWN]
        ]
        if len(ordered) > MAX_SHOWN:
            shown.append(f"{_clean(self.file)}: and {len(ordered) - MAX_SHOWN} mistakes more")
        return shown

    def raise_any(self) -> None:
        """Raise SettingsError if there is a mistake."""
        raise_all([self])


def raise_all(files: Iterable[Problems]) -> None:
    """Raise one SettingsError for the mistakes of all files, if there is one."""
    lines = [line for problems in files for line in problems.lines()]
    if lines:
        raise SettingsError(lines, "`voucherify-sync init` writes a settings file with every setting.")


def shown(key: str) -> str:
    """Return a key for a message if it looks like a name: whatever else stands there may be a secret."""
    return key if _NAME.fullmatch(key) else "…"


def _clean(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


MAX_DEPTH = 32
_Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_NOT_PRINTABLE = yaml.reader.Reader.NON_PRINTABLE
_QUOTED = re.compile(r"(['\"])(?:(.|<[a-z ]+>)|.*?)\1")
_HINTS = {
    "cannot start any token": "quote a value that begins with @, ` or %, and indent with spaces, not tabs",
    "alphabetic or numeric": "quote a value that begins with * or &",
    "mapping values are not allowed": "quote a value that holds `: `, and indent like the lines around",
    "expected key": "indent like the lines around",
    "block end": "indent like the lines around",
    "expected ':'": "write `name: value`, with a space after the colon",
    "expected ','": "close the bracket or brace, and quote a value that holds ${…} inside one",
    "end of stream": "close the quotes or brackets that are open",
}


class Scalar(Struct, frozen=True):
    """A text; `plain` means that it stands there without quotes."""

    text: str
    plain: bool
    place: Place

    @property
    def is_null(self) -> bool:
        """Nothing, ~ or null without quotes: the setting keeps its default."""
        return self.plain and self.text in {"", "~", "null", "Null", "NULL"}


class Pairs(Struct, frozen=True):
    """`key: value` lines; no key occurs twice."""

    pairs: list[tuple[Scalar, Node]]
    place: Place


class Items(Struct, frozen=True):
    """A list."""

    items: list[Node]
    place: Place


class Broken(Struct, frozen=True):
    """What has been complained of already."""

    place: Place


Node = Scalar | Pairs | Items | Broken


class _UnreadableError(Exception):
    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.place = place


def read_document(text: str, problems: Problems) -> Node | None:
    """Return the file's tree, or None if it is empty or unreadable; what is wrong is added to `problems`."""
    odd = _NOT_PRINTABLE.search(text)
    if odd:
        problems.add(
            _place_of(text, odd.start()), "", "a character that YAML does not allow; write it as an escape"
        )
        return None
    try:
        return _Builder(yaml.parse(text, Loader=_Loader), problems).document()
    except _UnreadableError as error:
        problems.add(error.place, "", str(error))
    except yaml.MarkedYAMLError as error:
        problems.add(_place(error.problem_mark or error.context_mark), "", _syntax_message(error.problem))
    except (yaml.YAMLError, ValueError, OverflowError):
        problems.add(Place(1, 1), "", "not valid YAML")
    return None


class _Builder:
    """Makes nodes of the parser's events: those still know of anchors and aliases, composed nodes do not."""

    def __init__(self, events: Iterator[yaml.Event], problems: Problems) -> None:
        self._events = events
        self._problems = problems

    def document(self) -> Node | None:
        root: Node | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise _UnreadableError(_place(event.start_mark), "only one document (`---`) is read")
                root = self._node(next(self._events), "", 1)
        return root

    def _node(self, event: yaml.Event, path: str, depth: int) -> Node:
        place = _place(event.start_mark)
        if depth > MAX_DEPTH:
            raise _UnreadableError(place, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            self._problems.add(place, path, "an alias (*); quote the value, or write out what it stands for")
            return Broken(place)
        self._refuse_extras(cast("yaml.NodeEvent", event), place, path)
        if isinstance(event, yaml.ScalarEvent):
            return Scalar(event.value, event.style is None or event.style == "", place)
        if isinstance(event, yaml.SequenceStartEvent):
            return Items(
                [self._node(each, path, depth + 1) for each in self._until(yaml.SequenceEndEvent)], place
            )
        return Pairs(self._pairs(path, depth), place)

    def _until(self, end: type[yaml.Event]) -> Iterator[yaml.Event]:
        while not isinstance(event := next(self._events), end):
            yield event

    def _refuse_extras(self, event: Any, place: Place, path: str) -> None:
        if event.anchor is not None:
            self._problems.add(place, path, "an anchor (&); quote the value, or leave the anchor out")
        if event.tag is not None:
            self._problems.add(place, path, "a tag (!); quote the value")

    def _pairs(self, path: str, depth: int) -> list[tuple[Scalar, Node]]:
        pairs: dict[str, tuple[Scalar, Node]] = {}
        for event in self._until(yaml.MappingEndEvent):
            key = self._node(event, path, depth + 1)
            name = shown(key.text) if isinstance(key, Scalar) else "…"
            inner = f"{path}.{name}" if path else name
            value = self._node(next(self._events), inner, depth + 1)
            if isinstance(key, Scalar) and not self._complained(key, pairs, inner):
                pairs[key.text] = (key, value)
            elif isinstance(key, Pairs | Items):
                self._problems.add(key.place, path, "a key must be a text; quote it")
        return list(pairs.values())

    def _complained(self, key: Scalar, pairs: dict[str, tuple[Scalar, Node]], path: str) -> bool:
        if key.plain and key.text == "<<":
            self._problems.add(key.place, path, "a merge key (<<); write out what it stands for")
            return True
        if key.text in pairs:
            first = pairs[key.text][0].place
            self._problems.add(
                key.place, path, f"given twice, in line {first.line} and in line {key.place.line}"
            )
            return True
        return False


def _place(mark: Any) -> Place:
    return Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)


def _place_of(text: str, index: int) -> Place:
    before = text[:index]
    return Place(before.count("\n") + 1, index - before.rfind("\n"))


def _syntax_message(problem: str | None) -> str:
    """Return the parser's words without what they quote, which may be a secret, and what usually helps."""
    words = _QUOTED.sub(lambda quoted: quoted[0] if quoted[2] else "…", problem or "cannot be read")
    hint = next((hint for part, hint in _HINTS.items() if part in words), "")
    return f"not valid YAML: {words}" + (f"; {hint}" if hint else "")
