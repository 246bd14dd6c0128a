"""The values that the page of a run is made of, in the order in which it shows them. Data only, no logic."""

from __future__ import annotations

from msgspec import Struct

from voucherify_sync.bookkeeping.chart import Chart
from voucherify_sync.model import Json


class Part(Struct, frozen=True):
    """So many records that left the way at one step."""

    state: str
    text: str


class Step(Struct, frozen=True):
    """One step of the funnel.

    Attributes:
        label: what was done.
        count: records that came so far.
        share: percent of what was read.
        lost: where those went that came no further.
    """

    label: str
    count: int
    share: float
    lost: list[Part]


class Reason(Struct, frozen=True):
    """Why so many records ended as they did."""

    code: str
    count: int
    detail: str | None
    examples: list[str]


class Group(Struct, frozen=True):
    """All reasons of one state."""

    state: str
    label: str
    count: int
    reasons: list[Reason]


class Row(Struct, frozen=True):
    """A row of the mapping that found a value in so many requests, as percent, too."""

    source: str
    destination: str
    count: int
    share: float


class Lost(Struct, frozen=True):
    """A field that was not sent for so many events; `why` is None where simply no row maps it."""

    path: str
    count: int
    why: str | None = None


class Coverage(Struct, frozen=True):
    """What the mapping did to the events of one type.

    Attributes:
        type: ``identify`` or ``track``.
        requests: made of such events.
        fired: rows that found a value.
        silent: rows that never did.
        unmapped: fields that no row maps, most frequent first.
        dropped: fields whose values could not be sent, most frequent first.
    """

    type: str
    requests: int
    fired: list[Row]
    silent: list[Row]
    unmapped: list[Lost]
    dropped: list[Lost]


class Calls(Struct, frozen=True):
    """Calls against the limit.

    Attributes:
        made: calls.
        retries: those that repeated an earlier one.
        throttled: answers that said to wait.
        limit: such as ``100 in 1 min``, None where the API told none.
        share: percent of what the limit allows in the time of the run, None where that is not known.
        states: columns of the table of requests.
        by_endpoint: endpoint -> one count for each of these states.
    """

    made: int
    retries: int
    throttled: int
    limit: str | None
    share: float | None
    states: list[str]
    by_endpoint: list[tuple[str, list[int]]]


class View(Struct, frozen=True):
    """All that the page shows, in its order."""

    title: str
    mode: str
    dry: bool
    status: str
    status_text: str
    when: str
    facts: list[tuple[str, str]]
    stopped_by: list[str]
    damaged: int
    funnel: list[Step]
    groups: list[Group]
    chart: Chart | None
    calls: Calls
    coverage: list[Coverage]
    folder: str
    sources: list[Json]
    input: str
    types: list[tuple[str, int]]
    dead_letters: str | None
