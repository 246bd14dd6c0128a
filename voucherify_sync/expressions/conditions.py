"""Parse conditions in Segment's trigger language, and compile them into predicates of an event.

A condition has terms such as ``event = "Order Completed"`` or ``contains(properties.plan, "pro")``, joined by ``and``
or ``or``, with parentheses. What Segment, without a word, reads otherwise than it looks is refused. Keywords, functions
and fields count in their own spelling only, as with Segment, to which ``a OR b`` means ``a and b``.

Two readings differ from Segment's, and are not refused because they leave no doubt: there, the ``)`` of a function ends
the group around it, too; and a false, 0 or ``""`` in the middle of a path is what the path leads to, not nothing.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import isfinite
from typing import Any, Final, Literal, NamedTuple

from msgspec import Struct

from voucherify_sync.events import EVENT_TYPES
from voucherify_sync.paths import MISSING, FieldPath, parse_source, path_of, read
from voucherify_sync.text import clean, did_you_mean, folded_key, similar, text_of

Predicate = Callable[[dict[Any, Any]], bool]
"""Tells whether something holds of an event's fields. Never raises."""
Word = Literal["and", "or"]

TEXT_FIELDS: Final = ("type", "event", "name", "userId", "anonymousId")
OBJECT_FIELDS: Final = ("properties", "traits", "context")
FIELDS: Final = TEXT_FIELDS + OBJECT_FIELDS
MAX_DEPTH: Final = 50
"""Parentheses inside one another."""
_MAX_NUMBER_LENGTH: Final = 400
"""Characters: enough for the decimal text of every double."""

_EXAMPLE: Final = 'event = "Order Completed"'
_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_EQUALITY: Final = ("=", "!=")
_FUNCTIONS: Final = ("contains", "match")
_CONSTANTS: Final = {"true": True, "false": False, "null": None}
_KEYWORDS: Final = ("and", "or", *_CONSTANTS)

_OTHER_QUOTES: Final = "'`‘’“”„«»"  # noqa: RUF001 - word processors put them in place of the plain ones
_QUOTED: Final = r'"(?:[^"\\]|\\.)*"'
_NAME: Final = r"(?:[\w$-]|\\.)"
_TOKEN: Final = re.compile(
    rf"""(?P<text>{_QUOTED})
    |(?P<unclosed>".*)
    |(?P<quoted>[{_OTHER_QUOTES}][^"{_OTHER_QUOTES}]*["{_OTHER_QUOTES}]?)
    |(?P<number>[+-]?\.?[0-9][\w.]*)
    |(?P<word>(?:[^\W\d]|\$|\\.){_NAME}*(?:\.(?:{_QUOTED}|{_NAME}*))*)
    |(?P<operator>[=<>!&|~]+)
    |(?P<mark>[(),])
    |(?P<other>\S)
    |\s+""",
    re.DOTALL | re.VERBOSE,
)
_KEY: Final = re.compile(rf"(?:^|\.)(?:(?P<quoted>{_QUOTED})|(?P<plain>{_NAME}*))", re.DOTALL)
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")
_PLAIN_KEY: Final = re.compile(r"[\w$-]+")
_BEFORE_QUOTE: Final = re.compile(r'(?<!\\)\\+(?="|\Z)')
"""Backslashes that stand for half as many. All others stand for themselves, as with Segment."""

_WRITE_INSTEAD: Final = {
    **dict.fromkeys(("==", "==="), "write = for equal"),
    **dict.fromkeys(("<>", "!==", "=!", "~="), "write != for unequal"),
    "=<": "write <= for at most",
    "=>": "write >= for at least",
    **dict.fromkeys(("&&", "&"), "write and"),
    **dict.fromkeys(("||", "|"), "write or"),
    **dict.fromkeys(("~", "=~"), 'write contains(event, "…") or match(event, "…*")'),
    "in": 'write (event = "A" or event = "B")',
    "not": "write !=, or ! before contains() or match()",
    "is": "write = or !=, such as event != null",
    "like": 'write match(event, "Order*") or contains(event, "Order")',
}
"""Operators and words of other languages -> what stands for them here."""


class ConditionError(ValueError):
    """A text that is no condition. The message is a sentence: what is wrong, and what to write instead.

    Attributes:
        column: 1-based column in the text.
    """

    def __init__(self, message: str, column: int) -> None:
        super().__init__(clean(message, 400))
        self.column = column


