"""What a probe found is kept beside the ledger, and used for its own project and not for ever."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from voucherify_sync.settings import Identify, Settings
from voucherify_sync.settings.types import Delivery
from voucherify_sync.state.known_project import (
    KnownProject,
    keep_findings,
    known_project_file,
    read_findings,
)
from voucherify_sync.state.ledger_file import ProjectIdentity
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.rate_limit import Limiter

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
OWN = ProjectIdentity.of("https://api.voucherify.io", "app")


def known(age: timedelta = timedelta(0), **found: Any) -> KnownProject:
    """Return findings of some age."""
    return KnownProject(origin=OWN.origin, key=OWN.key, found_at=NOW - age, found=found)


@pytest.mark.parametrize(
    ("age", "identity", "is_used"),
    [
        (timedelta(days=90), OWN, True),
        (timedelta(days=91), OWN, False),
        (timedelta(days=-1), OWN, False),
        (timedelta(0), ProjectIdentity.of("https://api.voucherify.io", "other"), False),
        (timedelta(0), ProjectIdentity.of("https://us1.api.voucherify.io", "app"), False),
    ],
    ids=["90 days", "91 days", "of tomorrow", "another key", "another address"],
)
def test_findings_count_for_their_project_and_90_days(
    tmp_path: Path, age: timedelta, identity: ProjectIdentity, is_used: bool
) -> None:
    """What is older may have changed, and another project is another one."""
    ledger = tmp_path / "state" / "shop.ledger"
    file = keep_findings(ledger, known(age, nulls="clear"))
    assert file == tmp_path / "state" / "shop.probe.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "app" not in file.read_text().split('"')  # the key is a hash
    assert (read_findings(ledger, [identity], NOW) is not None) is is_used


@pytest.mark.parametrize("content", [b"", b"{}", b"[1", b'{"origin": 3}', b"\xff"])
def test_a_file_that_cannot_be_read_says_nothing(tmp_path: Path, content: bytes) -> None:
    """A run must not fail for it."""
    ledger = tmp_path / "shop.ledger"
    assert read_findings(ledger, [OWN], NOW) is None
    known_project_file(ledger).write_bytes(content)
    assert read_findings(ledger, [OWN], NOW) is None


def test_findings_replace_those_of_before(tmp_path: Path) -> None:
    """Also where somebody has opened the file to others."""
    ledger = tmp_path / "shop.ledger"
    keep_findings(ledger, known(nulls="clear")).chmod(0o644)
    file = keep_findings(ledger, known(nulls="ignore"))
    read = read_findings(ledger, [OWN], NOW)
    assert read is not None
    assert read.found == {"nulls": "ignore"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"nulls": "clear"}, []),
        ({"nulls": None}, []),
        ({"nulls": "ignore"}, ["erases nothing"]),
        ({"nulls": "reject"}, ["makes requests fail"]),
        ({"nulls": "mixed"}, ["erases only some"]),
        ({"undefined_events": "accept", "activity": 0, "activity_metadata": "same"}, []),
        ({"undefined_events": "accept", "activity": None}, ["shows no event within a minute"]),
        ({"undefined_events": "reject", "activity": None}, []),
        ({"undefined_events": "accept", "activity": 2.5, "activity_metadata": "none"}, ["shows no metadata"]),
        ({"undefined_events": "accept", "activity": 0, "activity_metadata": "strings"}, ["metadata as text"]),
    ],
    ids=str,
)
def test_settings_that_do_not_work_in_the_project_are_warned_of(found: Any, words: list[str]) -> None:
    """Only those: with the defaults nothing is said of nulls."""
    settings = Settings(identify=Identify(nulls="clear"), delivery=Delivery(on_doubt="verify"))
    warnings = known(**found).warnings(settings)
    assert len(warnings) == len(words)
    assert all(word in warning for word, warning in zip(words, warnings, strict=True))
    assert all("`check --probe` of 2026-03-01" in warning for warning in warnings)
    assert known(**found).warnings(Settings(delivery=Delivery(on_doubt="hold"))) == []


@pytest.mark.parametrize(
    ("existing", "updates"), [("upsert", True), ("fail", False), ("double", False), (None, None)]
)
def test_whether_an_import_updates_is_known_or_not(existing: str | None, updates: bool | None) -> None:
    """The delivery of imports asks for it."""
    assert known(order_existing=existing).imports_update is updates


@pytest.mark.parametrize(
    ("found", "limit"),
    [
        ({"limit": 100, "period": "a minute"}, (100, 60.0)),
        ({"limit": 2000.0, "period": "an hour"}, (2000, 3600.0)),
        ({"limit": 100, "period": None}, None),
        ({"limit": None, "period": "a minute"}, None),
    ],
    ids=str,
)
def test_a_limit_is_known_with_its_period_or_not_at_all(found: Any, limit: tuple[int, float] | None) -> None:
    """One without the other is of no use."""
    assert known(**found).limit == limit


@pytest.mark.parametrize(("told", "period_s"), [("100", 60.0), ("2000", None)])
def test_a_known_period_holds_as_long_as_the_limit_is_the_same(told: str, period_s: float | None) -> None:
    """Another limit is another plan, whose period nobody knows."""
    limiter = Limiter(stop=Stop())
    limiter.window.expect(100, 60.0)
    permit = limiter.acquire()
    assert permit is not None
    limiter.sent(permit)
    limiter.answered(permit, 200, {"X-Rate-Limit-Limit": told, "X-Rate-Limit-Remaining": "50"})
    assert limiter.window.period_s == period_s
    assert (limiter.calls_per_s() is not None) is (period_s is not None)
