"""The options of `replay` and `retry`: one value, and the decorators that click makes it from."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from msgspec import Struct

from voucherify_sync.run.options import ErrorLimit

if TYPE_CHECKING:  # YAML and all that belongs to settings is of no use to `--help`
    from voucherify_sync.settings import Rate, Settings
    from voucherify_sync.state.ledger_location import LedgerChoice

from .grouped_help import options_of
from .options import DURATION, ERROR_LIMIT, FILE, LEDGER_FILE, MOMENT, RATE
from .progress import KINDS

Command = Callable[..., Any]


class ReplayOptions(Struct, frozen=True, kw_only=True):
    """What the command line of `replay` or `retry` says; the names are those of the options."""

    config: Path | None
    dry_run: bool
    workers: int | None
    rate: Rate | None
    ledger: str | None
    new_ledger: bool
    again: bool
    again_since: str | None
    on_doubt: str | None
    max_calls: int | None
    max_duration: float | None
    max_errors: ErrorLimit | None
    dead_letters: Path | None
    report: tuple[str, ...]
    yes: bool
    quiet: bool
    verbose: bool
    log_file: Path | None
    progress: str
    sandbox: bool = False
    customers: str | None = None
    source: tuple[str, ...] = ()
    type: tuple[str, ...] = ()
    event: tuple[str, ...] = ()
    user: tuple[str, ...] = ()
    exclude_ids: Path | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int | None = None
    jobs: int | None = None
    same_project: bool = False
    ledger_is_whole: bool = False
    reason: tuple[str, ...] = ()
    run: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """What of it the ledger keeps: no name of a person or a file."""
        return f"replay --{self.customers}" if self.customers else "replay"

    def ledger_choice(self, settings: Settings) -> LedgerChoice:
        """Return what the command line and the settings say of the ledger."""
        import msgspec

        from voucherify_sync.state.ledger_location import LedgerChoice, named_ledger

        from .project_ledger import choice_of

        named = named_ledger(settings)
        return msgspec.structs.replace(
            choice_of(self.config, named) if self.ledger is None else LedgerChoice(named=named),
            is_new=self.new_ledger,
            same_project=self.same_project,
            is_whole=self.ledger_is_whole,
        )

    def over(self, settings: Settings) -> Settings:
        """Lay what the command line says of delivery over the settings of the file."""
        from voucherify_sync.settings import absolute

        said = {
            "customers": self.customers,
            "workers": self.workers,
            "rate": self.rate,
            "max_calls": self.max_calls,
            "ledger": None if self.ledger is None else absolute(self.ledger, Path.cwd()),
            "on_doubt": self.on_doubt,
        }
        given = {name: value for name, value in said.items() if value is not None}
        return msgspec.structs.replace(settings, delivery=msgspec.structs.replace(settings.delivery, **given))


COUNT = click.IntRange(min=1)

JOBS_HELP = "Processes that map a large archive while nothing is sent; default: one per core, at most 8."
_MOST_JOBS = 8  # the first process, which settles what the others find, keeps no more of them busy

_where = options_of("Where to")
_which = options_of("Which events")
_how = options_of("How to send")
_before = options_of("What was sent before")
_shown = options_of("What is shown and kept")

CONFIG = [
    _where("-c", "--config", type=FILE, help="Settings file; default: ./voucherify-sync.yaml."),
]
SETTINGS = [
    *CONFIG,
    _where("--dry-run", is_flag=True, help="Print the requests as JSON lines instead of sending them."),
]
SANDBOX = [
    _where(
        "--sandbox", is_flag=True, help="Send to a sandbox on this machine that lives as long as the run."
    ),
]
WHICH = [
    _which(
        "--type",
        metavar="T",
        multiple=True,
        allow_from_autoenv=False,
        help="Only events of this type: identify or track.",
    ),
    _which(
        "--event",
        metavar="NAME",
        multiple=True,
        allow_from_autoenv=False,
        help="Only track events of this name.",
    ),
    _which(
        "--user",
        metavar="ID",
        multiple=True,
        allow_from_autoenv=False,
        help="Only this customer, by source_id.",
    ),
    _which("--exclude-ids", type=FILE, help="Skip the customers whose ids are in FILE, one per line."),
    _which("--since", type=MOMENT, help="Only events from TIME on, and those without a time."),
    _which("--until", type=MOMENT, help="Only events before TIME, and those without a time."),
    _which("--limit", type=COUNT, metavar="N", help="Read the first N records only."),
]
JOBS = [
    _which("--jobs", type=COUNT, metavar="N", help=JOBS_HELP),
]
BULK = [
    _how(
        "--bulk",
        "customers",
        flag_value="bulk",
        allow_from_autoenv=False,
        help="Send customers first, folded into bulk requests: a few calls instead of one per identify.",
    ),
    _how(
        "--each",
        "customers",
        flag_value="each",
        allow_from_autoenv=False,
        help="Send each identify in a call of its own, in input order.  [default]",
    ),
]
HOW = [
    _how("--workers", type=click.IntRange(1, 256), metavar="N", help="Maximum number of requests in flight."),
    _how(
        "--rate",
        type=RATE,
        metavar="N/min",
        help="Highest rate of calls, such as 90/min; default: the limit of the API.",
    ),
    _how(
        "--max-calls", type=COUNT, metavar="N", help="Stop cleanly after N calls; the same command continues."
    ),
    _how("--max-duration", type=DURATION, help="Stop cleanly after this time, such as 8h."),
    _how(
        "--max-errors",
        type=ERROR_LIMIT,
        help="Stop cleanly when more records than this are invalid or failed.",
    ),
    _how(
        "--yes",
        is_flag=True,
        allow_from_autoenv=False,
        help="Send custom events without asking first.",
    ),
]
LEDGER = [
    _before(
        "--ledger",
        type=LEDGER_FILE,
        help="Use this ledger instead of the project's own in the state directory.",
    ),
]
AGAIN = [
    _before(
        "--again",
        is_flag=True,
        allow_from_autoenv=False,
        help="Also send what was delivered or failed before.",
    ),
    _before("--again-since", metavar="RUN", help="Like --again, but skip what RUN or a later run delivered."),
    _before(
        "--on-doubt",
        type=click.Choice(["verify", "hold", "resend", "accept"]),
        help="Event without an answer: look it up, leave it, send it again, count it as delivered.  [default: verify]",
    ),
]
BEFORE = [
    *LEDGER,
    _before(
        "--new-ledger",
        is_flag=True,
        allow_from_autoenv=False,
        help="Make a ledger where there is none; refused where there is one.",
    ),
    _before(
        "--same-project",
        is_flag=True,
        allow_from_autoenv=False,
        help="Accept a ledger that was used with another key or address.",
    ),
    _before(
        "--ledger-is-whole",
        is_flag=True,
        allow_from_autoenv=False,
        help="Accept a ledger that looks like a copy of one in use.",
    ),
    *AGAIN,
]
LETTERS = [
    _which(
        "--reason",
        metavar="REASON",
        multiple=True,
        allow_from_autoenv=False,
        help="Only dead letters with this reason.",
    ),
    _which(
        "--event",
        metavar="NAME",
        multiple=True,
        allow_from_autoenv=False,
        help="Only events of this name.",
    ),
    _which(
        "--user",
        metavar="ID",
        multiple=True,
        allow_from_autoenv=False,
        help="Only this customer, by userId, anonymousId or source_id.",
    ),
    _which(
        "--run", metavar="RUN", multiple=True, allow_from_autoenv=False, help="Only dead letters of this run."
    ),
]
PROGRESS = [
    _shown(
        "--progress",
        type=click.Choice(KINDS),
        default="auto",
        show_default=True,
        help="How to show progress.",
    ),
]
SHOWN = [
    _shown(
        "--report",
        type=click.Path(),
        multiple=True,
        allow_from_autoenv=False,
        help="Write a report: JSON, or HTML if PATH ends in .html; - prints JSON on stdout.",
    ),
    _shown("--dead-letters", type=FILE, help="Also write this run's dead letters to FILE."),
    *PROGRESS,
    _shown("--log-file", type=FILE, help="Write a line to FILE for every record that was not delivered."),
    _shown("-q", "--quiet", is_flag=True, help="No progress, no summary; errors only."),
    _shown("-v", "--verbose", is_flag=True, help="Show every record that was not delivered, as it happens."),
]


def replay_options(command: Command) -> Command:
    """Give a command the options of `replay`, in the order in which its help shows them."""
    command = _with([*SETTINGS, *SANDBOX, *WHICH, *JOBS, *BULK, *HOW, *BEFORE, *SHOWN], command)
    return click.argument("source", nargs=-1)(command)


def retry_options(command: Command) -> Command:
    """Give a command the options of `retry`: it chooses among dead letters, and not among the events of an archive."""
    return _with([*SETTINGS, *LETTERS, *HOW, *BEFORE, *SHOWN], command)


def plan_options(command: Command) -> Command:
    """Give a command those options of `replay` that decide what would be sent."""
    command = _with([*CONFIG, *WHICH, *JOBS, *BULK, *LEDGER, *AGAIN, *PROGRESS], command)
    return click.argument("source", nargs=-1)(command)


def _with(options: list[Command], command: Command) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def cores() -> int:
    """Return how many processes are worth while: one for each processor that this one may use, within limits."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(count, _MOST_JOBS)