class Term(Struct, frozen=True):
    """One comparison of a field with a value.

    Attributes:
        path: the field.
        operator: ``= != < <= > >=``, ``contains``, ``match``, ``!contains`` or ``!match``.
        value: a text, a number, a boolean, or None for null. Of ``match`` the pattern, with its star.
    """

    path: FieldPath
    operator: str
    value: str | float | bool | None


class Combination(Struct, frozen=True):
    """Terms and groups joined by one word.

    Attributes:
        word: ``and`` or ``or``.
        members: two or more, in the order of the text; the groups among them have the other word.
    """

    word: Word
    members: tuple[Term | Combination, ...]


Tree = Term | Combination


class Condition(Struct, frozen=True, eq=False):
    """A condition, ready to be tried on events. Its text says all of it: that is compared, and sent to other processes.

    Attributes:
        text: as it was written.
        tree: what was parsed.
        holds: tells whether it holds of an event's fields, as they came. Never raises.
        sources: the fields that it reads, each once.
    """

    text: str
    tree: Tree
    holds: Predicate
    sources: tuple[FieldPath, ...]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Condition) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __reduce__(self) -> tuple[Callable[[str], Condition], tuple[str]]:
        return parse_condition, (self.text,)

    def event_names(self) -> list[str]:
        """Return the names of events that it compares with; a ``*`` in one stands for any characters."""
        names = []
        for term in _terms_of(self.tree):
            if term.path.keys == ("event",) and isinstance(term.value, str):
                if term.operator.endswith("match"):
                    names.append(term.value)
                elif "*" not in term.value:  # which would be that very character
                    names.append(f"*{term.value}*" if term.operator.endswith("contains") else term.value)
        return list(dict.fromkeys(names))

    def doubts(self, type_: str | None = None, *, has_never_held: bool = False) -> Iterator[str]:
        """Yield a sentence for each term that is likely to be meant otherwise.

        Args:
            type_: of all events that it is asked of; None if it is asked of several types.
            has_never_held: it held of no event. Then a star is doubted in every field, and not in names only.
        """
        for term in _terms_of(self.tree):
            field, value = term.path.keys, term.value
            if term.operator not in _EQUALITY or not isinstance(value, str):
                continue
            if field == ("type",) and value not in EVENT_TYPES:
                near = similar(value.strip(), EVENT_TYPES, fold=str.lower, most=1, cutoff=0.6)
                meant = did_you_mean([_quoted(each) for each in near])
                yield f"{text_of_tree(term)}: the types are {', '.join(EVENT_TYPES)}{meant}"
            elif field == ("type",) and type_ not in (None, value):
                yield f"{text_of_tree(term)}: this condition is asked of {type_} events only; leave the type out"
            elif (
                (has_never_held or field in (("event",), ("name",)))
                and value.strip("*")
                and _is_pattern(value)
            ):
                negation = "!" if term.operator == "!=" else ""
                meant = did_you_mean([f"{negation}match({_field_text(term.path)}, {_quoted(value)})"])
                yield f"{text_of_tree(term)}: the * stands for itself here{meant}"


class Trigger(Struct, frozen=True):
    """A trigger of a Segment subscription, taken apart. It holds where all three parts hold.

    Attributes:
        types: the event is of one of these types; empty: it names none.
        events: the event has one of these names; empty: it names none, or events of a type other than track.
        rest: what else must hold; None for nothing.
    """

    types: tuple[str, ...]
    events: tuple[str, ...]
    rest: Condition | None


def parse_condition(text: str) -> Condition:
    """Parse and compile a condition.

    Raises:
        ConditionError: the text is none, or Segment would read it otherwise than it looks.
    """
    tree = _Parser(text).parse()
    sources = tuple(dict.fromkeys(term.path for term in _terms_of(tree)))
    return Condition(text, tree, _predicate(tree), sources)


def text_of_tree(tree: Tree) -> str:
    """Return the text that parses to the tree."""
    if isinstance(tree, Combination):
        return f" {tree.word} ".join(
            f"({text_of_tree(member)})" if isinstance(member, Combination) else text_of_tree(member)
            for member in tree.members
        )
    field = _field_text(tree.path)
    if tree.operator in _COMPARE:
        return f"{field} {tree.operator} {_value_text(tree.value)}"
    return f"{tree.operator}({field}, {_value_text(tree.value)})"


