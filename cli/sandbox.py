"""`sandbox`: a local stand-in for the Voucherify API, with a page that shows what it received."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from voucherify_sync.errors import UsageProblem
from voucherify_sync.sandbox.faults import Fault, FaultScript
from voucherify_sync.sandbox.options import SandboxOptions
from voucherify_sync.sandbox.server import Sandbox
from voucherify_sync.stop import Stop
from voucherify_sync.text import counted

from .options import DURATION, option
from .signals import stopping_cleanly
from .streams import tell

_LOOK_S = 3600.0


@click.command("sandbox")
@option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8900,
    show_default=True,
    help="Port to listen on; 0 takes a free one.",
)
@option("--limit", metavar="N/min", help="Limit to enforce, such as 100/min or 2000/h; default: none.")
@option("--latency", type=DURATION, default="0s", help="Delay of each answer, such as 0.05s.")
@option(
    "--switch",
    metavar="NAME=VALUE",
    multiple=True,
    help="Set an undocumented API behaviour, NAME=VALUE.",
)
@option(
    "--fault",
    metavar="TEXT",
    multiple=True,
    help="Add a fault, such as 'POST /v1/events drop after 10%'.",
)
@option("--seed", type=int, default=0, help="Random seed for faults given with a percentage.")
def command(**given: Any) -> int:
    """Run a local stand-in for the Voucherify API.

    \b
    Examples:
      voucherify-sync sandbox --limit 100/min
      voucherify-sync sandbox --fault 'POST /v1/events status 500 5%' --switch nulls=ignore
    """
    faults = FaultScript(map(Fault.parse, given["fault"]), seed=given["seed"])
    stop = Stop()
    with Sandbox(options_of(given), faults) as sandbox, stopping_cleanly(stop):
        tell(
            f"The sandbox listens on {sandbox.url}: open it in a browser, or put this into a settings file:\n"
            f"  api: {{url: '{sandbox.url}', key: {sandbox.store.app_id}, token: any}}\n"
            "Ctrl-C stops it, and what it holds is gone."
        )
        while not stop.wait(_LOOK_S):
            pass
        customers, events, calls = sandbox.counts()
    held = f"{counted(customers, 'customer')} and {counted(events, 'custom event')}"
    tell(f"It held {held} after {counted(calls, 'call')}.")
    return 0


def options_of(given: dict[str, Any]) -> SandboxOptions:
    """Make the sandbox's options of the command line's.

    Raises:
        UsageProblem: a switch is unknown, or its value is.
    """
    fields = {"port": given["port"], "limit": given["limit"], "latency_s": given["latency"]}
    for switch in given["switch"]:
        name, _, value = switch.partition("=")
        fields[name.replace("-", "_")] = value
    try:
        return msgspec.convert(fields, SandboxOptions, strict=False)
    except msgspec.ValidationError as error:
        known = ", ".join(name for name in SandboxOptions.__struct_fields__ if name not in {"port", "limit"})
        raise UsageProblem(f"--switch: {error}", f"Switches: {known}.") from None
