"""Define what a person should know of an input before it is sent, or after: what may not be as its owner means it.

A finding stops nothing and changes no outcome. The mapping counts findings with their first examples; summary, plan,
question and reports say them in the words below.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct, field

from voucherify_sync.text import clean, counted

MAX_EXAMPLES: Final = 3
MAX_EXAMPLE_LENGTH: Final = 200
"""Characters of an example that are kept."""

_SHOWN_LENGTH: Final = 40


class FindingWords(Struct, frozen=True):
    """What one kind of finding says.

    Attributes:
        one: what was found, in words that follow `1`.
        many: in words that follow a larger number.
        remedy: sentences that say what to do, or what happens.
    """

    one: str
    many: str
    remedy: str


NAMED_BY_PROPERTIES: Final = "named_by_properties"
BROKEN_TEXT: Final = "broken_text"
TRAITS_OF_ANOTHER: Final = "context_traits_of_another"
HALF_NAME: Final = "half_name"

FINDINGS: Final = {
    NAMED_BY_PROPERTIES: FindingWords(
        "track event gives customer.name the value of properties.name",
        "track events give customer.name the value of properties.name",
        "If those are products, write your own rows under track.mapping (they replace the default ones) and leave "
        "properties.name out.",
    ),
    BROKEN_TEXT: FindingWords(
        "event that is sent holds broken text, which is no UTF-8 or half of a character",
        "events that are sent hold broken text, which is no UTF-8 or half of a character",
        "U+FFFD takes the place of what cannot be read. To send the right text, fix the encoding of the source first, "
        "such as with `iconv -f latin1 -t utf-8`.",
    ),
    TRAITS_OF_ANOTHER: FindingWords(
        "identify has its traits in the context, which name another userId: they are not used",
        "identifies have their traits in the context, which name another userId: they are not used",
        "Correct the userId in the source if they are one customer.",
    ),
    HALF_NAME: FindingWords(
        "identify holds only a first or a last name, which would replace the whole name of its customer",
        "identifies hold only a first or a last name, which would replace the whole name of their customer",
        "--bulk joins both halves, and never replaces a whole name by half of one.",
    ),
}
"""Code -> its words, in the order in which they are shown."""


class Example(Struct, frozen=True):
    """A place where something was found.

    Attributes:
        position: of the record, as `file:line`.
        text: what was found there; empty where the position says it all.
    """

    position: str
    text: str = ""


class FindingCount(Struct):
    """How often something was found.

    Attributes:
        count: how often it was found.
        examples: the first 3 places.
    """

    count: int = 0
    examples: list[Example] = field(default_factory=list)

    def add(self, position: object, text: str = "") -> None:
        """Count one more."""
        self.count += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(Example(str(position), text[:MAX_EXAMPLE_LENGTH]))

    def merge(self, later: FindingCount) -> None:
        """Add what was found in a later part of the input."""
        self.count += later.count
        self.examples = (self.examples + later.examples)[:MAX_EXAMPLES]


def sentences_of(findings: Mapping[str, FindingCount]) -> list[str]:
    """Return a sentence or two for each finding, safe to be shown, in a fixed order."""
    return [
        f"{counted(found.count, words.one, words.many)}: {', '.join(map(_shown, found.examples))}. {words.remedy}"
        for code, words in FINDINGS.items()
        if (found := findings.get(code)) is not None and found.count
    ]


def _shown(example: Example) -> str:
    position = clean(example.position, MAX_EXAMPLE_LENGTH)
    return f'"{clean(example.text, _SHOWN_LENGTH)}" ({position})' if example.text else position