def split_trigger(text: str) -> Trigger:
    """Take the types and the names of events out of a trigger.

    Names are taken where the trigger is for track events, or for no type at all. Anywhere else they stay in the rest.

    Raises:
        ConditionError: the text is no condition, or its type is asked otherwise than by ``=`` and joined by ``and``.
    """
    parser = _Parser(text)
    tree = parser.parse()
    rest = list(tree.members) if isinstance(tree, Combination) and tree.word == "and" else [tree]
    types = _take_alternatives(rest, "type")
    events = _take_alternatives(rest, "event") if types in ((), ("track",)) else ()
    remaining = {id(term) for member in rest for term in _terms_of(member)}
    for column, term in zip(parser.columns, _terms_of(tree), strict=True):
        if term.path.keys == ("type",) and id(term) in remaining:
            raise ConditionError(
                'the type cannot be split from the rest; write it once and join it by and: type = "track" and …',
                column,
            )
    return Trigger(types, events, parse_condition(text_of_tree(joined("and", rest))) if rest else None)


def _take_alternatives(members: list[Tree], field: str) -> tuple[str, ...]:
    """Remove the first member that says which texts a field may have, and return these, each once."""
    for number, member in enumerate(members):
        terms = member.members if isinstance(member, Combination) and member.word == "or" else (member,)
        values = [
            term.value
            for term in terms
            if isinstance(term, Term) and term.path.keys == (field,) and term.operator == "="
        ]
        texts = [value for value in values if isinstance(value, str)]
        if len(texts) == len(terms):
            del members[number]
            return tuple(dict.fromkeys(texts))
    return ()


def joined(word: Word, members: Sequence[Tree]) -> Tree:
    """Return what the members make together; groups of the same word are merged."""
    merged: list[Tree] = []
    for member in members:
        merged += member.members if isinstance(member, Combination) and member.word == word else [member]
    return merged[0] if len(merged) == 1 else Combination(word, tuple(merged))


def _terms_of(tree: Tree) -> Iterator[Term]:
    """Yield the terms in the order of the text."""
    if isinstance(tree, Term):
        yield tree
    else:
        for member in tree.members:
            yield from _terms_of(member)


# -- evaluation


def _predicate(tree: Tree) -> Predicate:
    if isinstance(tree, Term):
        test = _test(tree)
        if len(tree.path.keys) == 1:
            field = tree.path.keys[0]
            return lambda fields: test(fields.get(field))
        get = _reader(tree.path)
        return lambda fields: test(get(fields))
    first, *others = map(_predicate, tree.members)
    return _all_of(first, others) if tree.word == "and" else _any_of(first, others)


def _all_of(first: Predicate, others: list[Predicate]) -> Predicate:
    def holds(fields: dict[Any, Any]) -> bool:
        if not first(fields):
            return False
        for other in others:  # noqa: SIM110 - a generator costs half as much as a whole condition
            if not other(fields):
                return False
        return True

    return holds


def _any_of(first: Predicate, others: list[Predicate]) -> Predicate:
    def holds(fields: dict[Any, Any]) -> bool:
        if first(fields):
            return True
        for other in others:  # noqa: SIM110 - as above
            if other(fields):
                return True
        return False

    return holds


def _reader(path: FieldPath) -> Callable[[dict[Any, Any]], Any]:
    """Return a function that reads as `read` does, but None where there is nothing. The path has two keys or more."""
    root, key = path.keys[0], path.keys[1]
    dotted_key = path.steps[0].dotted_key

    def get_below(fields: dict[Any, Any]) -> Any:
        if dotted_key in fields:
            return fields[dotted_key]
        value = fields.get(root)
        return value.get(key) if isinstance(value, dict) else None

    def get(fields: dict[Any, Any]) -> Any:
        value = read(fields, path)
        return None if value is MISSING else value

    return get_below if len(path.keys) == 2 else get


def _test(term: Term) -> Callable[[Any], bool]:
    """Return whether a value, None for a missing one, is what the term asks for."""
    wanted = term.value
    if term.operator not in _COMPARE:
        return _text_test(term.operator, str(wanted))
    compare = _COMPARE[term.operator]
    if wanted is None:
        return partial(operator.is_ if term.operator == "=" else operator.is_not, None)
    if isinstance(wanted, bool):
        return partial(operator.is_, wanted)
    if isinstance(wanted, str):
        return partial(compare, wanted)  # only = and !=, which work both ways
    return lambda value: (type(value) is float or type(value) is int) and compare(value, wanted)


