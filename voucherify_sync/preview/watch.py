"""Explain the same events again each time the settings file is saved."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from msgspec import Struct

from voucherify_sync.errors import SettingsError
from voucherify_sync.events import Event
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.preview.explain import Explanation, explained
from voucherify_sync.run.pipeline import Pipeline
from voucherify_sync.settings import DEFAULT_FILE, default_table_notices, load_with_doubts, settings_file

POLL_S: Final = 0.2
"""Seconds between two looks at a settings file that is watched."""
_PATIENT_POLLS: Final = 5  # an editor may remove or empty a file before it writes it


class WatchedEvents(Struct, frozen=True):
    """What became of the watched events when the settings file was saved.

    Attributes:
        explanations: of the events, the same ones each time; empty while the settings have mistakes.
        before: those of the last time, to be compared with; None the first time.
        error: the mistakes of the settings; None if there are none.
        notices: sentences on what in the settings is likely to be meant otherwise, each with its place, and on fields
            that their rows no longer fill.
    """

    explanations: list[Explanation]
    before: list[Explanation] | None
    error: SettingsError | None
    notices: list[str] = []


class SettingsWatch:
    """Explains the same events again each time the settings file is saved.

    The events are kept, so a pipe is read once. A file that an editor renames or empties for a moment is waited for.

    Args:
        config: the settings file, as it was given.
        first: picks and explains the events. It is called each time the file is saved until it raises no SettingsError.

    Attributes:
        file: the settings file that is watched; it need not be there.
    """

    def __init__(self, config: Path | None, first: Callable[[], Iterable[Explanation]]) -> None:
        self.file = settings_file(config) or DEFAULT_FILE
        self._config, self._first = config, first
        self._seen: object = None
        self._candidate: object = None
        self._polls = 0
        self._last: list[Explanation] | None = None

    def poll(self) -> WatchedEvents | None:
        """Look at the file once; return the explanations if it was saved, and the first time.

        Raises:
            VoucherifySyncError: the sources cannot be read.
        """
        state = _file_state(self.file)
        if state == self._seen:
            self._candidate = None
            return None
        if self._seen is not None:
            self._polls = self._polls + 1 if state == self._candidate else 0
            self._candidate = state
            if self._polls < (1 if state[-1] else _PATIENT_POLLS):
                return None
        self._seen, self._candidate, self._polls = state, None, 0
        try:
            return self._explained()
        except SettingsError as error:
            return WatchedEvents([], None, error)

    def _explained(self) -> WatchedEvents:
        before = self._last
        if before is None:
            self._last = list(self._first())
        settings, doubts = load_with_doubts(self._config, environment=os.environ)
        notices = [*doubts, *default_table_notices(settings)]
        if before is not None:
            pipeline = Pipeline(settings, Selection())
            self._last = [
                explained(pipeline, each.record if isinstance(each.record, Event) else each.outcome)
                for each in before
            ]
        return WatchedEvents(self._last or [], before, None, notices)


def _file_state(file: Path) -> tuple[int, int, int]:
    """Return what differs after a file was saved; its size comes last, and is 0 for a file that is not there."""
    try:
        status = file.stat()
    except OSError:
        return 0, 0, 0
    return status.st_mtime_ns, status.st_ino, status.st_size
