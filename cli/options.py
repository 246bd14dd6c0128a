"""Kinds of option values that click does not know, such as rates and durations, and options that previews share."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from voucherify_sync.run.options import ErrorLimit

if TYPE_CHECKING:
    from voucherify_sync.settings import Rate

_UNITS_S = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


class RateType(click.ParamType["Rate"]):
    """A rate of calls, such as 90/min."""

    name = "N/min"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Rate:
        """Read `90/min`, `5/s` or `100/h`."""
        from voucherify_sync.settings import Rate, parse_rate  # not needed to show help

        if isinstance(value, Rate):
            return value
        try:
            return parse_rate(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class DurationType(click.ParamType[float]):
    """A span of time, such as 90s, 30min, 8h or 1h30m."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        if isinstance(value, float):
            return value
        parts = re.findall(r"(\d+(?:\.\d+)?)(min|[smhd])", value)
        if not parts or "".join(number + unit for number, unit in parts) != value.replace(" ", ""):
            self.fail(f"{value!r} is no duration; write 90s, 30min, 8h or 1h30m", param, ctx)
        return sum(float(number) * _UNITS_S[unit] for number, unit in parts)


class MomentType(click.ParamType[datetime]):
    """A point in time, ISO 8601; UTC unless it says otherwise."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return an aware datetime in UTC."""
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time; write 2025-03-01 or 2025-03-01T12:00:00Z", param, ctx)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


class ErrorLimitType(click.ParamType[ErrorLimit]):
    """A number of records, or a share of them such as 5%."""

    name = "N|P%"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ErrorLimit:
        """Read `100` or `5%`."""
        if isinstance(value, ErrorLimit):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)%", value)
        if match:
            return ErrorLimit(share=float(match[1]) / 100)
        if not value.isdecimal():
            self.fail(f"{value!r} is no limit; write a number such as 100, or a share such as 5%", param, ctx)
        return ErrorLimit(count=int(value))


class FileType(click.Path):
    """The name of a file. `-` is refused: it means a standard stream, and none can take the place of the file."""

    def __init__(self, path_type: type[Path | str] = Path) -> None:
        super().__init__(dir_okay=False, path_type=path_type)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        if value == "-":
            self.fail("'-' is no file here; for a file of that name write ./-", param, ctx)
        return super().convert(value, param, ctx)


FILE = FileType()
LEDGER_FILE = FileType(str)
RATE = RateType()
DURATION = DurationType()
MOMENT = MomentType()
ERROR_LIMIT = ErrorLimitType()

CONFIG = click.option(
    "-c",
    "--config",
    type=FILE,
    help="Settings file.  [default: ./voucherify-sync.yaml, if there is one]",
)
EVENT = click.option(
    "--event",
    metavar="NAME",
    multiple=True,
    allow_from_autoenv=False,
    help="Only track events of this name; a * matches any.",
)
