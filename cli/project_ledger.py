"""Finds the ledger of a project for commands that look at it, or change it, and send nothing."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from voucherify_sync.api import existing, ledger_choice
from voucherify_sync.settings import application_id, load
from voucherify_sync.settings.environment import expanded
from voucherify_sync.state.ledger_location import LedgerChoice, Place, named_ledger, place_of

from .outputs import ledger_files, settings_files, try_outputs


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
    by_settings = ledger_choice(config, named_ledger(settings))
    choice = by_settings if ledger is None else LedgerChoice(named=expanded(ledger).absolute())
    choice = msgspec.structs.replace(choice, **said)
    place = place_of(settings, application_id(settings, os.environ), choice)
    try_outputs([], [*settings_files(config, settings), *(ledger_files(place.path) if place.path else ())])
    return existing(place), place
