"""Which ledger a command uses: each way to meet the wrong one ends before anything is sent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.ledger_parts import make_request, open_ledger, outcome

from voucherify_sync.errors import UsageProblem
from voucherify_sync.outcomes import State
from voucherify_sync.state.ledger_file import ProjectIdentity, origin_of
from voucherify_sync.state.ledger_location import LedgerChoice, LedgerLocation, locate

URL = "https://api.voucherify.io"
OWN = ProjectIdentity.of(URL, "own")
ROTATED = ProjectIdentity.of(URL, "rotated")
MOVED = ProjectIdentity.of("https://us1.api.voucherify.io", "own")
STRANGER = ProjectIdentity.of("https://us1.api.voucherify.io", "stranger")
LOCAL = "http://127.0.0.1:8900"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the state directory, which is empty."""
    monkeypatch.setattr("platformdirs.user_state_path", lambda *_, **__: tmp_path / "state")
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


def ledger_of(identity: ProjectIdentity, path: Path, *, is_used: bool = True) -> Path:
    """Make a ledger, by which something was sent."""
    with open_ledger(path, identity=identity) as ledger:
        if is_used:
            ledger.record(outcome(make_request(1), State.DELIVERED))
    return path


def place(identity: ProjectIdentity | None = OWN, url: str = URL, **choice: Any) -> LedgerLocation:
    """Find the ledger of a command."""
    return locate(LedgerChoice(**choice), origin_of(url), identity)


def problem(found: LedgerLocation) -> str:
    """Return what a run that sends must refuse, with the remedy."""
    assert found.problem is not None
    return " ".join(str(found.problem).split())


def test_the_ledger_of_a_project_is_found_by_what_it_says(state: Path) -> None:
    """Not by its name, and whichever of its identities is asked for."""
    ledger_of(STRANGER, state / "a.ledger")
    path = ledger_of(OWN, state / "renamed by hand.ledger")
    open_ledger(path, identity=ROTATED, same_project=True).close()
    for identity in (OWN, ROTATED):
        assert place(identity) == LedgerLocation(path=path)


def test_a_state_directory_that_cannot_be_looked_into_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of another user; a name that is too long cannot be looked at by anybody."""
    monkeypatch.setattr("platformdirs.user_state_path", lambda *_, **__: tmp_path / ("a" * 300))
    with pytest.raises(UsageProblem, match=r"(?s)cannot look for ledgers in .*--ledger FILE"):
        place()


def test_a_project_without_a_ledger_gets_a_new_one(state: Path) -> None:
    """A run that cannot ask must be told that it may make it."""
    ledger_of(STRANGER, state / "a.ledger")
    found = place()
    assert (found.is_new, found.is_first, found.problem) == (True, True, None)
    assert found.path is not None
    assert not found.path.exists()


@pytest.mark.parametrize("other", [ROTATED, MOVED], ids=["another key", "another host"])
def test_a_ledger_that_may_be_that_of_the_project_is_named(state: Path, other: ProjectIdentity) -> None:
    """Keys are rotated and hosts renamed; the user says which it is."""
    path = ledger_of(other, state / "a.ledger")
    said = problem(place())
    assert str(path) in said
    assert f"--ledger {path} --same-project" in said
    assert "--new-ledger" in said
    assert place(is_new=True).problem is None
    assert place(named=path, same_project=True) == LedgerLocation(path=path, adds_identity=True)


@pytest.mark.parametrize(
    ("other", "said_of_it"),
    [
        (ROTATED, "https://api.voucherify.io with another Application ID"),
        (MOVED, "https://us1.api.voucherify.io with this Application ID"),
        (STRANGER, "https://us1.api.voucherify.io with another Application ID"),
    ],
    ids=["another key", "another host", "both"],
)
def test_another_project_is_described_in_words_that_its_owner_knows(
    state: Path, other: ProjectIdentity, said_of_it: str
) -> None:
    """The hash that stands for an Application ID is nobody's key."""
    path = ledger_of(other, state / "a.ledger")
    said = problem(place(named=path))
    assert f"belongs to {said_of_it}, and" in said
    for found in (place(), place(named=path)):
        text = problem(found) if found.problem else ""
        assert not any(own.key in text.replace(str(path), "") for own in (OWN, other))


def test_a_ledger_by_which_nothing_was_sent_may_be_anybody_s(state: Path) -> None:
    """It counts as none."""
    ledger_of(ROTATED, state / "a.ledger", is_used=False)
    assert place().is_first


def test_sandboxes_are_no_other_project(state: Path) -> None:
    """Neither is a project named to one, nor one to a project."""
    own = ProjectIdentity.of(LOCAL, "own")
    ledger_of(ProjectIdentity.of(LOCAL, "sandbox-1f9c"), state / "a.ledger")
    assert place(own, LOCAL).is_first
    ledger_of(own, state / "b.ledger")
    assert place(ProjectIdentity.of(LOCAL, "sandbox-2222"), LOCAL).is_first


