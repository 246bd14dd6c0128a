"""`plan`: what a replay would cost. Its words and options; what it does is in `planning`."""

from __future__ import annotations

from typing import Any

import click

from .grouped_help import GroupedCommand, options_of
from .options import RATE
from .replay_options import COUNT, ReplayOptions, plan_options

_limits = options_of("Which limits")
_shown = options_of("What is shown and kept")


@click.command("plan", cls=GroupedCommand)
@_limits("--rate", type=RATE, metavar="N/min", help="Highest rate of calls, such as 90/min.")
@_limits("--cycle", type=COUNT, metavar="N", help="Calls in a billing cycle, such as 100000.")
@_limits(
    "--from-api",
    is_flag=True,
    help="Also use the limit of the project itself: makes one call and needs keys.",
)
@plan_options
@_shown("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_shown("-q", "--quiet", is_flag=True, help="No progress and no notices; errors only.")
def command(cycle: int | None, from_api: bool, as_json: bool, **values: Any) -> int:
    """Show what a replay of SOURCE would send, its calls and its duration, and whether it fits a plan.

    \b
    Examples:
      voucherify-sync plan segment-logs/
      voucherify-sync plan --rate 500/min --cycle 1000000 --json segment-logs/ | jq .plans

    plan reads all of SOURCE, as a dry run does, and the ledger if an API key is set. It makes no call
    without --from-api. Each number comes twice: with one call per customer update (--each), and with
    customers folded into bulk requests (--bulk). Without --rate and --cycle it uses the limits of
    Voucherify's public plans, less the reserve of the settings.

    Exit code 0, even if the replay does not fit: see `jq '.plans[].bulk.fits'`. Exit code 3 if records
    are invalid or a source is damaged.
    """  # click reads the \b itself
    from .planning import PlanOptions, tell_plan

    unused: dict[str, Any] = {
        "dry_run": True,
        "workers": None,
        "new_ledger": False,
        "max_calls": None,
        "max_duration": None,
        "max_errors": None,
        "dead_letters": None,
        "report": (),
        "yes": False,
        "verbose": False,
        "log_file": None,
    }
    replay = ReplayOptions(**unused, **values)
    return tell_plan(PlanOptions(replay, cycle=cycle, from_api=from_api, as_json=as_json))
