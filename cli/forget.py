"""`forget`: gives up dead letters, and removes what the ledger holds of a person."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import FILE, LEDGER_FILE, LEDGER_IS_WHOLE, SAME_PROJECT, option
from .streams import tell

if TYPE_CHECKING:
    from voucherify_sync.outcomes import State
    from voucherify_sync.state.dead_letters import LetterSelection
    from voucherify_sync.state.ledger_reader import LedgerReader


@click.command("forget")
# Which ledger loses records is named each time: a variable of the environment must not decide it.
@option(
    "-c",
    "--config",
    type=FILE,
    is_deliberate=True,
    show_default="./voucherify-sync.yaml",
    help="Settings file.",
)
@option(
    "--ledger",
    type=LEDGER_FILE,
    is_deliberate=True,
    show_default="the project's own, in the state directory",
    help="Use this ledger.",
)
@SAME_PROJECT
@LEDGER_IS_WHOLE
@option("--failed", is_flag=True, is_deliberate=True, help="Only dead letters of failed records.")
@option("--invalid", is_flag=True, is_deliberate=True, help="Only dead letters of invalid records.")
@option(
    "--user",
    metavar="ID",
    multiple=True,
    help="Only dead letters of this customer, by userId, anonymousId or source_id, and what their orders hold.",
)
@option("--before", metavar="RUN", is_deliberate=True, help="Only dead letters of runs before RUN.")
@option("-y", "--yes", is_flag=True, is_deliberate=True, help="Forget without asking first.")
def command(
    config: Path | None,
    ledger: str | None,
    same_project: bool,
    ledger_is_whole: bool,
    failed: bool,
    invalid: bool,
    user: tuple[str, ...],
    before: str | None,
    yes: bool,
) -> int:
    """Remove dead letters from the ledger. Each option narrows the choice; give at least one.

    A failed record is dismissed: it is not sent again, and later runs do not count it as failed. A record in doubt
    stays in doubt, without its event. The ledger still knows what was delivered, by hashes that reveal nothing.

    \b
    Examples:
      voucherify-sync forget --failed
      voucherify-sync forget --user u-1001
    """
    from voucherify_sync.errors import UsageProblem
    from voucherify_sync.exit_codes import ExitCode
    from voucherify_sync.state.dead_letters import forget_in_files
    from voucherify_sync.state.ledger import forget
    from voucherify_sync.state.ledger_location import check_free
    from voucherify_sync.state.ledger_reader import LedgerReader
    from voucherify_sync.text import counted

    from .confirm import ask
    from .outputs import existing_ledger

    if not (failed or invalid or user or before):
        raise UsageProblem(
            "forget needs to know what: give --failed, --invalid, --user or --before.",
            "`voucherify-sync status` shows what there is.",
        )
    path, location = existing_ledger(config, ledger, same_project=same_project, is_whole=ledger_is_whole)
    if location.problem is not None:
        raise location.problem
    check_free(location)
    with LedgerReader(location.path) as reader:
        selection = _selection(reader, failed=failed, invalid=invalid, users=user, before=before)
        counts = reader.count_letters(selection)
        orders = sum(1 for _ in reader.orders_of(selection))
    in_files = forget_in_files(selection, before, is_trial=True) if user else 0
    if not sum(counts.values()) and not orders and not in_files:
        tell("Nothing to forget.")
        return ExitCode.OK
    if not yes and not sys.stdin.isatty():
        raise UsageProblem("there is no terminal to ask on.", "Give --yes to forget without being asked.")
    if sum(counts.values()) or orders:
        tell(_question(counts, orders, path))
    if in_files:
        tell(f"In files of earlier versions: {counted(in_files, 'dead letter')}: removed")
    if not yes and not ask("Forget them?"):
        return ExitCode.INTERRUPTED
    forget(path, selection, is_whole=ledger_is_whole)
    if in_files:
        forget_in_files(selection, before)
    tell("Forgotten: what was removed cannot be read from the ledger any more.")
    if user:
        tell("The archive still holds these customers: --exclude-ids FILE keeps them out of the next replay.")
    return ExitCode.OK


def _selection(
    reader: LedgerReader, *, failed: bool, invalid: bool, users: tuple[str, ...], before: str | None
) -> LetterSelection:
    from voucherify_sync.outcomes import State
    from voucherify_sync.state.dead_letters import LetterSelection

    run = None if before is None else reader.run_named(before)
    outcomes = {State.FAILED: failed, State.INVALID: invalid}
    return LetterSelection(
        outcomes=frozenset(outcome for outcome, is_meant in outcomes.items() if is_meant),
        users=frozenset(users),
        before=None if run is None else run.number,
    )


def _question(counts: Mapping[State, int], orders: int, path: Path) -> str:
    from voucherify_sync.outcomes import State
    from voucherify_sync.text import clean, counted

    effects = {
        State.FAILED: ("failed record", "failed records", "dismissed: never sent again, no longer counted"),
        State.INVALID: ("invalid record", "invalid records", "removed"),
        State.IN_DOUBT: ("event in doubt", "events in doubt", "kept without the event"),
    }
    lines = [f"In the ledger {clean(str(path), 4_096)}:"]
    for state, (one, many, effect) in effects.items():
        if counts.get(state):
            lines.append(f"  {counted(counts[state], one, many)}: {effect}")
    if orders:
        lines.append(f"  {counted(orders, 'order')}: kept as a hash, without what it holds")
    return "\n".join(lines)
