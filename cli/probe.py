"""`check --probe`: asks, probes the project, shows the findings, and keeps them beside the ledger."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from voucherify_sync.errors import UsageProblem, VoucherifySyncError
from voucherify_sync.exit_codes import PRECEDENCE, ExitCode
from voucherify_sync.text import clean, counted

from .confirm import ask
from .main import say_error
from .render import Line, TextLines, show
from .signals import stopping_cleanly
from .streams import tell

if TYPE_CHECKING:
    from voucherify_sync.settings import Credentials, Settings
    from voucherify_sync.state.ledger_location import LedgerLocation
    from voucherify_sync.voucherify.probe import Probe
    from voucherify_sync.voucherify.probe_findings import ProbeReport

_STYLES = {True: "green", False: "yellow", None: "dim"}


def probe_project(
    settings: Settings, location: LedgerLocation, *, with_order: bool, yes: bool, as_json: bool
) -> tuple[ExitCode, bool]:
    """Probe the project of the settings, once a person has agreed.

    Args:
        settings: effective ones.
        location: of the project's ledger, beside which the findings are kept.
        with_order: one order is imported, which stays.
        yes: the question is answered already.
        as_json: the report is printed as JSON.

    Returns:
        The exit code, and whether the probe was made to its end.

    Raises:
        SettingsError: a key is missing.
        UsageProblem: there is no terminal to ask on.
        VoucherifySyncError: the first call is refused, or too few calls are left.
    """
    from voucherify_sync import settings as library
    from voucherify_sync.stop import Stop
    from voucherify_sync.voucherify.client import Client
    from voucherify_sync.voucherify.probe import DEADLINE_S, Probe

    keys = library.credentials(settings, os.environ)
    if not yes and not sys.stdin.isatty():
        raise UsageProblem(
            "--probe writes to the project, and there is no terminal to ask on",
            "Give --yes to go on without it.",
        )
    stop = Stop()
    with closing(Client(keys, workers=2, deadline_s=DEADLINE_S)) as client:
        probe = Probe(client, keys, stop, with_order=with_order, observe=tell)
        order = f" The order {probe.order_id} stays, if it was accepted." if with_order else ""
        by_hand = f"Quit. Delete the customer {probe.source_id} by hand, if it is there.{order}\n"
        with stopping_cleanly(stop, quits=by_hand):
            probe.look()
            if not stop.requested:
                tell(_question(keys, probe.source_id, with_order=with_order))
                if not yes and not ask("Go on?"):
                    tell("Nothing was written.")
                    return ExitCode.INTERRUPTED, False
            if stop.requested:
                tell("Nothing was written.")
                return stop.signal_exit or ExitCode.INTERRUPTED, False
            report = probe.run()
    is_whole = probe.error is None and not stop.requested
    file = _keep(report, keys, location) if is_whole else None
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode({"probe": report}), indent=2) + b"\n")
        sys.stdout.buffer.flush()
    else:
        _show(report, file)
    return _end(probe, report, stop.signal_exit), is_whole


def _question(keys: Credentials, source_id: str, *, with_order: bool) -> str:
    url, app_id = clean(keys.url), clean(keys.app_id[:4])
    calls = "About 38 calls and 3 bulk calls." if with_order else "About 27 calls and 1 bulk call."
    stays = (
        f"\nThe order {source_id}-order, with status CREATED and amount 0, stays: the API has no way to delete it."
        if with_order
        else ""
    )
    return (
        f"This writes to the project of Application ID {app_id}… at {url}: the customer {source_id} is created and "
        "updated, one custom event `voucherify_sync_probe` is sent, and the customer is deleted at the end. "
        f"{calls}\n"
        "Rules, distributions, webhooks and segments of the project can react to them, as to any new customer and "
        f"event.{stays}"
    )


def _keep(report: ProbeReport, keys: Credentials, location: LedgerLocation) -> Path | None:
    """Keep the findings beside the ledger; say why they are not kept, if so."""
    from voucherify_sync.state.known_project import KnownProject, keep_findings
    from voucherify_sync.state.ledger_file import ProjectIdentity

    if location.path is None or location.problem is not None:
        why = "there is no state directory." if location.problem is None else location.problem.message
        tell(f"Notice: runs will not know the findings: {why}")
        return None
    identity = ProjectIdentity.of(keys.url, keys.app_id)
    known = KnownProject(
        origin=identity.origin,
        key=identity.key,
        found_at=datetime.now(UTC),
        found=report.found,
        differing=tuple(finding.id for finding in report.findings if finding.holds is False),
    )
    try:
        return keep_findings(location.path, known)
    except VoucherifySyncError as error:
        tell(f"Notice: runs will not know the findings: {error.message}.")
        return None


def _show(report: ProbeReport, file: Path | None) -> None:
    lines: list[Line] = [[(f"  {finding.line()}", _STYLES[finding.holds])] for finding in report.findings]
    project = f"{clean(report.url)} (Application ID {clean(report.app_id_prefix)}…)"
    deleted, ends = report.deleted, [counted(report.calls, "call")]
    if deleted.is_customer_gone:
        ends.append(f"the customer {deleted.customer} is deleted")
    if deleted.order is not None:
        ends.append(f"the order {deleted.order} stays, if it was accepted")
    kept = [[(f"Runs use the findings for 90 days: {clean(str(file), 4_096)}", "")]] if file else []
    command: Line = [(f"  {_sandbox_command(report.switches)}", "")]
    show(
        sys.stdout,
        [
            TextLines([[(f"Findings of {project}:", "bold")], *lines]),
            TextLines(
                [
                    [("What no probe finds out:", "")],
                    *([(f"  {each}", "dim")] for each in report.stays_unknown),
                ]
            ),
            TextLines([[("; ".join(ends) + ".", "")], *kept], is_pasted=True),
            TextLines([[("A sandbox that behaves like this project:", "")], command], is_pasted=True),
        ],
    )


def _sandbox_command(switches: dict[str, str]) -> str:
    """Return the command that starts a sandbox like the project; switches at their defaults are left out."""
    from voucherify_sync.sandbox.options import SandboxOptions, describe_fields

    defaults = {each.name: each.default for each in describe_fields(SandboxOptions)}
    given = [f"--switch {name}={value}" for name, value in switches.items() if defaults.get(name) != value]
    return shlex.join(["voucherify-sync", "sandbox", *" ".join(given).split()])


def _end(probe: Probe, report: ProbeReport, signal_exit: ExitCode | None) -> ExitCode:
    """Say what a person has to do, and return the exit code."""
    codes = [ExitCode.INCOMPLETE if report.differs else ExitCode.OK]
    if signal_exit is not None and report.deleted.is_customer_gone is not False:
        codes.append(signal_exit)
    if probe.error is not None:
        codes.append(say_error(probe.error))
    if report.deleted.is_customer_gone is False:
        codes.append(ExitCode.INCOMPLETE)
        tell(
            f"Warning: the customer {report.deleted.customer} could not be deleted. Delete it by hand, in Voucherify's "
            "list of customers, if it is there."
        )
    return min(codes, key=PRECEDENCE.index)
