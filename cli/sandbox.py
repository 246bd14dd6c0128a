"""`sandbox`: a local stand-in for the Voucherify API, with a page that shows what it received."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

import click

from .options import DURATION, ParsedType, option
from .streams import tell

if TYPE_CHECKING:
    from voucherify_sync.sandbox import SandboxOptions

_LOOK_S = 3600.0


def switch_values() -> list[str]:
    """Return the switches that have a few values, with each of these: `nulls=ignore`."""
    from voucherify_sync.sandbox import SandboxOptions

    kinds = get_type_hints(SandboxOptions).items()
    return [
        f"{name}={value}" for name, kind in kinds if get_origin(kind) is Literal for value in get_args(kind)
    ]


@click.command("sandbox")
@option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    default=8900,
    show_default=True,
    help="Port to listen on; 0 takes a free one.",
)
@option("--limit", metavar="N/min", show_default="none", help="Limit to enforce, such as 100/min or 2000/h.")
@option(
    "--latency", type=DURATION, default="0s", show_default=True, help="Delay of each answer, such as 0.05s."
)
@option(
    "--switch",
    type=ParsedType("name=value", str, switch_values),
    metavar="NAME=VALUE",
    multiple=True,
    help="Choose how an undocumented part of the API behaves, such as nulls=ignore.",
)
@option(
    "--fault",
    metavar="TEXT",
    multiple=True,
    help="Add a fault, such as 'POST /v1/events drop after 10%': 10 % of the answers are lost.",
)
@option(
    "--seed",
    type=int,
    metavar="N",
    default=0,
    show_default=True,
    help="Random seed for faults with a percentage.",
)
def command(**given: Any) -> int:
    """Run a local stand-in for the Voucherify API.

    \b
    Examples:
      voucherify-sync sandbox --limit 100/min
      voucherify-sync sandbox --fault 'POST /v1/events status 500 5%'
      voucherify-sync sandbox --switch nulls=ignore

    It keeps what it receives until it stops, and shows it on a page in the browser.
    """
    from voucherify_sync.sandbox import Fault, FaultScript, Sandbox
    from voucherify_sync.stop import Stop
    from voucherify_sync.text import counted

    from .signals import stopping_cleanly

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
    import msgspec

    from voucherify_sync.errors import UsageProblem
    from voucherify_sync.sandbox import SandboxOptions

    fields = {"port": given["port"], "limit": given["limit"], "latency_s": given["latency"]}
    for switch in given["switch"]:
        name, _, value = switch.partition("=")
        fields[name.replace("-", "_")] = value
    try:
        return msgspec.convert(fields, SandboxOptions, strict=False)
    except msgspec.ValidationError as error:
        known = ", ".join(name for name in SandboxOptions.__struct_fields__ if name not in {"port", "limit"})
        raise UsageProblem(f"--switch: {error}", f"Switches: {known}.") from None
