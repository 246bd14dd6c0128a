"""Keeps what a probe found out of a project in a file beside its ledger, and says what it means for a run.

`NAME.ledger` has `NAME.probe.json`, which only its owner may read. It names the project as the ledger does: by a hash
of its Application ID. A file that is older than 90 days, of another key, or that cannot be read is not used.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from voucherify_sync.settings.types import Settings
from voucherify_sync.state.ledger_file import ProjectIdentity
from voucherify_sync.state.private_files import make_private_directory, write_error, write_whole

KEPT_DAYS: Final = 90


class KnownProject(Struct, frozen=True):
    """What a probe found out.

    Attributes:
        origin: scheme, host and port of the API.
        key: stands for the Application ID and does not tell it.
        found_at: UTC.
        found: by the id of the finding; None where it stayed unknown.
        differing: the ids of the findings with which an assumption does not hold.
    """

    origin: str
    key: str
    found_at: datetime
    found: dict[str, str | float | None]
    differing: tuple[str, ...] = ()

    @property
    def limit(self) -> int | None:
        """Calls in a period, as the API told them."""
        limit = self.found.get("limit")
        return int(limit) if isinstance(limit, int | float) else None

    @property
    def period_s(self) -> float | None:
        """Seconds of a period of the limit."""
        return {"a minute": 60.0, "an hour": 3600.0}.get(str(self.found.get("period")))

    @property
    def imports_update(self) -> bool | None:
        """Whether an import updates an order that exists; None where it is not known."""
        existing = self.found.get("order_existing")
        return None if existing is None else existing == "upsert"

    def warnings(self, settings: Settings) -> list[str]:
        """Return sentences on settings that do not work in this project."""
        said = f"`check --probe` of {self.found_at:%Y-%m-%d} found"
        sentences = []
        nulls = self.found.get("nulls")
        clearing = [name for name in ("identify", "group") if getattr(settings, name).nulls == "clear"]
        if clearing and nulls in ("ignore", "reject", "mixed"):
            does = {
                "ignore": "ignores nulls: nothing is erased",
                "reject": "refuses updates with a null",
                "mixed": "erases only some of the fields that are null",
            }[str(nulls)]
            sentences.append(f"{clearing[0]}.nulls: clear: {said} that this project {does}.")
        is_shown = self.found.get("activity") is not None
        metadata = self.found.get("activity_metadata")
        if settings.delivery.on_doubt == "verify" and self.found.get("undefined_events") == "accept":
            if not is_shown:
                sentences.append(
                    f"delivery.on_doubt: verify: {said} no event in the activity within a minute, so events in doubt "
                    "stay in doubt."
                )
            elif metadata in ("none", "strings", "other"):
                sentences.append(
                    f"delivery.on_doubt: verify: {said} that the activity does not show metadata as it was sent, so "
                    "most events in doubt stay in doubt."
                )
        return sentences


def known_project_file(ledger: Path) -> Path:
    """Return where the findings lie of the project of a ledger."""
    return ledger.with_suffix(".probe.json")


def keep_findings(ledger: Path, known: KnownProject) -> Path:
    """Write what was found, and return the file.

    Raises:
        UsageProblem: it cannot be written.
        RunStopped: the disk is full.
    """
    file = known_project_file(ledger)
    try:
        make_private_directory(file.parent)
        write_whole(file, msgspec.json.format(msgspec.json.encode(known), indent=2) + b"\n")
        file.chmod(0o600)
    except OSError as error:
        raise write_error(file, error) from None
    return file


def read_findings(
    ledger: Path | None, identity: ProjectIdentity | None, now: datetime | None = None
) -> KnownProject | None:
    """Return what is known of a project; None where nothing is, or it is too old.

    Args:
        ledger: of the project, which need not be there.
        identity: of the project; None where its key is not known.
        now: the time.
    """
    if ledger is None or identity is None:
        return None
    with suppress(OSError, msgspec.MsgspecError, ValueError):
        known = msgspec.json.decode(known_project_file(ledger).read_bytes(), type=KnownProject)
        age = (now or datetime.now(UTC)) - known.found_at
        is_of_project = (known.origin, known.key) == (identity.origin, identity.key)
        if is_of_project and timedelta(0) <= age <= timedelta(days=KEPT_DAYS):
            return known
    return None
