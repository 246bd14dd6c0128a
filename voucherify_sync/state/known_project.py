"""Keeps what a probe found out of a project in a file beside its ledger, and says what it means for a run.

`NAME.ledger` has `NAME.probe.json`, which only its owner may read. It names the project as the ledger does: by a hash
of its Application ID. A file that is older than 90 days, of another key, or that cannot be read is not used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from voucherify_sync.settings import Settings, application_id, clean_url
from voucherify_sync.state.ledger_file import ProjectIdentity
from voucherify_sync.state.private_files import make_private_directory, write_error, write_whole
from voucherify_sync.text import PERIODS

KEPT_DAYS: Final = 90
_NULLS: Final = {
    "ignore": ("erases nothing", "ignores nulls"),
    "reject": ("makes requests fail", "refuses updates with a null"),
    "mixed": ("erases only some of the fields", "ignores a part of the nulls"),
}
"""What the probe found of nulls -> what they do in a run, and at the project."""
_ACTIVITY: Final = {
    "none": "shows no metadata",
    "strings": "shows all metadata as text",
    "other": "does not show metadata as it was sent",
}
_PERIODS_S: Final = {words: seconds for seconds, words in PERIODS.items()}


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
    def limit(self) -> tuple[int, float] | None:
        """Calls in a period of the limit, and its seconds; None where they are not known."""
        calls, period_s = self.found.get("limit"), _PERIODS_S.get(str(self.found.get("period")))
        return None if period_s is None or not isinstance(calls, int | float) else (int(calls), period_s)

    @property
    def imports_update(self) -> bool | None:
        """Whether an import updates an order that exists; None where it is not known."""
        existing = self.found.get("order_existing")
        return None if existing is None else existing == "upsert"

    def warnings(self, settings: Settings) -> list[str]:
        """Return sentences on settings that do not work in this project."""
        said = f"`check --probe` of {self.found_at:%Y-%m-%d} found that"
        found, sentences = self.found, []
        for name in ("identify", "group"):
            nulls = _NULLS.get(str(found.get("nulls")))
            if nulls is not None and getattr(settings, name).nulls == "clear":
                erases, does = nulls
                sentences.append(f"`{name}.nulls: clear` {erases}: {said} this project {does}.")
        if settings.delivery.on_doubt == "verify" and found.get("undefined_events") == "accept":
            shows = _ACTIVITY.get(str(found.get("activity_metadata")))
            if found.get("activity") is None:
                shows = "shows no event within a minute"
            if shows is not None:
                doubts = "`delivery.on_doubt: verify` leaves most events in doubt as they are"
                sentences.append(f"{doubts}: {said} the activity {shows}.")
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
    ledger: Path | None, identities: Sequence[ProjectIdentity], now: datetime | None = None
) -> KnownProject | None:
    """Return what is known of a project; None where nothing is, or it is too old.

    Args:
        ledger: of the project, which need not be there.
        identities: by which the project is known.
        now: the time.
    """
    if ledger is None:
        return None
    with suppress(OSError, msgspec.MsgspecError, ValueError):
        known = msgspec.json.decode(known_project_file(ledger).read_bytes(), type=KnownProject)
        age = (now or datetime.now(UTC)) - known.found_at
        is_of_project = (known.origin, known.key) in [(each.origin, each.key) for each in identities]
        if is_of_project and timedelta(0) <= age <= timedelta(days=KEPT_DAYS):
            return known
    return None


def findings_of_settings(
    settings: Settings, ledger: Path | None, environment: Mapping[str, str]
) -> KnownProject | None:
    """Return what is known of the project that settings lead to, as `read_findings` does."""
    app_id = application_id(settings, environment)
    if app_id is None:
        return None
    return read_findings(ledger, [ProjectIdentity.of(clean_url(settings.api.url), app_id)])
