"""Finds the ledger of a project for commands that look at it, or change it, and send nothing."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from voucherify_sync.errors import UsageProblem
from voucherify_sync.settings import application_id, load, settings_file
from voucherify_sync.settings.environment import expanded
from voucherify_sync.state.ledger_location import LedgerChoice, Place, named_ledger, place_of
from voucherify_sync.state.ledger_reader import LedgerReader, Run

from .outputs import ledger_files, settings_files, try_outputs


def choice_of(config: Path | None, named: Path | None) -> LedgerChoice:
    """Return the ledger that is named, and where earlier versions looked for a relative path of the settings file."""
    file = settings_file(config)
    if named is None or file is None:
        return LedgerChoice(named=named)
    relative = os.path.relpath(named, file.parent)
    earlier = None if relative.startswith("..") else Path.cwd() / relative
    return LedgerChoice(named=named, earlier=None if earlier == named else earlier)


def existing_ledger(config: Path | None, ledger: str | None, **said: bool) -> tuple[Path, Place]:
    """Return the path of the ledger, and what is to be said of it.

    Args:
        config: settings file, as it was given.
        ledger: as it was given with --ledger.
        said: `same_project` and `is_whole` of a LedgerChoice.

    Raises:
        UsageProblem: there is none, or it is not known which is meant.
    """
    settings = load(config, environment=os.environ)
    by_settings = choice_of(config, named_ledger(settings))
    choice = by_settings if ledger is None else LedgerChoice(named=expanded(ledger).absolute())
    choice = msgspec.structs.replace(choice, **said)
    place = place_of(settings, application_id(settings, os.environ), choice)
    try_outputs([], [*settings_files(config, settings), *(ledger_files(place.path) if place.path else ())])
    return existing(place), place


def existing(place: Place) -> Path:
    """Return the path of a ledger that is there.

    Raises:
        UsageProblem: there is none, or it is not known which is meant.
    """
    if place.path is None:
        raise place.problem or UsageProblem(
            "cannot find the ledger: the project is not known.", "Set api.key or pass --ledger FILE."
        )
    if not place.path.exists():
        raise place.problem or UsageProblem(
            f"nothing was sent to this project yet: there is no ledger at {place.path}.",
            "If another file is its ledger, name it with --ledger.",
        )
    return place.path


def known_run(ledger: LedgerReader, run_id: str) -> Run:
    """Return a run by its id.

    Raises:
        UsageProblem: the ledger does not know it.
    """
    run = ledger.run_named(run_id)
    if run is None:
        raise UsageProblem(
            f"the ledger knows no run {run_id!r}", "`voucherify-sync status` lists the last runs."
        )
    return run
