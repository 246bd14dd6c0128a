"""What a report tells of a run besides its outcomes. Plain values, taken from those who know them."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from msgspec import Struct

from voucherify_sync.errors import ExitCode


class RunFacts(Struct, frozen=True):
    """What a run was.

    Attributes:
        version: of this program.
        run_id: as in the ledger and the name of the dead letters.
        mode: ``live``, ``dry_run`` or ``sandbox``.
        exit_code: what the process ends with.
        started_at: aware.
        finished_at: aware.
        duration_s: by a clock that nobody sets.
        settings_digest: equal for settings that make equal requests; None where nobody asked.
        stopped_by: what ended the run early, for people, with what to do about it.
        dead_letters: the file that keeps what did not arrive, if there is one.
    """

    version: str
    run_id: str
    mode: str
    exit_code: ExitCode
    started_at: datetime
    finished_at: datetime
    duration_s: float
    settings_digest: str | None = None
    stopped_by: str | None = None
    dead_letters: str | None = None


class SourceFacts(Protocol):
    """What was read of one source: lines, bytes on disk, and what is wrong with it if it is damaged."""

    @property
    def name(self) -> str:
        """As the user named it, or as it was found."""

    @property
    def lines(self) -> int:
        """Lines read."""

    @property
    def bytes(self) -> int:
        """Bytes read, as they lie on disk."""

    @property
    def damaged(self) -> str | None:
        """What is wrong with it, or None."""


class ApiFacts(Struct, frozen=True):
    """What the calls of a run came to.

    Attributes:
        calls: that went out.
        retries: those among them that repeated an earlier one.
        throttled: those that were answered by 429.
        limit: calls that the API allows a period, None where it did not say.
        period_s: that period, None until it is learnt.
    """

    calls: int = 0
    retries: int = 0
    throttled: int = 0
    limit: int | None = None
    period_s: float | None = None
