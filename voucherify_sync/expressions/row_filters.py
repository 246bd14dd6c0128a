"""Compile the filters of a row, such as ``strip | downcase``, into one function of a value.

Names and syntax are those of Liquid: ``name: argument, argument | name``. What is wrong in the text is found when it is
parsed, with the column. The function never raises: where a value does not fit, it returns APPLY_FAILED.

Where Liquid differs: arithmetic is decimal, also between whole numbers (``7 | divided_by: 2`` is 3.5), and a value that
does not fit fails instead of being 0 or empty.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import ROUND_HALF_UP, Context, Decimal, DivisionByZero, InvalidOperation, Overflow
from enum import Enum
from functools import partial
from itertools import groupby
from math import isfinite
from sys import float_info
from typing import Any, Final, NamedTuple, NoReturn

import msgspec
from msgspec import Struct

from voucherify_sync.paths import MISSING, holds_a_non_number
from voucherify_sync.text import clean, counted, did_you_mean, folded_key, similar, text_of
from voucherify_sync.timestamps import parse_time

MAX_PRECISION: Final = 15
"""Decimal places that `round` takes; a JSON number has no more that can be trusted."""

MAX_GROWN_TEXT: Final = 1_000_000
"""Characters of a text that `replace` made longer."""

_LARGEST: Final = Decimal(repr(float_info.max))
"""Larger numbers are Infinity to most programs that read JSON."""

_MAX_DIGITS: Final = 400
"""Characters of a text that is read as a number."""

_EXACT: Final = Context(
    prec=1_000,
    Emax=1_000,
    Emin=-1_000,
    rounding=ROUND_HALF_UP,
    traps=[InvalidOperation, DivisionByZero, Overflow],
)
"""Exact for sums and products of all numbers that are read; a quotient may have no end."""

_number_match = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?", re.ASCII).fullmatch
_JSON_BLANKS: Final = " \t\n\r"

Function = Callable[[Any], Any]


class FilterError(ValueError):
    """A text that is no filters. The message is a sentence for people.

    Attributes:
        column: where in the text, counted from 1.
    """

    def __init__(self, message: str, column: int = 1) -> None:
        super().__init__(message)
        self.column = column


class ApplyFailed(Enum):
    """The type of APPLY_FAILED."""

    APPLY_FAILED = "apply_failed"


APPLY_FAILED: Final = ApplyFailed.APPLY_FAILED
"""What `RowFilters.apply` returns where a value does not fit: the row gives nothing, and the value is dropped."""


class RowFilters(Struct, frozen=True, eq=False):
    """The parsed filters of a row. Their text says all of them: it is what is compared, and sent to other processes.

    Attributes:
        text: as they were written.
        apply: takes a JSON value, None or MISSING, and returns one of these or APPLY_FAILED. It never raises.
        fills_absent: `default` is among them, so the row matches also where its source is absent or null.
    """

    text: str
    apply: Function
    fills_absent: bool

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RowFilters) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __reduce__(self) -> tuple[Callable[[str], RowFilters], tuple[str]]:
        return parse_filters, (self.text,)


class FilterArgument(Struct, frozen=True):
    """An argument of a filter.

    Attributes:
        name: a word for it, for people.
        read: checks what is written and returns what the filter needs. Raises FilterError, its column counted from 0
            at the start of the argument.
        unless_given: what counts where it is left out; MISSING: it must be there.
    """

    name: str
    read: Function
    unless_given: Any = MISSING


class RowFilter(Struct, frozen=True):
    """A filter that a row may name.

    Attributes:
        help: what it does, a sentence.
        example: how it is written, with a value before and the value after it as JSON.
        compile: takes the arguments and returns the function of a value.
        arguments: in their order.
        is_of_text: the function takes a text and returns a text. What is no text is made one before, or fails.
        also_called: names of other languages, for suggestions.
    """

    help: str
    example: tuple[str, str, str]
    compile: Callable[..., Function]
    arguments: tuple[FilterArgument, ...] = ()
    is_of_text: bool = False
    also_called: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """Return the help with its example."""
        before, written, after = self.example
        return f"{self.help}: {before} | {written} gives {after}."


class _Unfit(ValueError):
    """A value is nothing that a filter can work on."""


# Arguments: what is written is a text, a number or a boolean.


def _read_text(written: Any) -> str:
    text = text_of(written)
    if text is None:
        raise FilterError(f"a text stands in quotes: '{_shown(written)}'", 0)
    return text


def _read_needle(written: Any) -> str:
    text = _read_text(written)
    if not text:
        raise FilterError("an empty text is nowhere to be found; name the text that is looked for", 0)
    return text


def _read_number(written: Any) -> Decimal:
    try:
        return _number_of(written)
    except (_Unfit, ArithmeticError):
        raise FilterError(f"{_shown(written)} is no number; write one such as 100 or 0.5", 0) from None


def _read_divisor(written: Any) -> Decimal:
    number = _read_number(written)
    if not number:
        raise FilterError("no number can be divided by 0; write another one", 0)
    return number


def _read_precision(written: Any) -> int:
    if type(written) is not int or not 0 <= written <= MAX_PRECISION:
        raise FilterError(
            f"{_shown(written)} is no number of decimal places; write a whole number from 0 to {MAX_PRECISION}",
            0,
        )
    return written


def _read_value(written: Any) -> Any:
    return written


# Values


def _text(value: Any) -> str:
    text = text_of(value)  # ValueError for an integer of more digits than Python writes
    if text is None:
        raise _Unfit("no text")
    return text


def _number_of(value: Any) -> Decimal:
    """Return the exact number of a JSON number, or of a text that is one. Raises _Unfit and ArithmeticError."""
    if isinstance(value, str):
        digits = value.strip(_JSON_BLANKS)
        if len(digits) > _MAX_DIGITS or not _number_match(digits):
            raise _Unfit("no number")
        number = Decimal(digits)
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise _Unfit("no number")
    elif isinstance(value, float):
        if not isfinite(value):
            raise _Unfit("no number of JSON")
        number = Decimal(repr(value))
    else:
        if value.bit_length() > float_info.max_exp:  # before its digits are counted, which takes long
            raise _Unfit("out of range")
        number = Decimal(value)
    if not number:
        return Decimal(0)
    if number.adjusted() < -_MAX_DIGITS or number.copy_abs() > _LARGEST:
        raise _Unfit("out of range")
    return number


def _json_number(number: Decimal) -> int | float:
    """Return a number as JSON has it: whole ones as integers. Raises _Unfit if it is out of range."""
    if not number:
        return 0
    if number.copy_abs() > _LARGEST:
        raise _Unfit("out of range")
    if number == number.to_integral_value(context=_EXACT):
        return int(number)
    nearest = float(number)
    if not nearest:
        raise _Unfit("nearer to 0 than a number of JSON can be")
    return nearest


def _json_text(value: Any) -> str:
    """Return the JSON of a value. Raises ValueError and RecursionError."""
    if holds_a_non_number(value):
        raise _Unfit("NaN and Infinity are no JSON")
    return msgspec.json.encode(value).decode()


# Filters of text


def _constantly(function: Function) -> Callable[[], Function]:
    """Return what compiles a filter without arguments."""
    return lambda: function


def _appending(end: str) -> Function:
    return lambda text: text + end


def _prepending(begin: str) -> Function:
    return lambda text: begin + text


def _replacing(old: str, new: str = "") -> Function:
    growth = len(new) - len(old)

    def replace(text: str) -> str:
        if growth > 0 and len(text) + growth * text.count(old) > MAX_GROWN_TEXT:
            raise _Unfit("too long")
        return text.replace(old, new)

    return replace


# Filters of lists


def _splitting(separator: str) -> Function:
    """As Liquid: no separator means characters, one space any white space, and empty texts at the end are left out."""

    def split(value: Any) -> list[str]:
        text = _text(value)
        if not separator:
            return list(text)
        if separator == " ":
            return text.split()
        parts = text.split(separator)
        while parts and not parts[-1]:
            parts.pop()
        return parts

    return split


def _flattened(items: list[Any]) -> Iterator[Any]:
    """Yield the items, and those of lists within, at any depth."""
    pending = items[::-1]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(reversed(item))
        else:
            yield item


def _joining(separator: str) -> Function:
    def join(value: Any) -> str:
        if not isinstance(value, list):
            return _text(value)
        return separator.join("" if item is None else _scalar_text(item) for item in _flattened(value))

    return join


def _scalar_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _text(value)


def _item(value: Any, index: int) -> Any:
    if not isinstance(value, list):
        raise _Unfit("no list")
    return value[index] if value else MISSING


# Filters of numbers


def _calculating(operation: Callable[[Decimal, Decimal], Decimal]) -> Callable[[Decimal], Function]:
    return lambda operand: lambda value: _json_number(operation(_number_of(value), operand))


def _rounding(places: int) -> Function:
    unit = Decimal(1).scaleb(-places)

    def round_(value: Any) -> int | float:
        number = _number_of(value)
        exponent = number.as_tuple().exponent
        is_round = isinstance(exponent, int) and exponent >= -places
        return _json_number(number if is_round else number.quantize(unit, context=_EXACT))

    return round_


# Filters of other values


def _defaulting(fallback: Any) -> Function:
    def default(value: Any) -> Any:
        return fallback if value is None or value is MISSING or value is False or value == "" else value

    return default


def _to_number(value: Any) -> int | float:
    return _json_number(_number_of(value))


def _to_boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        word = value.strip().lower()
        if word in ("true", "false"):
            return word == "true"
    elif isinstance(value, int | float) and value in (0, 1):
        return value == 1
    raise _Unfit("no boolean")


def _to_text(value: Any) -> str:
    return _json_text(value) if isinstance(value, dict | list) else _scalar_text(value)


# Dates: English names whatever the locale, years of four digits on every platform.

_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
DATE_PARTS: Final[dict[str, Callable[[datetime], str]]] = {
    "Y": lambda time: f"{time.year:04}",
    "y": lambda time: f"{time.year % 100:02}",
    "m": lambda time: f"{time.month:02}",
    "d": lambda time: f"{time.day:02}",
    "e": lambda time: f"{time.day:2}",
    "j": lambda time: f"{time.timetuple().tm_yday:03}",
    "H": lambda time: f"{time.hour:02}",
    "I": lambda time: f"{(time.hour - 1) % 12 + 1:02}",
    "M": lambda time: f"{time.minute:02}",
    "S": lambda time: f"{time.second:02}",
    "L": lambda time: f"{time.microsecond // 1_000:03}",
    "p": lambda time: "AM" if time.hour < 12 else "PM",
    "a": lambda time: _DAYS[time.weekday()][:3],
    "A": lambda time: _DAYS[time.weekday()],
    "b": lambda time: _MONTHS[time.month - 1][:3],
    "B": lambda time: _MONTHS[time.month - 1],
    "u": lambda time: str(time.isoweekday()),
    "w": lambda time: str(time.isoweekday() % 7),
    "G": lambda time: f"{time.isocalendar().year:04}",
    "V": lambda time: f"{time.isocalendar().week:02}",
    "F": lambda time: f"{time.year:04}-{time.month:02}-{time.day:02}",
    "T": lambda time: f"{time.hour:02}:{time.minute:02}:{time.second:02}",
    "s": lambda time: str(int(time.replace(microsecond=0).timestamp())),
    "z": lambda _: "+0000",
    "Z": lambda _: "UTC",
}
"""Letter after a % in a format of `date` -> what it stands for."""
_UNPADDED: Final = frozenset("ymdejHIMSV")
"""Directives that may have a hyphen before them: then no zero or blank leads their number."""

_DIRECTIVE: Final = re.compile(r"%(-?)(.?)", re.DOTALL)


def _read_format(written: Any) -> list[Callable[[datetime], str] | str]:
    """Split a format into texts and functions of a time."""
    if not isinstance(written, str):
        raise FilterError(f"a format stands in quotes, such as '%Y-%m-%d'; {_shown(written)} is none", 0)
    parts: list[Callable[[datetime], str] | str] = []
    at = 0
    for found in _DIRECTIVE.finditer(written):
        hyphen, letter = found.groups()
        parts.append(written[at : found.start()])
        at = found.end()
        if letter == "%" and not hyphen:
            parts.append("%")
        elif letter not in DATE_PARTS or (hyphen and letter not in _UNPADDED):
            known = " ".join(f"%{name}" for name in DATE_PARTS)
            raise FilterError(
                f"no part of a date is {clean(found[0])}; there are {known}, and %% for the sign",
                found.start() + 1,
            )
        else:
            parts.append(_unpadded(DATE_PARTS[letter]) if hyphen else DATE_PARTS[letter])
    if not any(map(callable, parts)):
        raise FilterError(
            f"no part of a date is in {_shown(written)!r}; write a format such as '%Y-%m-%d'", 0
        )
    return [part for part in (*parts, written[at:]) if part]


def _unpadded(write: Callable[[datetime], str]) -> Callable[[datetime], str]:
    return lambda time: write(time).lstrip("0 ") or "0"


def _dating(parts: list[Callable[[datetime], str] | str]) -> Function:
    def date(value: Any) -> Any:
        time = parse_time(value)
        if time is None:
            return value
        return "".join(part if isinstance(part, str) else part(time) for part in parts)

    return date


_ONE_NUMBER: Final = (FilterArgument("number", _read_number),)

FILTERS: Final[dict[str, RowFilter]] = {
    "strip": RowFilter(
        "Take white space away at both ends",
        ('" a b "', "strip", '"a b"'),
        _constantly(str.strip),
        is_of_text=True,
        also_called=("trim", "lstrip", "rstrip"),
    ),
    "downcase": RowFilter(
        "Write all letters in lower case",
        ('"Ann@Example.com"', "downcase", '"ann@example.com"'),
        _constantly(str.lower),
        is_of_text=True,
        also_called=("lower", "lowercase"),
    ),
    "upcase": RowFilter(
        "Write all letters in upper case",
        ('"gb"', "upcase", '"GB"'),
        _constantly(str.upper),
        is_of_text=True,
        also_called=("upper", "uppercase"),
    ),
    "capitalize": RowFilter(
        "Write the first letter in upper case and all others in lower case",
        ('"new YORK"', "capitalize", '"New york"'),
        _constantly(str.capitalize),
        is_of_text=True,
        also_called=("title", "titlecase"),
    ),
    "append": RowFilter(
        "Add a text at the end",
        ('"12"', "append: ' kg'", '"12 kg"'),
        _appending,
        (FilterArgument("text", _read_text),),
        is_of_text=True,
        also_called=("concat", "suffix"),
    ),
    "prepend": RowFilter(
        "Add a text at the start",
        ('"491701234"', "prepend: '+'", '"+491701234"'),
        _prepending,
        (FilterArgument("text", _read_text),),
        is_of_text=True,
        also_called=("prefix",),
    ),
    "remove": RowFilter(
        "Take a text away wherever it stands",
        ('"0170-12-34"', "remove: '-'", '"01701234"'),
        _replacing,
        (FilterArgument("text", _read_needle),),
        is_of_text=True,
        also_called=("delete",),
    ),
    "replace": RowFilter(
        "Write another text wherever a text stands",
        ('"a_b_c"', "replace: '_', ' '", '"a b c"'),
        _replacing,
        (FilterArgument("text", _read_needle), FilterArgument("other text", _read_text)),
        is_of_text=True,
        also_called=("gsub", "substitute"),
    ),
    "split": RowFilter(
        "Make a list of a text, cut wherever a separator stands; '' cuts after each character",
        ('"a, b"', "split: ', '", '["a","b"]'),
        _splitting,
        (FilterArgument("separator", _read_text),),
    ),
    "join": RowFilter(
        "Make a text of a list, with a separator between its items, a blank unless another one is given",
        ('["a","b"]', "join: ', '", '"a, b"'),
        _joining,
        (FilterArgument("separator", _read_text, unless_given=" "),),
    ),
    "first": RowFilter(
        "Take the first item of a list; of an empty one nothing",
        ('["a","b"]', "first", '"a"'),
        _constantly(partial(_item, index=0)),
    ),
    "last": RowFilter(
        "Take the last item of a list; of an empty one nothing",
        ('["a","b"]', "last", '"b"'),
        _constantly(partial(_item, index=-1)),
    ),
    "default": RowFilter(
        "Put a value in the place of null, false, an empty text or what is not there",
        ("null", "default: 'free'", '"free"'),
        _defaulting,
        (FilterArgument("value", _read_value),),
        also_called=("fallback", "coalesce"),
    ),
    "date": RowFilter(
        "Write a time in UTC by a format; what is no time stays as it is",
        ('"2024-05-06T23:30:00-05:00"', "date: '%Y-%m-%d'", '"2024-05-07"'),
        _dating,
        (FilterArgument("format", _read_format),),
        also_called=("strftime", "format_date", "date_format"),
    ),
    "plus": RowFilter(
        "Add a number",
        ("0.1", "plus: 0.2", "0.3"),
        _calculating(_EXACT.add),
        _ONE_NUMBER,
        also_called=("add",),
    ),
    "minus": RowFilter(
        "Take a number away",
        ("10", "minus: 2.5", "7.5"),
        _calculating(_EXACT.subtract),
        _ONE_NUMBER,
        also_called=("subtract",),
    ),
    "times": RowFilter(
        "Multiply by a number",
        ("1.15", "times: 100", "115"),
        _calculating(_EXACT.multiply),
        _ONE_NUMBER,
        also_called=("multiply", "multiplied_by"),
    ),
    "divided_by": RowFilter(
        "Divide by a number, with decimals also between whole numbers",
        ("1999", "divided_by: 100", "19.99"),
        _calculating(_EXACT.divide),
        (FilterArgument("number", _read_divisor),),
        also_called=("divide",),
    ),
    "round": RowFilter(
        "Round to a number of decimal places, none unless it is given, and a half away from zero",
        ("2.345", "round: 2", "2.35"),
        _rounding,
        (FilterArgument("decimal places", _read_precision, unless_given=0),),
        also_called=("ceil", "floor"),
    ),
    "to_number": RowFilter(
        "Make a number of a text that is one",
        ('"27.50"', "to_number", "27.5"),
        _constantly(_to_number),
        also_called=("number", "int", "integer", "float", "to_integer", "to_int"),
    ),
    "to_boolean": RowFilter(
        "Make true or false of these words in any case, and of 1 and 0",
        ('"TRUE"', "to_boolean", "true"),
        _constantly(_to_boolean),
        also_called=("boolean", "bool", "to_bool"),
    ),
    "to_text": RowFilter(
        "Make a text of any value; a list or an object becomes JSON",
        ("27.0", "to_text", '"27"'),
        _constantly(_to_text),
        also_called=("text", "string", "str", "to_string", "json"),
    ),
}
"""Name -> filter, as people find them in the reference."""


class _Token(NamedTuple):
    kind: str  # quoted, number, word, end, or the mark itself: a colon, a comma, a bar
    value: str
    column: int


_TOKEN: Final = re.compile(
    r"""(?P<quoted>'[^']*'|"[^"]*")
    | (?P<number>-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?(?![\w.]))
    | (?P<word>[^\W\d][\w.-]*)
    | (?P<mark>[:,|])""",
    re.VERBOSE,
)
_CURLY_QUOTES: Final = "\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb\u0060\u00b4"


def parse_filters(text: str) -> RowFilters:
    """Parse filters such as ``strip | downcase`` or ``date: '%Y-%m-%d'``.

    Raises:
        FilterError: the text is none.
    """
    tokens = _tokens(text)
    filters: list[tuple[str, Function]] = []
    at = 0
    while True:
        name, written, at = _parse_one(tokens, at)
        compiled = FILTERS[name.value].compile(*_read_arguments(name, written))
        filters.append((name.value, compiled))
        if tokens[at].kind == "end":
            return RowFilters(text, _composed(filters), any(name == "default" for name, _ in filters))
        at += 1
        if tokens[at].kind == "end":
            raise FilterError("no filter stands after the last |; take it away", tokens[at - 1].column)


def _tokens(text: str) -> list[_Token]:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise FilterError(
            "half of a character stands here, which no text may hold", error.start + 1
        ) from None
    tokens = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        found = _TOKEN.match(text, at)
        if found is None:
            _refuse_character(text[at], at + 1)
        kind = found[0] if found.lastgroup == "mark" else str(found.lastgroup)
        tokens.append(_Token(kind, found[0][1:-1] if kind == "quoted" else found[0], at + 1))
        at = found.end()
    return [*tokens, _Token("end", "", len(text) + 1)]


def _refuse_character(character: str, column: int) -> NoReturn:
    if character in "'\"":
        raise FilterError("this quote is not closed; end the text with the same one", column)
    if character in _CURLY_QUOTES:
        raise FilterError(f"{character} is no quote here; write ' or \"", column)
    if character in "+-.0123456789":
        raise FilterError("no number begins here; write one such as 100 or 0.5, or a text in quotes", column)
    raise FilterError(f"{clean(character)} has no meaning here; a text stands in quotes", column)


def _parse_one(tokens: list[_Token], at: int) -> tuple[_Token, list[_Token], int]:
    """Return the name and the arguments of the filter that begins at a token, and where the token after it is."""
    name = tokens[at]
    if name.kind != "word":
        _refuse_name(name)
    if name.value not in FILTERS:
        raise FilterError(_unknown(name.value), name.column)
    takes_arguments = bool(FILTERS[name.value].arguments)
    at += 1
    if tokens[at].kind in ("|", "end"):
        return name, [], at
    if tokens[at].kind != ":":
        follows = "a colon" if takes_arguments else "a | or the end"
        raise FilterError(f"after {name.value} comes {follows}{_usage(name)}", tokens[at].column)
    if not takes_arguments:
        raise FilterError(f"{name.value} takes no argument; take the colon away", tokens[at].column)
    arguments: list[_Token] = []
    while tokens[at].kind not in ("|", "end"):
        if arguments and tokens[at].kind != ",":
            raise FilterError(
                "after an argument comes a comma, a | or the end; a text that holds ' stands in \"",
                tokens[at].column,
            )
        _check_argument(name, *tokens[at + 1 : at + 3])
        arguments.append(tokens[at + 1])
        at += 2
    return name, arguments, at


def _refuse_name(token: _Token) -> NoReturn:
    if token.kind == "end":
        raise FilterError("no filter is here; write one such as strip, or several such as strip | downcase")
    if token.kind == "|":
        raise FilterError("no filter stands before this |; take it away", token.column)
    raise FilterError(f"a filter begins with its name, not with {_shown(token.value)}", token.column)


def _check_argument(name: _Token, argument: _Token, follower: _Token | None = None) -> None:
    if argument.kind in (":", ",", "|", "end"):
        raise FilterError(f"an argument is missing here{_usage(name)}", argument.column)
    if argument.kind != "word" or argument.value in ("true", "false"):
        return
    if follower is not None and follower.kind == ":":
        raise FilterError(f"an argument has no name{_usage(name)}", argument.column)
    raise FilterError(
        f"an argument is a number or a text in quotes: '{clean(argument.value, 40)}'", argument.column
    )


def _usage(name: _Token) -> str:
    return f", as in {FILTERS[name.value].example[1]}"


def filter_called(name: str) -> str | None:
    """Return the filter of a name, also of one that other languages have for it; None for none."""
    folded = {
        folded_key(other): meant
        for meant, row_filter in FILTERS.items()
        for other in (*row_filter.also_called, meant)
    }
    return folded.get(folded_key(name))


def pasted_filters(text: str) -> tuple[str, str] | None:
    """Split ``properties.total | round`` into the path and its filters; None where no filter stands behind a path.

    A key that looks so stands in brackets and quotes.
    """
    path, _, filters = text.partition("|")
    name = re.match(r"\s*(\w+)", filters)
    if name is None or name[1] not in FILTERS or re.search("[\"'\\[]", path):
        return None
    return path.strip(), filters.strip()


def _unknown(name: str) -> str:
    meant = filter_called(name)
    near = [meant] if meant else similar(name, FILTERS, fold=folded_key, most=2, cutoff=0.65)
    shown = clean(name, 40)
    return (
        f"no filter {shown}{did_you_mean(near)}"
        if near
        else f"no filter {shown}; there are {', '.join(FILTERS)}"
    )


def _read_arguments(name: _Token, written: list[_Token]) -> list[Any]:
    """Return the arguments that a filter is compiled with."""
    known = FILTERS[name.value].arguments
    needed = sum(argument.unless_given is MISSING for argument in known)
    if len(written) > len(known):
        takes = counted(len(known), "argument")
        raise FilterError(f"{name.value} takes {takes}{_usage(name)}", written[len(known)].column)
    if len(written) < needed:
        raise FilterError(f"{name.value} needs {counted(needed, 'argument')}{_usage(name)}", name.column)
    arguments = []
    for argument, token in zip(known, written, strict=False):
        try:
            arguments.append(argument.read(_literal(token)))
        except FilterError as error:
            raise FilterError(f"{name.value}: {error}", token.column + error.column) from None
    return [*arguments, *(argument.unless_given for argument in known[len(written) :])]


def _literal(token: _Token) -> Any:
    if token.kind == "word":
        return token.value == "true"
    if token.kind == "quoted":
        return token.value
    try:
        return _json_number(_number_of(token.value))
    except (_Unfit, ArithmeticError):
        raise FilterError(f"{clean(token.value, 40)} is no number of JSON, or out of range", 0) from None


def _shown(written: Any) -> str:
    return clean(_to_text(written), 40)


def _composed(filters: list[tuple[str, Function]]) -> Function:
    """Return one function for all; neighbours that are of text share one look at the type of the value."""
    steps: list[tuple[bool, Function]] = []  # whether it takes what is absent, too
    for is_of_text, neighbours in groupby(filters, key=lambda item: FILTERS[item[0]].is_of_text):
        if is_of_text:
            steps.append((False, _of_text([function for _, function in neighbours])))
        else:
            steps.extend((name == "default", function) for name, function in neighbours)

    if len(steps) == 1:  # most rows, in half the time
        takes_absent, step = steps[0]
        return _guarded(step, takes_absent=takes_absent)

    def apply_all(value: Any) -> Any:
        for takes_absent, step in steps:
            if takes_absent or (value is not None and value is not MISSING):
                value = step(value)
        return value

    return _guarded(apply_all, takes_absent=True)


def _guarded(function: Function, *, takes_absent: bool) -> Function:
    def apply(value: Any) -> Any:
        if (value is None or value is MISSING) and not takes_absent:
            return value
        try:
            return function(value)
        except (ValueError, ArithmeticError, RecursionError):
            return APPLY_FAILED

    return apply


def _of_text(functions: list[Function]) -> Function:
    def change(value: Any) -> str:
        text = value if type(value) is str else _text(value)
        for function in functions:
            text = function(text)
        return text

    return change
