"""`retry`: sends dead letters again, after their cause was fixed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .grouped_help import GroupedCommand
from .options import FILE
from .replay_options import ReplayOptions, retry_options

if TYPE_CHECKING:
    from voucherify_sync.run.options import Input
    from voucherify_sync.settings import Settings
    from voucherify_sync.state.ledger_location import Place
    from voucherify_sync.stop import Stop


@click.command("retry", cls=GroupedCommand)
@click.argument("file", required=False, type=FILE)
@retry_options
def command(file: Path | None, **values: Any) -> int:
    """Send failed records again, look up records in doubt, and map invalid records again.

    Without FILE, retry takes all dead letters of the ledger, the oldest first, from every run. With FILE, it takes an
    edited file of dead letters, such as `status --failed` prints. Mapping, filters and ledger apply as in a replay.
    retry does not send what was delivered since. It dismisses a customer update that is older than the last one
    delivered. It sends an event in doubt only with --on-doubt resend.

    \b
    Examples:
      voucherify-sync retry --dry-run
      voucherify-sync retry --reason invalid_payload
      voucherify-sync status --failed > letters.ndjson   # edit them
      voucherify-sync retry letters.ndjson
    """
    options = ReplayOptions(**values)
    return _retry_file(file, options) if file is not None else _retry_ledger(options)


def _retry_file(file: Path, options: ReplayOptions) -> int:
    from voucherify_sync.errors import UsageProblem
    from voucherify_sync.state.selected_letters import letters_of_file

    from .outputs import Input, try_outputs_of_run
    from .replaying import find_ledger, mode_of

    if options.reason or options.event or options.user or options.run:
        raise UsageProblem(
            "--reason, --event, --user and --run choose among the dead letters of the ledger, not of FILE.",
            "Choose with jq: jq -c 'select(.reason == \"invalid_payload\")'.",
        )
    settings = _settings(options)
    place = find_ledger(options, settings)
    if not file.exists():
        raise UsageProblem(f"{file} does not exist.", "Name a file of dead letters.")
    if not (options.yes or options.dry_run or file.is_file()):
        raise UsageProblem(
            f"{file} can be read only once, and the question before a live run reads it, too.",
            "Save the dead letters to a file first, or give --yes.",
        )
    letters = [Input(f"the dead letters {file}", file)]
    try_outputs_of_run(options, settings, mode_of(options), place.path, letters)
    return _perform(options, settings, place, lambda stop: letters_of_file(file, stop))


def _retry_ledger(options: ReplayOptions) -> int:
    from voucherify_sync.errors import ExitCode
    from voucherify_sync.outcomes import State
    from voucherify_sync.state.ledger_location import read_ledger
    from voucherify_sync.state.ledger_reader import LetterSelection
    from voucherify_sync.state.selected_letters import complete_letters, letters_of_ledger
    from voucherify_sync.stop import Stop

    from .outputs import try_outputs_of_run
    from .project_ledger import existing, known_run
    from .replaying import find_ledger, mode_of, tell_problem

    selection = LetterSelection(
        reasons=frozenset(options.reason),
        names=frozenset(options.event),
        users=frozenset(options.user),
        runs=frozenset(options.run),
    )
    settings = _settings(options)
    place = find_ledger(options, settings)
    try_outputs_of_run(options, settings, mode_of(options), place.path, [])
    path = existing(place)
    if place.problem is not None and not options.dry_run:
        raise place.problem
    has_letters = any(True for _ in letters_of_ledger(path, selection, Stop()))
    with read_ledger(place) as ledger:
        for run in options.run:
            known_run(ledger, run)
        without_event = ledger.counts().failed_without_event
        if without_event and ledger.has_old_files:
            failed = LetterSelection(outcomes=frozenset({State.FAILED}))
            without_event = sum(letter.event is None for letter in complete_letters(ledger, failed))
    if without_event:
        click.echo(
            f"{without_event:,} failed before this version, without an event in the ledger: "
            "read the archive again, then retry.",
            err=True,
        )
    if not has_letters:
        tell_problem(options, place)
        click.echo("Nothing to retry.", err=True)
        return ExitCode.OK
    return _perform(options, settings, place, lambda stop: letters_of_ledger(path, selection, stop))


def _settings(options: ReplayOptions) -> Settings:
    from voucherify_sync.settings import load

    from .replaying import check

    check(options)
    return options.over(load(options.config, environment=os.environ))


def _perform(
    options: ReplayOptions, settings: Settings, place: Place, open_input: Callable[[Stop], Input]
) -> int:
    import msgspec

    from voucherify_sync.mapping.filters import Selection
    from voucherify_sync.state.selected_letters import decode_letters

    from .replaying import mode_of, perform, request_of

    request = request_of(options, settings, mode_of(options), open_input)
    request = msgspec.structs.replace(request, command="retry", decode=decode_letters, selection=Selection())
    return perform(options, request, place, retries=True)