def _text_test(function: str, text: str) -> Callable[[Any], bool]:
    """Return the test of contains() or match(), which no value but a text passes, negated or not."""
    wanted = not function.startswith("!")
    if function.endswith("contains"):
        return lambda value: isinstance(value, str) and (text in value) is wanted
    if text.endswith("*"):
        start = text[:-1]
        return lambda value: isinstance(value, str) and value.startswith(start) is wanted
    end = text[1:]
    return lambda value: isinstance(value, str) and value.endswith(end) is wanted


# -- text


def _field_text(path: FieldPath) -> str:
    root, *below = map(str, path.keys)
    return ".".join([root, *(key if _PLAIN_KEY.fullmatch(key) else _quoted(key) for key in below)])


def _value_text(value: str | float | bool | None) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, float):
        number = text_of(value) or ""
        return number if "." in number else f"{number}.0"
    return "null" if value is None else str(value).lower()


def _quoted(text: str) -> str:
    doubled = _BEFORE_QUOTE.sub(lambda run: run[0] * 2, text)
    return '"' + doubled.replace('"', '\\"') + '"'


def _unquoted(quoted: str) -> str:
    r"""Return the text of a quoted one: ``\"`` is a quote, and only backslashes before a quote are halved."""
    return _BEFORE_QUOTE.sub(lambda run: run[0][: len(run[0]) // 2], quoted[1:-1])


# -- parsing


class _Piece(NamedTuple):
    """A piece of a condition.

    Attributes:
        kind: text, number, word, operator, quoted (by other quotes), other or end; of ``( ) , !`` the sign itself.
        text: as it is written.
        column: 1-based.
    """

    kind: str
    text: str
    column: int

    @property
    def end(self) -> int:
        return self.column + len(self.text)


def _tokens_of(text: str) -> Iterator[_Piece]:
    for match in _TOKEN.finditer(text):
        kind, piece, column = match.lastgroup, match[0], match.start() + 1
        if kind == "unclosed":
            raise ConditionError('this quote is not closed; end the text with "', column)
        if kind is not None:
            yield _Piece(piece if kind == "mark" or piece == "!" else kind, piece, column)
    yield _Piece("end", "", len(text) + 1)


class _Parser:
    """Reads one condition from left to right.

    Attributes:
        columns: 1-based columns of the terms, in the order of the text.
    """

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens_of(text))
        self._at = 0
        self.columns: list[int] = []

    def parse(self) -> Tree:
        if self._next.kind == "end":
            raise ConditionError(f"the condition is empty; write one such as {_EXAMPLE}", 1)
        tree = self._group(0)
        if self._next.kind == ")":
            raise ConditionError("no parenthesis is open here; leave the ) out", self._next.column)
        self._expect("end", "and, or, or nothing")
        return tree

    @property
    def _next(self) -> _Piece:
        return self._tokens[self._at]

    def _take(self) -> _Piece:
        token = self._next
        self._at += token.kind != "end"
        return token

    def _expect(self, kind: str, expected: str) -> _Piece:
        if self._next.kind != kind:
            raise self._refusal(expected)
        return self._take()

    def _refusal(self, expected: str) -> ConditionError:
        """Return why the next token is refused where something else is expected, with what is likely meant."""
        kind, text, column = self._next
        shown = clean(text, 40)
        if kind == "end":
            message = f"the condition ends too early; {expected} must follow"
        elif kind == "quoted":
            inner = clean(text.strip(_OTHER_QUOTES + '"'), 40)
            message = f'a text stands in plain double quotes; write "{inner}"'
        elif text in _WRITE_INSTEAD:
            message = f"conditions have no {shown}; {_WRITE_INSTEAD[text]}"
        elif text.lower() in _KEYWORDS and text not in _KEYWORDS:
            message = f"{shown} is no keyword; write {text.lower()} in lower case"
        elif text == "[":
            message = "conditions have no brackets and read no items of lists; write properties.key or "
            message += 'properties."my key"'
        else:
            message = f"{shown} does not fit here; write {expected}"
        return ConditionError(message, column)

    def _group(self, depth: int) -> Tree:
        members = [self._member(depth)]
        word: Word | None = None
        while self._next.text in ("and", "or"):
            token = self._take()
            joining: Word = "and" if token.text == "and" else "or"
            self._check_blanks(token)
            if word not in (None, joining):
                raise ConditionError(
                    "and and or are mixed in one group; put parentheses: Segment takes the last word for all of them",
                    token.column,
                )
            word = joining
            members.append(self._member(depth))
        return joined(word or "and", members)

    def _check_blanks(self, token: _Piece) -> None:
        """Refuse ``"a"or`` and ``or(``: Segment does not see the word, and joins by ``and`` or drops the rest."""
        before, after = self._tokens[self._at - 2], self._next
        is_tight_before = before.kind == "text" and before.end == token.column
        if is_tight_before or (after.kind != "end" and after.column == token.end):
            raise ConditionError(
                f"put a blank before and after {token.text}; Segment overlooks it here", token.column
            )

    def _member(self, depth: int) -> Tree:
        token = self._next
        if token.kind == "(":
            return self._parenthesis(depth + 1)
        if token.kind == "!":
            self._take()
            if self._next.text not in _FUNCTIONS:
                raise ConditionError(
                    "! stands before contains() and match() only; write != with a value instead", token.column
                )
        elif token.kind in ("text", "number"):
            raise ConditionError(
                f"a comparison begins with its field; write one such as {_EXAMPLE}", token.column
            )
        elif token.kind != "word" or token.text in ("and", "or"):
            raise self._refusal(f"a comparison such as {_EXAMPLE}")
        self.columns.append(token.column)
        if self._next.text in _FUNCTIONS or self._tokens[self._at + 1].kind == "(":
            return self._function("!" if token.kind == "!" else "")
        return self._comparison()

    def _parenthesis(self, depth: int) -> Tree:
        opening = self._take()
        if depth > MAX_DEPTH:
            raise ConditionError(
                f"more than {MAX_DEPTH} parentheses stand inside one another; leave out those that group nothing",
                opening.column,
            )
        tree = self._group(depth)
        if self._next.kind == "end":
            raise ConditionError("this parenthesis is not closed; put a ) behind its group", opening.column)
        self._expect(")", "and, or, or )")
        return tree

    def _function(self, negation: str) -> Term:
        name = self._next
        if name.text in _WRITE_INSTEAD:
            raise self._refusal("a comparison")
        if name.text not in _FUNCTIONS:
            near = similar(name.text, _FUNCTIONS, fold=str.lower, most=1, cutoff=0.6)
            raise ConditionError(
                f"there is no function {clean(name.text, 40)}(), only contains() and match()"
                + did_you_mean([f"{function}()" for function in near]),
                name.column,
            )
        self._take()
        self._expect("(", f"a parenthesis, as in {name.text}(event, …)")
        path = self._field()
        self._expect(",", f"a comma, as in {name.text}(event, …)")
        value = self._expect("text", "a text in double quotes")
        text = _unquoted(value.text)
        if name.text == "match":
            _check_pattern(text, path, value.column)
        self._expect(")", "a closing )")
        return Term(path, negation + name.text, text)

    def _comparison(self) -> Term:
        path = self._field()
        sign = self._next
        if sign.kind == "word" and len(path.keys) > 1 and sign.text not in (*_WRITE_INSTEAD, "and", "or"):
            raise ConditionError(
                f"an operator is missing before {clean(sign.text, 40)}; a key with blanks stands in quotes, such as "
                'properties."my key"',
                sign.column,
            )
        if sign.text not in _COMPARE:
            raise self._refusal("an operator (= != < <= > >=) and a value")
        self._take()
        column = self._next.column
        value = self._value(path)
        if sign.text == "!=" and isinstance(value, bool):
            instead = f"{_field_text(path)} = {'false' if value else 'true'}"
            raise ConditionError(
                f"!= {_value_text(value)} compares with a text at Segment, and so holds of each boolean; write "
                f"{instead}, or ({instead} or {_field_text(path)} = null)",
                sign.column,
            )
        if sign.text not in _EQUALITY and (value is None or isinstance(value, str | bool)):
            raise ConditionError(
                f"{sign.text} compares with numbers only; write one without quotes, such as 20", column
            )
        return Term(path, sign.text, value)

    def _value(self, path: FieldPath) -> str | float | bool | None:
        token = self._next
        if token.kind == "word" and token.text.lower() not in _KEYWORDS and token.text not in _WRITE_INSTEAD:
            if token.text.split(".")[0] in FIELDS:
                message = f"a field cannot be compared with another one; give {_field_text(path)} a value"
            else:
                message = f'a text stands in double quotes; write "{clean(token.text, 40)}"'
            raise ConditionError(message, token.column)
        if token.text == "[":
            field = _field_text(path)
            raise ConditionError(f'there are no lists; write ({field} = "A" or {field} = "B")', token.column)
        if token.kind not in ("text", "number") and token.text not in _CONSTANTS:
            raise self._refusal("a value (a text in double quotes, a number, true, false or null)")
        self._take()
        if token.kind == "text":
            return _unquoted(token.text)
        return _number(token) if token.kind == "number" else _CONSTANTS[token.text]

    def _field(self) -> FieldPath:
        if self._next.kind != "word" or self._next.text in (*_WRITE_INSTEAD, *_KEYWORDS):
            raise self._refusal("a field, such as event or properties.total")
        _, text, column = self._take()
        keys = [
            _unquoted(match["quoted"]) if match["quoted"] else re.sub(r"(?s)\\(.)", r"\1", match["plain"])
            for match in _KEY.finditer(text)
        ]
        root, *below = keys
        if root not in FIELDS:
            raise ConditionError(_unknown_field(text, keys), column)
        if root in TEXT_FIELDS and below:
            raise ConditionError(f"{root} is a text, so nothing lies below it; write {root} alone", column)
        if any(match[0] == "." for match in _KEY.finditer(text)):
            raise ConditionError("a name is missing after a dot; write one, or leave the dot out", column)
        if root in OBJECT_FIELDS and not below:
            if self._next.text == "[":
                raise self._refusal("a key")
            raise ConditionError(f"{root} is an object; name a key in it, such as {root}.plan", column)
        return parse_source(path_of(*keys))


def _unknown_field(text: str, keys: list[str]) -> str:
    """Say which fields there are, and which one is likely meant."""
    if text.lower() in _KEYWORDS:
        return f"{clean(text, 40)} is no field; write a comparison such as {_EXAMPLE}"
    root, *below = keys[1:] if keys[0] == "$" and len(keys) > 1 else keys
    near = similar(root, FIELDS, fold=folded_key, most=1, cutoff=0.6)
    meant = [".".join([name, *below]) if name in OBJECT_FIELDS else name for name in near]
    known = ", ".join((*TEXT_FIELDS, *(f"{name}.…" for name in OBJECT_FIELDS)))
    remedy = did_you_mean(meant) or f"; write a property as properties.{clean(text, 40)}"
    return f"conditions read no field {clean(text, 40)}, only {known}{remedy}"


def _number(token: _Piece) -> float:
    """Return the number of a token; whole ones are exact."""
    if not _NUMBER.fullmatch(token.text):
        shown = clean(token.text, 40)
        raise ConditionError(f"{shown} is no number here; write digits, such as 20 or -0.5", token.column)
    number = float(token.text)
    if len(token.text) > _MAX_NUMBER_LENGTH or not isfinite(number):
        raise ConditionError("this number is too long; write one of at most 300 digits", token.column)
    return number if "." in token.text else int(token.text)


def _is_pattern(text: str) -> bool:
    """Tell whether a text has one star, at one end."""
    return text.count("*") == 1 and (text.startswith("*") or text.endswith("*"))


def _check_pattern(pattern: str, path: FieldPath, column: int) -> None:
    """Refuse all but one star at one end: Segment takes no other star for one."""
    if _is_pattern(pattern):
        return
    field = _field_text(path)
    start, _, end = pattern.partition("*")
    middle = pattern.strip("*")
    if "*" not in pattern:
        instead = f"{field} = {_quoted(pattern)}"
    elif start and end and "*" not in end:
        instead = f"match({field}, {_quoted(start + '*')}) and match({field}, {_quoted('*' + end)})"
    elif middle and "*" not in middle:
        instead = f"contains({field}, {_quoted(middle)})"
    else:
        instead = f'match({field}, "Order*") or match({field}, "*Completed")'
    raise ConditionError(
        f"match() takes one * at the start or the end of its text; write {clean(instead, 100)}", column
    )