def test_no_project_of_voucherify_is_a_sandbox(state: Path) -> None:
    """Whatever its Application ID is called: what it was sent counts."""
    ledger_of(ProjectIdentity.of(URL, "sandbox-1f9c"), state / "a.ledger")
    assert not place(OWN).is_first


def test_two_ledgers_of_one_project_are_told(state: Path) -> None:
    """As after a backup was put beside it."""
    paths = [ledger_of(OWN, state / name) for name in ("a.ledger", "b.ledger")]
    said = problem(place())
    assert all(str(path) in said for path in paths)
    assert place(named=paths[1]).problem is None


def test_of_two_ledgers_the_one_that_was_used_is_taken(state: Path) -> None:
    """The other one knows nothing."""
    ledger_of(OWN, state / "a.ledger", is_used=False)
    path = ledger_of(OWN, state / "b.ledger")
    assert place() == LedgerLocation(path=path)


def test_a_damaged_ledger_of_the_project_is_not_passed_over(state: Path) -> None:
    """A new one would send everything again. Nobody knows whose it is: its name may be that of a key before it."""
    for name in (str(place().path), "notes.ledger"):
        damaged = state / name
        damaged.write_text("no ledger\n" * 99)
        for said in ({}, {"is_new": True}):
            with pytest.raises(UsageProblem, match=r"no SQLite file\. It may be the ledger of this project"):
                place(**said)
        damaged.unlink()
    assert place().is_first


def test_a_linked_ledger_of_the_project_is_not_passed_over(state: Path, tmp_path: Path) -> None:
    """After --same-project its name is still that of the key before."""
    path = ledger_of(OWN, tmp_path / "elsewhere.ledger")
    open_ledger(path, identity=ROTATED, same_project=True).close()
    (state / "own.ledger").symlink_to(path)
    with pytest.raises(UsageProblem, match="symbolic link"):
        place(ROTATED, is_new=True)


def missing(path: Path) -> None:
    """There is nothing."""


def empty(path: Path) -> None:
    """There is the ghost of a ledger, as on a mount point without its volume."""
    path.touch()


@pytest.mark.parametrize("make", [missing, empty])
def test_a_named_ledger_that_is_not_there_is_a_mistake(
    state: Path, tmp_path: Path, make: Callable[..., None]
) -> None:
    """Of the path or of the mount, unless the user asks for a new one."""
    path = tmp_path / "x.ledger"
    make(path)
    said = problem(place(named=path))
    assert f"{path} does not exist" in said
    assert "Only if nothing was ever sent to this project: --new-ledger" in said
    assert place(named=path, is_new=True) == LedgerLocation(path=path, is_new=True)


def test_a_new_ledger_is_no_way_around_the_one_there_is(state: Path, tmp_path: Path) -> None:
    """Named or in the state directory."""
    own = ledger_of(OWN, state / "a.ledger")
    for found in (
        place(is_new=True),
        place(named=tmp_path / "new.ledger", is_new=True),
        place(named=own, is_new=True),
    ):
        assert f"already has a ledger: {own}" in problem(found)


def test_a_named_ledger_of_another_project_is_refused(state: Path, tmp_path: Path) -> None:
    """Both are named, with the way out if they are one."""
    path = ledger_of(STRANGER, tmp_path / "x.ledger")
    said = problem(place(named=path))
    assert STRANGER.origin in said
    assert str(OWN) in said
    assert "--same-project" in said
    assert place(named=path, same_project=True).problem is None


def test_same_project_is_refused_where_it_says_nothing(state: Path, tmp_path: Path) -> None:
    """It must not become a habit."""
    path = ledger_of(OWN, tmp_path / "x.ledger")
    assert "not needed" in problem(place(named=path, same_project=True))
    assert "Name it" in problem(place(same_project=True))
    assert "not needed" in problem(place_after_default(state))


def place_after_default(state: Path) -> LedgerLocation:
    """Say --same-project where the ledger of the project is found by itself."""
    ledger_of(OWN, state / "a.ledger")
    return place(same_project=True)


def test_a_ledger_where_earlier_versions_put_it_is_named(state: Path, tmp_path: Path) -> None:
    """With the command that moves it; a new one is not offered, and not made."""
    earlier = ledger_of(OWN, tmp_path / "x.ledger")
    path = tmp_path / "settings" / "x.ledger"
    for is_new in (False, True):
        said = problem(place(named=path, earlier=earlier, is_new=is_new))
        assert f"mv {earlier}* {path.parent}/" in said
        assert "--new-ledger" not in said


def test_without_a_key_the_only_ledger_of_the_address_is_found(state: Path, tmp_path: Path) -> None:
    """That is enough to look at it."""
    assert place(None) == LedgerLocation()
    path = ledger_of(OWN, state / "a.ledger")
    ledger_of(STRANGER, state / "b.ledger")
    assert place(None) == LedgerLocation(path=path)
    assert place(None, named=path).problem is None
    assert problem(place(None, named=state / "b.ledger"))
    ledger_of(ROTATED, state / "c.ledger")
    assert place(None) == LedgerLocation()
