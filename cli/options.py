"""Defines the options that commands share: kinds of values, groups of the help, all of `replay`, `retry` and `plan`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from msgspec import Struct

from voucherify_sync.errors import UsageProblem
from voucherify_sync.run.options import (
    ErrorLimit,
    Mode,
    parse_duration_s,
    parse_moment,
    parse_shards,
    parse_type,
)

from .progress import KINDS

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem
    from click.types import OptionHelpExtra

    from voucherify_sync.settings import Rate

Command = Callable[..., Any]
REST = "Options"


class Display(Struct, frozen=True, kw_only=True):
    """What the command line of a run says of what is asked, shown and written; the names are those of the options."""

    yes: bool = False
    quiet: bool = False
    verbose: bool = False
    progress: str = "auto"
    report: tuple[str, ...] = ()
    log_file: Path | None = None

    @property
    def progress_kind(self) -> str:
        """How progress is shown."""
        return "none" if self.quiet else self.progress

    @classmethod
    def take(cls, values: dict[str, Any]) -> Display:
        """Take the display's own values out of those of a command."""
        return cls(**{name: values.pop(name) for name in cls.__struct_fields__ if name in values})


def take_mode(values: dict[str, Any], display: Display) -> Mode:
    """Take out of the values of a command where its requests go; refuse combinations that cannot be meant."""
    dry_run, sandbox = values.pop("dry_run"), values.pop("sandbox", False)
    if dry_run and sandbox:
        raise UsageProblem("--dry-run makes no call, and --sandbox makes calls", "Choose one of them.")
    if sandbox and any(values[name] for name in ("ledger", "new_ledger", "same_project", "again_since")):
        raise UsageProblem(
            "--sandbox begins with an empty project each time and keeps no ledger",
            "Omit the options of the ledger, or send to a sandbox that keeps running: `voucherify-sync sandbox`.",
        )
    if dry_run and "-" in display.report:
        raise UsageProblem("--report - and --dry-run would both write to stdout", "Give the report a file.")
    if display.report.count("-") > 1:
        raise UsageProblem("--report - is given twice", "Give one of them, or the other a file.")
    for one, other in (("again", "again_since"), ("new_ledger", "same_project")):
        if values[one] and values[other]:
            names = " and ".join("--" + name.replace("_", "-") for name in (one, other))
            raise UsageProblem(f"{names} cannot be combined.", "Give one of them.")
    if dry_run:
        return Mode.DRY_RUN
    return Mode.SANDBOX if sandbox else Mode.LIVE


class ParsedType(click.ParamType[Any]):
    """A kind of value that is read by a function.

    Args:
        name: shown in the help in place of a value.
        parse: reads a text; raises ValueError with a sentence that says what to write.
        choices: the values that a shell proposes; called only then.
    """

    def __init__(
        self, name: str, parse: Callable[[str], Any], choices: Callable[[], Iterable[str]] = tuple
    ) -> None:
        self.name = name
        self._parse = parse
        self._choices = choices

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read a text; what is read already stays."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Propose the choices that begin like an incomplete value."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(each) for each in self._choices() if each.startswith(incomplete)]


class FileType(click.Path):
    """The name of a file. `-` is refused: it means a standard stream, and none can take the place of the file."""

    def __init__(self, path_type: type[Path | str] = Path) -> None:
        super().__init__(dir_okay=False, path_type=path_type)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        if value == "-":
            self.fail("'-' is no file here; for a file of that name write ./-", param, ctx)
        return super().convert(value, param, ctx)


def _rate(text: str) -> Rate:
    from voucherify_sync.settings import parse_rate

    return parse_rate(text)


def _moment(text: str) -> datetime:
    """Read a time; one without a zone is UTC for the library."""
    return parse_moment(text, datetime.now(UTC))


def _condition(text: str) -> str:
    """Check a condition, and return it as it is."""
    from voucherify_sync.expressions.conditions import ConditionError, parse_condition

    try:
        parse_condition(text)
    except ConditionError as error:
        raise ValueError(f"column {error.column}: {error}") from None
    return text


def _percent(text: str) -> float:
    from voucherify_sync.mapping.sampling import parse_percent

    return parse_percent(text)


def _event_types() -> Sequence[str]:
    from voucherify_sync.events import SENT_TYPES

    return list(SENT_TYPES)


def _reasons() -> Sequence[str]:
    """Return our codes for records that become dead letters; Voucherify's own keys may stand there, too."""
    from voucherify_sync.outcomes import REASONS, State

    kept = {State.FAILED, State.IN_DOUBT, State.INVALID}
    return [reason.code for reason in REASONS if reason.state in kept and "*" not in reason.code]


