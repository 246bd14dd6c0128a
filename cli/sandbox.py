"""`sandbox`: a local stand-in for the Voucherify API, with a page that shows what it received."""

from __future__ import annotations

import shlex
from typing import Any

import click

from .options import DURATION, ParsedType, WholeNumber, option
from .streams import tell

_LOOK_S = 3600.0
_OWN_OPTIONS = ("port", "limit", "latency_s")


def switch_values() -> list[str]:
    """Return the switches that have a few values, with each of these: `nulls=ignore`."""
    from voucherify_sync.sandbox.options import SandboxOptions, describe_fields

    fields = describe_fields(SandboxOptions)
    return [
        f"{each.name}={value}" for each in fields if "|" in each.values for value in each.values.split("|")
    ]


class _SandboxCommand(click.Command):
    """Adds the switches and the actions of faults to the help, from where they are defined."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a line for each."""
        from voucherify_sync.sandbox.faults import ACTIONS, FAULT_FORM
        from voucherify_sync.sandbox.options import SandboxOptions, describe_fields

        with formatter.section("Switches (--switch NAME=VALUE)"):
            formatter.write_dl(
                [
                    (f"{each.name}={each.values}", f"{each.help} [default: {each.default or 'none'}]")
                    for each in describe_fields(SandboxOptions)
                    if each.name not in _OWN_OPTIONS
                ],
                col_max=24,
            )
        with formatter.section("Faults (--fault TEXT)"):
            formatter.write_text(FAULT_FORM)
            formatter.write_dl([(name, words.replace("`", "")) for name, words in ACTIONS.items()])


@click.command("sandbox", cls=_SandboxCommand)
@option(
    "--port",
    type=WholeNumber(0, 65535),
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
    help="Choose how an undocumented part of the API behaves, such as nulls=ignore; all are listed below.",
)
@option(
    "--fault",
    metavar="TEXT",
    multiple=True,
    help="Add a fault, such as 'POST /v1/events drop after 10%': 10 % of the answers are lost. All are listed below.",
)
@option(
    "--seed",
    type=WholeNumber(),
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

    It refuses what the published description of the API refuses. It keeps what it receives until it stops, and shows
    it on a page in the browser. Each start is a new project with a key of its own.
    """
    from voucherify_sync.sandbox import Fault, FaultScript, Sandbox, SandboxOptions
    from voucherify_sync.stop import Stop
    from voucherify_sync.text import counted

    from .signals import stopping_cleanly

    faults = FaultScript(map(Fault.parse, given["fault"]), seed=given["seed"])
    fields = {"port": given["port"], "limit": given["limit"], "latency_s": given["latency"]}
    options = SandboxOptions.read(fields, given["switch"])
    stop = Stop()
    with Sandbox(options, faults) as sandbox, stopping_cleanly(stop):
        api = sandbox.store.api_settings(sandbox.url)
        # A key that is not of this start may be a project's, so the run wants to know that its ledger is new.
        agreed = "" if options.app_id is None else "--yes --new-ledger "
        token = "" if options.token is None else "Set VOUCHERIFY_API_TOKEN to the token of your switch.\n"
        replay = f"voucherify-sync replay -c sandbox.yaml {agreed}sample_events"
        tell(
            f"The sandbox listens on {sandbox.url}. Open it in a browser to see what arrives.\n\n"
            "To send to it with the default mapping, paste this in another terminal, with your events in place of "
            "sample_events:\n"
            f"  echo {shlex.quote(api)} > sandbox.yaml && {replay}\n"
            "To send to it with your own mapping, put this line into your settings file, in place of its api "
            "section:\n"
            f"{api}\n"
            f"{token}\n"
            "Ctrl-C stops it, and what it holds is gone."
        )
        while not stop.wait(_LOOK_S):
            pass
        held = sandbox.describe_held()
    tell(f"It held {held} after {counted(sandbox.call_log.calls, 'call')}.")
    return 0
