"""Define what a person should know of an input before it is sent, or after: what may not be as its owner means it.

A finding stops nothing and changes no outcome. The mapping counts findings with their first examples; summary, plan,
question and reports say them in the words below.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Final

from msgspec import Struct, field

from voucherify_sync.text import clean, counted, listed, short_position

MAX_EXAMPLES: Final = 3
MAX_EXAMPLE_LENGTH: Final = 200
"""Characters of an example that are kept."""

_SHOWN_LENGTH: Final = 40
_MAX_SHOWN: Final = 20


class FindingWords(Struct, frozen=True):
    """What one kind of finding says.

    Attributes:
        one: what was found, in words that follow `1`.
        many: in words that follow a larger number.
        remedy: sentences that say what to do, or what happens. What is to be pasted is a line of its own at the end;
            `{}` in it is replaced by the texts, quoted for a shell.
        is_by_text: the examples are all texts that were found, each with its number.
    """

    one: str
    many: str
    remedy: str
    is_by_text: bool = False


OTHER_TYPES: Final = "other_types"
SLIP_IDS: Final = "slip_ids"
FROM_VOUCHERIFY: Final = "from_voucherify"
NAMED_BY_TYPE: Final = "named_by_type"
NO_OBJECT: Final = "no_object"
NAMED_BY_PROPERTIES: Final = "named_by_properties"
BROKEN_TEXT: Final = "broken_text"
TRAITS_OF_ANOTHER: Final = "context_traits_of_another"
HALF_NAME: Final = "half_name"
REPEATED_DIFFERS: Final = "repeated_differs"
UNREAD_TIME: Final = "unread_time"
WRONG_CLOCK: Final = "wrong_clock"
FUTURE_TIME: Final = "future_time"
NO_ORDER: Final = "no_order"
NO_ORDER_ID: Final = "no_order_id"
REFUND_UNCLEAR: Final = "refund_unclear"
CUSTOMERS_DIFFER: Final = "customers_differ"
SENT_AS_EVENT: Final = "sent_as_event"
"""Codes of findings, as in the report."""

ORDER_ID_REMEDY: Final = (
    "A row to source_id under orders.mapping takes the id from another field. Rows there replace the default table, "
    "which takes order_id and orderId: `extend_default: true` beside them keeps it. If each event is an order "
    "of its own,"
)
"""What to do about events that name no order; what to do in the last case follows."""
ORDER_IDS_OF_MESSAGES: Final = (
    'set: {source_id: {"@if": {blank: {"@template": "{{properties.order_id}}{{properties.orderId}}"}, '
    'else: {"@path": $.messageId}}}}'
)
"""Settings of orders: the messageId is the order id of an event that has none; it replaces no id that is there."""

EVENTS_OF_VOUCHERIFY: Final = frozenset(
    {
        *(f"Customer Redemption {end}" for end in ("Succeeded", "Failed")),
        *(f"Customer Redemption Rollback {end}" for end in ("Succeeded", "Failed")),
        *(f"Customer Reward Redemptions {end}" for end in ("Created", "Completed")),
        *("Customer Rewarded", "Customer Rewarded Loyalty Points"),
        *(
            f"Customer {what} {end}"
            for what in ("Validation", "Publication")
            for end in ("Succeeded", "Failed")
        ),
    }
)
"""Names of the events that Voucherify sends to Segment, where it is a source."""

FINDINGS: Final = {
    OTHER_TYPES: FindingWords(
        "record is of another type",
        "records are of other types",
        "Only identify and track events are sent. If the events are inside of these records, take them out first, for "
        "example with jq.",
        is_by_text=True,
    ),
    SLIP_IDS: FindingWords(
        "event has an id that looks like a slip of a program",
        "events have an id that looks like a slip of a program",
        "All people with such an id become one customer. To leave these events out, write the ids to a file, and add "
        "`--exclude-ids ids.txt` to the command:\n  printf '%s\\n' {} > ids.txt",
        is_by_text=True,
    ),
    FROM_VOUCHERIFY: FindingWords(
        "track event came from Voucherify itself, by its name",
        "track events came from Voucherify itself, by their names",
        "Each would go back to it as a custom event, a call each. To leave them out, add this to the settings, under "
        "`track:`:\n  events_exclude: [Customer Redemption *, Customer Reward Redemptions *, Customer Rewarded, "
        "Customer Rewarded Loyalty Points, Customer Validation *, Customer Publication *]",
    ),
    NAMED_BY_TYPE: FindingWords(
        "track event has no name that can be used, and is named by its type",
        "track events have no name that can be used, and are named by their type",
        "A name is a text or a number in `event`. A row to `event` takes it from another field.",
    ),
    NO_OBJECT: FindingWords(
        "event has traits or properties that are no object, so none of them is mapped",
        "events have traits or properties that are no object, so none of them is mapped",
        "Make objects of them first; an empty list or text holds nothing that is lost. Where they are JSON texts, "
        "this does it:\n"
        "  jq -c '.traits = (.traits | fromjson? // .) | .properties = (.properties | fromjson? // .)'",
    ),
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
        "A replay with --bulk joins both halves, and never replaces a whole name by half of one.",
    ),
    REPEATED_DIFFERS: FindingWords(
        "event has the messageId of an earlier one, and would make another request: it is not sent",
        "events have the messageId of an earlier one, and would make other requests: they are not sent",
        "One messageId names one event, and the first one wins. If they are different events, give each event its own "
        "messageId in the source.",
    ),
    UNREAD_TIME: FindingWords(
        "event has a time that cannot be read",
        "events have a time that cannot be read",
        "Such a time counts as absent: the next one of timestamp, originalTimestamp, receivedAt and sentAt takes its "
        "place. With --bulk an event without any is older than all others; --since and --until keep it. Write times "
        "as 2024-03-02T10:15:30Z, or as seconds or milliseconds since 1970.",
    ),
    WRONG_CLOCK: FindingWords(
        "event has a time more than a minute later than its receivedAt",
        "events have a time more than a minute later than their receivedAt",
        "The clock of the device was wrong: receivedAt counts as the time.",
    ),
    FUTURE_TIME: FindingWords(
        "event has a time in the future",
        "events have a time in the future",
        "With --bulk its values are the newest of its customer, and replace those of all other events. Correct the "
        "time in the source, or leave such events out with --until.",
    ),
    NO_ORDER: FindingWords(
        "order event makes no order, and is sent as a custom event alone",
        "order events make no order, and are sent as custom events alone",
        "Each shows the reason. Where it is no_order_id, another field may name the order: "
        "a row to source_id under orders.mapping takes it.",
    ),
    NO_ORDER_ID: FindingWords(
        "event of an order has no order id, so it is not sent",
        "events of orders have no order id, so they are not sent",
        f"{ORDER_ID_REMEDY} add this to the settings, under `orders:`; ids that are there stay:\n"
        f"  {ORDER_IDS_OF_MESSAGES}",
    ),
    SENT_AS_EVENT: FindingWords(
        "event of an order was delivered as a custom event before, and is now a part of an order",
        "events of orders were delivered as custom events before, and are now parts of orders",
        "No custom event is sent twice, and the orders pay no points. To leave these events out, give --since the time "
        "from which on events are to be orders.",
    ),
    REFUND_UNCLEAR: FindingWords(
        "refund changes no order, because nothing tells what its order holds",
        "refunds change no order, because nothing tells what their orders hold",
        "Each may take back a part only. Replay the events of these orders, too: in the same run, or before it.",
    ),
    CUSTOMERS_DIFFER: FindingWords(
        "order has events of several customers",
        "orders have events of several customers",
        "The customer of the latest event counts. Correct the order ids in the source if they are several orders.",
    ),
}
"""Code -> its words, in the order in which they are shown."""


class Example(Struct, frozen=True):
    """A place where something was found.

    Attributes:
        position: of the record, as `file:line`.
        text: what was found there; empty where the position says it all.
        count: how often this text was found, where that is counted by text.
    """

    position: str
    text: str = ""
    count: int = 1


class FindingCount(Struct):
    """How often something was found.

    Attributes:
        count: how often it was found.
        examples: the first 3 places; where it is counted by text, all texts, the most frequent first.
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
        f"{counted(found.count, words.one, words.many)}: {_examples(words, found)}. {_remedy(words, found)}"
        for code, words in FINDINGS.items()
        if (found := findings.get(code)) is not None and found.count
    ]


def _examples(words: FindingWords, found: FindingCount) -> str:
    if not words.is_by_text:
        return ", ".join(map(_shown, found.examples))
    texts = listed(
        found.examples, lambda each: f'"{clean(each.text, _SHOWN_LENGTH)}" {each.count:,}', _MAX_SHOWN
    )
    position = clean(short_position(found.examples[0].position), MAX_EXAMPLE_LENGTH)
    return f"{texts} (such as {position})"


def _remedy(words: FindingWords, found: FindingCount) -> str:
    if "{}" not in words.remedy:
        return words.remedy
    texts = [each.text for each in found.examples if each.text.isprintable()]
    return words.remedy.replace("{}", shlex.join(texts))


def _shown(example: Example) -> str:
    position = clean(short_position(example.position), MAX_EXAMPLE_LENGTH)
    return f'"{clean(example.text, _SHOWN_LENGTH)}" ({position})' if example.text else position
