"""Text -> the value of one setting, or a Mistake that says what it takes. Knows no file and no place."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Sequence

from voucherify_sync.settings.problems import Mistake
from voucherify_sync.settings.types import PERIODS_S, Rate

_FLAGS = {"true": True, "false": False}
_LIKE_FLAGS = {
    "yes": "true",
    "on": "true",
    "y": "true",
    "1": "true",
    "no": "false",
    "off": "false",
    "n": "false",
}
_LIKE_FLAGS |= {"0": "false", "true": "true", "false": "false"}
_UNITS = {"second": "s", "sec": "s", "m": "min", "minute": "min", "mins": "min", "hour": "h", "hr": "h"}
_JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_MAX_DIGITS = 15


def read_flag(text: str) -> bool:
    """Read true or false; YAML's other words for them are suggested, never taken."""
    if text in _FLAGS:
        return _FLAGS[text]
    meant = _LIKE_FLAGS.get(text.lower())
    raise Mistake("must be true or false" + (f"; did you mean {meant}?" if meant else ""))


def read_count(text: str, at_least: int | None, at_most: int | None) -> int:
    """Read a whole number within its bounds."""
    least = f" of at least {at_least}" if at_least is not None else ""
    range_of = f" from {at_least} to {at_most}" if at_most is not None else least
    expected = f"must be a whole number{range_of}"
    if not re.fullmatch(r"-?[0-9]+", text) or len(text) > _MAX_DIGITS:
        plain = re.sub(r"[,_ ]|\.0*$", "", text)
        raise Mistake(expected + (f"; did you mean {plain}?" if re.fullmatch(r"[0-9]{1,15}", plain) else ""))
    number = int(text)
    if (at_least is not None and number < at_least) or (at_most is not None and number > at_most):
        raise Mistake(expected)
    return number


def read_share(text: str) -> float:
    """Read a share of a whole, such as 10% or 0.1; from 0 to below 1."""
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,15})?) ?(%?)", text)
    if match and match[2] and float(match[1]) < 100:
        return float(match[1]) / 100
    if match and not match[2] and float(match[1]) < 1:
        return float(match[1])
    number = match is not None and not match[2] and float(match[1]) < 100
    raise Mistake(
        "must be a share below 100%, such as 10% or 0.1" + (f"; did you mean {text}%?" if number else "")
    )


def parse_rate(text: str) -> Rate:
    """Read a rate of calls: 5/s, 90/min or 100/h.

    Raises:
        Mistake: a ValueError whose text says what a rate looks like, with a suggestion where there is one.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,8})/(s|min|h)", text)
    if match:
        return Rate(int(match[1]), PERIODS_S[match[2]])
    loose = re.fullmatch(r"\s*([1-9][0-9]{0,8})\s*(?:(?:/|per|an?)?\s*([a-z]+))?\s*", text.lower())
    unit = _rate_unit(loose[2]) if loose else None
    suggestion = f"; did you mean {loose[1]}/{unit}?" if loose and unit else ""
    raise Mistake("must be a number of calls per s, min or h, such as 90/min" + suggestion)


def _rate_unit(word: str | None) -> str | None:
    if word is None or word in PERIODS_S:
        return word or "min"
    return _UNITS.get(word) or _UNITS.get(word.removesuffix("s"))


def read_choice(text: str, choices: Sequence[str]) -> str:
    """Read one of a closed set of words."""
    if text in choices:
        return text
    near = difflib.get_close_matches(text.lower(), choices, n=1)
    raise Mistake(f"must be one of {', '.join(choices)}" + (f"; did you mean {near[0]}?" if near else ""))


def read_name(text: str) -> str:
    """Read an item of a list of names."""
    if not text.strip():
        raise Mistake("a name is missing")
    return text


def is_json_word(text: str) -> bool:
    """Tell whether a constant without quotes is a value of JSON other than a string: 12, true, null."""
    return text in {"null", "true", "false"} or _JSON_NUMBER.fullmatch(text) is not None


def read_constant(text: str) -> bool | int | float | str | None:
    """Read an unquoted constant as in JSON; what is no JSON value is a string (NO stays NO, 0123 is 0123)."""
    if not is_json_word(text):
        return text
    try:
        value: bool | int | float | None = json.loads(text)
    except ValueError:
        raise Mistake("a number with too many digits; quote it to send it as text") from None
    if isinstance(value, float) and math.isinf(value):
        raise Mistake("a number out of range; quote it to send it as text")
    return value
