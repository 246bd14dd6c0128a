"""Does what `retry` was asked: the events of dead letters are replayed like any others, failed ones included."""

from __future__ import annotations

import os
from pathlib import Path

from voucherify_sync.bookkeeping.deadletters import default_path
from voucherify_sync.errors import UsageProblem
from voucherify_sync.running.ledgers import read_ledger
from voucherify_sync.running.letters import LetterInput
from voucherify_sync.settings import Settings, application_id, load

from .outputs import Input, try_outputs_of_run
from .replay_options import ReplayOptions
from .replaying import check, mode_of, perform, request_of


def retry(file: Path | None, options: ReplayOptions) -> int:
    """Replay the dead letters of a file, or of the last run; return the exit code."""
    check(options)
    settings = options.over(load(options.config, environment=os.environ))
    letters = file or _of_last_run(settings)
    mode = mode_of(options)
    try_outputs_of_run(options, settings, mode, [Input(f"the dead letters {letters}", letters)])
    request = request_of(options, settings, mode, lambda stop: LetterInput(letters, stop))
    return perform(options, request, retries=True)


def _of_last_run(settings: Settings) -> Path:
    with read_ledger(settings, application_id(settings, os.environ)) as ledger:
        run = ledger.last_run()
    if run is None:
        raise UsageProblem("no run has left dead letters yet", "Name a file of dead letters.")
    path = default_path(run.name)
    if not path.exists():
        raise UsageProblem(
            f"the last run, {run.name}, left no dead letters at {path}",
            "Name a file of dead letters, such as the one of an earlier run or of --dead-letters.",
        )
    return path
