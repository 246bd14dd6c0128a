"""Format numbers, sizes, times and JSON values, make foreign text safe to show, and suggest names for misspelt ones.

Text from events, files and answers may hold escape sequences. `clean` makes them visible, because a terminal would
obey them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from math import isfinite
from typing import Any, Final, TypeVar

_Name = TypeVar("_Name", bound=Any)
_Item = TypeVar("_Item")

MAX_CANDIDATES: Final = 200
"""Names that one is compared with, at most: the first of those that are given."""
PERIODS: Final[dict[float, str]] = {1: "a second", 60: "a minute", 3_600: "an hour"}
"""Seconds -> a period of a limit in words."""
MAX_LENGTH: Final = 60
"""Characters of a name that are compared, its last ones: the time of a comparison grows with their square."""


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return `1 call`, `1,204 calls`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def size(count: int) -> str:
    """Return a number of bytes as `812 bytes`, `3.1 MB`; a MB is 1,000,000 bytes."""
    if count < 1_000:
        return counted(count, "byte")
    amount = float(count)
    for unit in ("kB", "MB", "GB"):
        amount /= 1_000
        if amount < 999.95:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1_000:,.1f} TB"


def percent(ratio: float) -> str:
    """Return a ratio as `62.5 %`, `100 %`, `1,900 %`; what exists at all is never shown as nothing."""
    if ratio == 0 or ratio >= 1:
        return f"{ratio:,.0%}".replace("%", " %")
    return f"{100 * ratio:.1f} %" if ratio >= 0.001 else "<0.1 %"


def span(seconds: float) -> str:
    """Return a length of time by its two largest units: `0.4 s`, `41 s`, `2 h 10 min`, `3 d 4 h`."""
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return _two(whole, (60, "min"), (1, "s"))
    if whole < 86_400:
        return _two(whole, (3_600, "h"), (60, "min"))
    return _two(whole, (86_400, "d"), (3_600, "h"))


def _two(whole: int, large: tuple[int, str], small: tuple[int, str]) -> str:
    first, rest = divmod(whole, large[0])
    second = rest // small[0]
    return f"{first:,} {large[1]} {second} {small[1]}" if second else f"{first:,} {large[1]}"


def text_of(value: object) -> str | None:
    """Return what a text field can hold: text as it is, a number's decimal text, None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and isfinite(value):
        if value.is_integer() and abs(value) < 2**53:
            return str(int(value))  # 12.0 is 12
        return format(Decimal(repr(value)), "f")  # without an exponent: 1e21 has 22 digits
    return None


def clean(text: str, limit: int = 120) -> str:
    r"""Return the text on one line of at most `limit` characters, with an escape for all that does not print.

    Control characters, line ends and the marks that turn the direction of writing become `\x1b` and the like.
    """
    head = text[: limit + 1]
    shown = _escaped(head)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def clean_lines(text: str) -> str:
    """Return a message of the program, which may quote data, with all but its line ends escaped."""
    return "\n".join(_escaped(line) for line in text.split("\n"))


def on_one_line(text: str) -> str:
    """Return a text for one line of a file, with U+FFFD for each character that does not print."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escape(ord(character)) for character in text)


def _escape(code: int) -> str:
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def similar(
    wanted: str, names: Iterable[str], *, fold: Callable[[str], str], most: int, cutoff: float
) -> list[str]:
    """Return names that are similar to the wanted one, the most similar first, in a fraction of a second.

    Args:
        wanted: the name that is not among them.
        names: what there is, the likeliest first; of those that are folded alike the first counts.
        fold: takes away what people write differently, such as upper case.
        most: how many are returned at most.
        cutoff: how similar they must be, from 0 to 1, as `difflib` measures it.
    """
    by_folded: dict[str, str] = {}
    for name in islice(names, MAX_CANDIDATES):
        by_folded.setdefault(fold(name)[-MAX_LENGTH:], name)
    from difflib import get_close_matches  # of use to mistakes only

    near = get_close_matches(fold(wanted)[-MAX_LENGTH:], by_folded, n=most, cutoff=cutoff)
    return [by_folded[folded] for folded in near]


def folded_key(name: str) -> str:
    """Return a key without what people write differently: case, underscores and blanks."""
    return name.lower().replace("_", "").replace(" ", "")


def listed(items: Sequence[_Item], show: Callable[[_Item], str], most: int, one: str = "") -> str:
    """Return the first items as text, and how many others there are: `a, b and 3 more`.

    Args:
        items: only those that are shown are made into text.
        show: makes the text of an item.
        most: how many are shown at most.
        one: what one of the others is called in place of `more`, such as `more type`.
    """
    others = len(items) - most
    rest = counted(others, one) if one else f"{others:,} more"
    return ", ".join(map(show, items[:most])) + (f" and {rest}" if others > 0 else "")


def either(names: Iterable[str]) -> str:
    """Return `this, that or another`."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def did_you_mean(suggestions: Sequence[str]) -> str:
    """Return `; did you mean this or that?`, or nothing where there is nothing to suggest."""
    return f"; did you mean {either(suggestions)}?" if suggestions else ""


def short_position(position: str) -> str:
    """Return where a record stands without the folders of its file, for sentences: the report has the whole path."""
    folders, _, name = position.rpartition("/")
    return f"…/{name}" if folders else position


def utc_text(moment: datetime) -> str:
    """Return an aware time as the report and the API have it: `2025-03-01T12:00:00.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def by_count(counts: Mapping[_Name, int]) -> dict[_Name, int]:
    """Return counts with the largest first, equal ones by name."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def section_title(name: str) -> str:
    """Return how a section of the mapping is called: its type of event, or the name of its entry in `track.events`."""
    entry = name.removeprefix("events.")
    return name if entry == name else f"{entry} (track.events)"