def _error_limit(text: str) -> ErrorLimit:
    if match := re.fullmatch(r"(\d+(?:\.\d+)?)%", text):
        return ErrorLimit(share=float(match[1]) / 100)
    if not text.isdecimal():
        raise ValueError(f"{text!r} is no limit; write a number such as 100, or a share such as 5%")
    return ErrorLimit(count=int(text))


class WholeNumber(click.IntRange):
    """A whole number within bounds; a text that is none gets a sentence that says what to write."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read a number."""
        try:
            number = int(value)
        except ValueError:
            number = None
        least, most = self.min, self.max
        if number is None or (least is not None and number < least) or (most is not None and number > most):
            bounds = "" if least is None else f" from {least}" if most is None else f" from {least} to {most}"
            example = 1_000 if most is None or most > 1_000 else most
            self.fail(
                f"{value!r} is no whole number{bounds}; write it in digits, such as {example}", param, ctx
            )
        return number


class Count(WholeNumber):
    """A number of records or calls; a larger one than any archive has means all."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read a number, and keep it within what Python counts with."""
        return min(super().convert(value, param, ctx), sys.maxsize)


FILE = FileType()
LEDGER_FILE = FileType(str)
COUNT = Count(min=1)
SHARDS = ParsedType("N", parse_shards)
REASON = ParsedType("reason", str, _reasons)
RATE = ParsedType("N/min", _rate)
EVENT_TYPE = ParsedType("type", parse_type, _event_types)
DURATION = ParsedType("duration", parse_duration_s)
MOMENT = ParsedType("time", _moment)
ERROR_LIMIT = ParsedType("N|P%", _error_limit)
CONDITION = ParsedType("condition", _condition)
PERCENT = ParsedType("P%", _percent)


class GroupedOption(click.Option):
    """An option that stands under a heading of its own group.

    An option that may be repeated, or that needs a person's decision each time, is not read from the environment.

    Args:
        names: as click takes them.
        group: the heading.
        is_deliberate: needs a decision each time.
        settings: of click.
    """

    def __init__(self, *names: Any, group: str = REST, is_deliberate: bool = False, **settings: Any) -> None:
        if settings.get("multiple"):
            settings["help"] += " Repeatable."
        if is_deliberate or settings.get("multiple"):
            settings["allow_from_autoenv"] = False
        super().__init__(*names, **settings)
        self.group = group

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """Return the name for an error; a value of the environment is looked for there."""
        hint = super().get_error_hint(ctx)
        if ctx is not None and ctx.get_parameter_source(self.name) is ParameterSource.ENVIRONMENT:
            hint += f" (variable {ctx.auto_envvar_prefix}_{self.name.upper()})"
        return hint

    def get_help_extra(self, ctx: click.Context) -> OptionHelpExtra:
        """Return what stands in brackets: a default that another place decides as it is, and a range in words."""
        extra = super().get_help_extra(ctx)
        if isinstance(self.show_default, str):
            extra["default"] = self.show_default
        if "range" in extra:
            bounds: Any = self.type
            extra["range"] = f"from {bounds.min}" if bounds.max is None else f"{bounds.min} to {bounds.max}"
        if extra.get("range") in ("from 1", "from None"):  # as every count, or without bounds
            del extra["range"]
        return extra


def options_of(group: str = REST) -> Callable[..., Callable[..., Any]]:
    """Return what makes options of a group, to be used as `click.option` is."""
    return partial(click.option, cls=GroupedOption, group=group)


class GroupedCommand(click.Command):
    """A command whose help shows one section for each group, in the order of the options."""

    def section_of(self, parameter: click.Parameter) -> str:
        """Return the heading of an option."""
        return getattr(parameter, "group", REST)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                sections.setdefault(self.section_of(parameter), []).append(record)
        sections[REST] = sections.pop(REST)  # `--help` itself comes last
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


# A command that shows no groups may take an option of any group.
option = options_of()
_where = options_of("Where to")
_which = options_of("Which events")
_how = options_of("How to send")
_before = options_of("What was sent before")
_shown = options_of("What is shown and kept")

CONFIG = _where("-c", "--config", type=FILE, show_default="./voucherify-sync.yaml", help="Settings file.")
TYPE = _which(
    "--type",
    type=EVENT_TYPE,
    metavar="[identify|track|page|screen|group]",
    multiple=True,
    help="Only events of this type; page, screen and group must be switched on in the settings, too.",
)
EVENT = _which(
    "--event",
    metavar="NAME",
    multiple=True,
    help="Only track events of this name; * stands for any characters.",
)
WHERE = _which(
    "--where",
    type=CONDITION,
    help="Only events for which CONDITION holds, such as 'properties.total > 20 and userId != null': a field, an "
    "operator (= != < <= > >=) and a value, contains() or match(), with and, or, parentheses. `where` in the settings "
    "takes the same.",
)
SAMPLE = _which(
    "--sample",
    type=PERCENT,
    help="Only this part of the customers, such as 5%, with all their events: the same customers in each run. "
    "A replay without it sends the others.",
)
LIMIT = _which("--limit", type=COUNT, metavar="N", help="Read the first N records only.")
JOBS = _which(
    "--jobs",
    type=COUNT,
    metavar="N",
    help="Read a large archive with N processes in a dry run or preview.",
    show_default="one per core, at most 8",
)
FILES_FROM = _which(
    "--files-from",
    type=click.Path(dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Also read the files and URLs that FILE names, one a line, in its order; - takes the names from stdin.",
)
AGAINST = option(
    "--against",
    metavar="OTHER",
    type=FILE,
    help="Show what changes against another settings file, as `git diff OTHER` does: - is OTHER, + is the one in use.",
)
SAME_PROJECT = _before(
    "--same-project",
    is_flag=True,
    is_deliberate=True,
    help="Only if an error asks for it: the ledger is this project's, under another key or address.",
)
LEDGER_IS_WHOLE = _before(
    "--ledger-is-whole",
    is_flag=True,
    is_deliberate=True,
    help="Only if an error asks for it: the ledger is complete, although it looks like a copy of one in use.",
)

_SETTINGS = [
    CONFIG,
    _where("-n", "--dry-run", is_flag=True, help="Print the requests as JSON lines instead of sending them."),
]
_SANDBOX = _where(
    "--sandbox", is_flag=True, help="Send to a sandbox on this machine that lives as long as the run."
)
_WHICH = [
    TYPE,
    EVENT,
    _which(
        "--user",
        metavar="ID",
        multiple=True,
        help="Only the customer with this source_id (the userId, else the anonymousId).",
    ),
    _which("--exclude-ids", type=FILE, help="Skip the customers whose ids are in FILE, one id per line."),
    _which(
        "--since",
        type=MOMENT,
        help="Only events from TIME on, and those without a time. TIME is a date (2025-03-01), a date with a time "
        "(2025-03-01T12:00:00Z; UTC if no zone is given), or how long ago it is (90min, 12h, 30d, 2w).",
    ),
    _which(
        "--until",
        type=MOMENT,
        help="Only events before TIME, and those without a time. TIME is written as for --since.",
    ),
    WHERE,
    SAMPLE,
    LIMIT,
    JOBS,
    FILES_FROM,
]
_BULK = [
    _how(
        "--bulk",
        "customers",
        flag_value="bulk",
        is_deliberate=True,
        help="Send customers first, folded into bulk requests: a few calls instead of one per identify. Then orders, "
        "then custom events.",
    ),
    _how(
        "--each",
        "customers",
        flag_value="each",
        is_deliberate=True,
        help="Send each identify in a call of its own, in input order, after the orders if there are any.  [default]",
    ),
]
_HOW = [
    _how(
        "--workers",
        type=WholeNumber(1, 256),
        metavar="N",
        help="Maximum number of requests in flight.",
        show_default="16",
    ),
    _how(
        "--rate",
        type=RATE,
        metavar="N/min",
        help="Highest rate of calls, such as 90/min.",
        show_default="the limit of the API, less a reserve of 10 %",
    ),
    _how(
        "--max-calls", type=COUNT, metavar="N", help="Stop cleanly after N calls; the same command continues."
    ),
    _how(
        "--max-duration",
        type=DURATION,
        help="Stop cleanly after this time, such as 8h or 1h30m; the same command continues.",
    ),
    _how(
        "--max-errors",
        type=ERROR_LIMIT,
        help="Stop cleanly once more than N records, or P % of those read, are invalid or failed.",
    ),
    _how(
        "--incomplete",
        is_flag=True,
        is_deliberate=True,
        help="Also send a prepared archive that is incomplete, since a source could not be read.",
    ),
    _how(
        "-y",
        "--yes",
        is_flag=True,
        is_deliberate=True,
        help="Send custom events and orders without asking first.",
    ),
]
_LEDGER = _before(
    "--ledger",
    type=LEDGER_FILE,
    show_default="the project's own, in the state directory",
    help="Use this ledger.",
)
_AGAIN = [
    _before(
        "--again", is_flag=True, is_deliberate=True, help="Also send what was delivered or failed before."
    ),
    _before("--again-since", metavar="RUN", help="Like --again, but skip what RUN or a later run delivered."),
    _before(
        "--on-doubt",
        type=click.Choice(["verify", "hold", "resend", "accept"]),
        help="What to do with events in doubt: verify looks them up, hold leaves them, resend sends them again, accept "
        "counts them as delivered.",
        show_default="verify",
    ),
]
_BEFORE = [
    _LEDGER,
    _before(
        "--new-ledger",
        is_flag=True,
        is_deliberate=True,
        help="Create the ledger. The first run needs it if it has --yes or names a ledger. Refused if there is one.",
    ),
    SAME_PROJECT,
    LEDGER_IS_WHOLE,
    *_AGAIN,
]
_LETTERS = [
    _which("--reason", type=REASON, multiple=True, help="Only dead letters with this reason."),
    _which("--event", metavar="NAME", multiple=True, help="Only events of this name."),
    _which(
        "--user",
        metavar="ID",
        multiple=True,
        help="Only this customer, by userId, anonymousId or source_id.",
    ),
    _which("--run", metavar="RUN", multiple=True, help="Only dead letters of this run."),
]
_PROGRESS = _shown(
    "--progress", type=click.Choice(KINDS), default="auto", show_default=True, help="How to show progress."
)
_SHOWN = [
    _shown(
        "--report",
        type=click.Path(),
        multiple=True,
        help="Write a report to PATH: JSON, or HTML if PATH ends in .html; - prints JSON on stdout.",
    ),
    _shown("--dead-letters", type=FILE, help="Also write this run's dead letters to FILE."),
    _PROGRESS,
    _shown(
        "--log-file",
        type=FILE,
        help="Write a line to FILE for every record that is invalid, failed or in doubt, and the sums of the others.",
    ),
    _shown("-q", "--quiet", is_flag=True, help="Show no progress and no summary, only errors and warnings."),
    _shown(
        "-v",
        "--verbose",
        is_flag=True,
        help="Show every record that was not delivered, as it happens; in the log file, too.",
    ),
]


_SHARDS = _how(
    "--shards",
    type=SHARDS,
    metavar="N",
    help="Write N files of requests; each customer is in one of them.",
    show_default="one for each 256 MB, from 16 to 4,096",
)
_KEEP_WORK = _shown("--keep-work", is_flag=True, help="Keep what the tasks have handed over to each other.")


def keep_command(ctx: click.Context, param: click.Parameter, named: Any) -> Any:
    """Let the remedies of messages keep the command and its options, when it reads what another command prints.

    It is called with what names the sources, one word or several, and returns it.
    """
    from voucherify_sync.sources.unsupported_formats import READ_AGAIN

    is_option = isinstance(param, click.Option)
    sources = named if isinstance(named, tuple) else (str(named),) if named else ()

    def read_again() -> str:
        from .render import command_line

        replaced = {"--files-from", *(param.opts if is_option else ())}
        kept, words = [], iter(sys.argv[1:])
        for word in words:
            if word in replaced:
                next(words, None)
            elif not (word.partition("=")[0] in replaced or word in sources):
                kept.append(word)
        command = command_line(kept)
        given = ctx.params
        asks = ctx.info_name == "replay" and not (given["yes"] or given["dry_run"] or given["sandbox"])
        if asks or ctx.info_name == "retry":
            # A run that asks needs the terminal as its input, and dead letters are read from a file.
            return f"> converted-events.ndjson && {command} converted-events.ndjson"
        return f"| {command} {'--from -' if is_option else '-'}"

    READ_AGAIN.set(read_again)
    return named


SOURCE = click.argument("source", nargs=-1, type=click.Path(), callback=keep_command)


def replay_options(command: Command) -> Command:
    """Give a command the options of `replay`, in the order in which its help shows them."""
    command = _with([*_SETTINGS, _SANDBOX, *_WHICH, *_BULK, *_HOW, *_BEFORE, *_SHOWN], command)
    return SOURCE(command)


def retry_options(command: Command) -> Command:
    """Give a command the options of `retry`: it chooses among dead letters, and not among the events of an archive."""
    return _with([*_SETTINGS, *_LETTERS, *_HOW, *_BEFORE, *_SHOWN], command)


def plan_options(command: Command) -> Command:
    """Give a command those options of `replay` that decide what would be sent."""
    command = _with([CONFIG, *_WHICH, *_BULK, _LEDGER, *_AGAIN, _PROGRESS], command)
    return SOURCE(command)


def prepare_options(command: Command) -> Command:
    """Give a command those options of `replay` that decide what is read and how its customers are sent."""
    command = _with([CONFIG, *_WHICH, *_BULK, _SHARDS, _KEEP_WORK, _PROGRESS], command)
    return SOURCE(command)


def _with(options: list[Command], command: Command) -> Command:
    for option in reversed(options):
        command = option(command)
    return command
