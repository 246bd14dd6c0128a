"""Finds the ledger of a command, by name or by the project that it belongs to, and opens it.

A command that may send must refuse a ledger that could be the wrong one: what an unknown ledger does not know would be
sent again. Commands that only read show the same sentence as a notice.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Final, Self

from msgspec import Struct

from voucherify_sync.errors import UsageProblem
from voucherify_sync.settings import Settings, application_id, clean_url, settings_file
from voucherify_sync.settings.environment import expanded, state_directory
from voucherify_sync.state.ledger import Ledger, RunStart
from voucherify_sync.state.ledger_db import refuse_copy
from voucherify_sync.state.ledger_file import (
    LedgerLock,
    ProjectIdentity,
    bytes_in,
    default_path,
    describe,
    origin_of,
)
from voucherify_sync.state.ledger_reader import LedgerReader
from voucherify_sync.state.private_files import utf8
from voucherify_sync.state.retry_input import letters_of_earlier_files
from voucherify_sync.stop import Stop

_ONLY_FIRST: Final = "Only if nothing was ever sent to this project: --new-ledger"


class LedgerChoice(Struct, frozen=True, kw_only=True):
    """What a user says of the ledger.

    Attributes:
        named: the file, absolute; None takes the one of the project in the state directory.
        earlier: where earlier versions looked for a relative path of the settings file, if that is elsewhere.
        is_new: make a ledger (``--new-ledger``).
        same_project: the ledger is that of the project, whatever its address and key were before.
        is_whole: what looks like a copy of a ledger in use is whole.
    """

    named: Path | None = None
    earlier: Path | None = None
    is_new: bool = False
    same_project: bool = False
    is_whole: bool = False

    @classmethod
    def of(
        cls,
        settings: Settings,
        config: Path | None,
        option: str | None,
        *,
        is_new: bool = False,
        same_project: bool = False,
        is_whole: bool = False,
    ) -> Self:
        """Return what the settings and the command line say.

        Args:
            settings: a path in them is absolute already.
            config: the settings file, as it was given.
            option: of --ledger; a relative path is relative to the working directory.
            is_new: of --new-ledger.
            same_project: of --same-project.
            is_whole: of --ledger-is-whole.

        Raises:
            UsageProblem: a path begins with `~`, and there is no home directory.
        """
        given = settings.delivery.ledger if option is None else option
        named, earlier = None if given is None else expanded(given).absolute(), None
        file = settings_file(config)
        if option is None and named is not None and file is not None:
            relative = os.path.relpath(named, file.parent)
            there = Path.cwd() / relative
            earlier = None if relative.startswith("..") or there == named else there
        return cls(named=named, earlier=earlier, is_new=is_new, same_project=same_project, is_whole=is_whole)


class LedgerLocation(Struct, frozen=True, kw_only=True):
    """The ledger that is used, and what a command that may send must refuse.

    Attributes:
        path: of the ledger; None where the project is not known, or there is no state directory.
        is_new: it is to be made. Where a file is, nothing was ever sent by it.
        is_first: nothing in the state directory could be a ledger of the project.
        adds_identity: the project has another address or key from now on.
        problem: why a command that may send must not use it; others show it as a notice.
    """

    path: Path | None = None
    is_new: bool = False
    is_first: bool = False
    adds_identity: bool = False
    problem: UsageProblem | None = None

    def existing(self) -> Path:
        """Return the path of a ledger that is there.

        Raises:
            UsageProblem: there is none, or it is not known which is meant.
        """
        if self.path is None:
            raise self.problem or UsageProblem(
                "cannot find the ledger: it is not known which project is meant.",
                "Set api.key, as with `export VOUCHERIFY_API_KEY=…`, or pass --ledger FILE.",
            )
        if not self.path.exists():
            raise self.problem or UsageProblem(
                f"nothing was sent to this project yet: there is no ledger at {self.path}.",
                "If another file is its ledger, name it with --ledger.",
            )
        return self.path


_Found = tuple[Path, list[ProjectIdentity], bool]
"""A ledger, by which identities its project was used, and whether something was sent."""


def find_ledger(settings: Settings, choice: LedgerChoice, environment: Mapping[str, str]) -> LedgerLocation:
    """Find the ledger of the project that the settings lead to, as `locate` does."""
    url, app_id = clean_url(settings.api.url), application_id(settings, environment)
    return locate(choice, origin_of(url), None if app_id is None else ProjectIdentity.of(url, app_id))


def locate(choice: LedgerChoice, origin: str, identity: ProjectIdentity | None) -> LedgerLocation:
    """Find the ledger of a command. Without a state directory there is only the one that is named.

    Args:
        choice: what the user says.
        origin: of the API.
        identity: of the project; None where its key is not known.

    Raises:
        UsageProblem: the file cannot be looked at, or is no ledger of a version that is known.
    """
    if choice.named is not None:
        if bytes_in(choice.named):
            return _judge_named(choice.named, choice, origin, identity)
        return _judge_missing(choice.named, choice, identity)
    found = _read_state_directory()
    if identity is None:
        paths = [path for path, known, _ in found if any(own.origin == origin for own in known)]
        return LedgerLocation(path=paths[0] if len(paths) == 1 else None)
    if own := {path: is_used for path, known, is_used in found if identity.is_among(known)}:
        used = [path for path, is_used in own.items() if is_used]
        if len(used) > 1:
            problem = UsageProblem(
                f"{len(used)} ledgers belong to {identity}: {', '.join(map(str, used))}",
                "Name the right one with --ledger FILE, or move the others away.",
            )
            return LedgerLocation(path=used[0], problem=problem)
        return _judge_existing(next(iter(used or own)), choice, is_used=bool(used), stranger=None)
    try:
        path = default_path(identity)
    except UsageProblem as error:
        return LedgerLocation(problem=error)
    if choice.same_project:
        problem = UsageProblem("--same-project needs a ledger.", "Name it: --ledger FILE")
        return LedgerLocation(path=path, problem=problem)
    # Keys are rotated, hosts are renamed: a ledger of the same address or the same key may be the project's.
    alike = {
        path: describe(known, identity)
        for path, known, is_used in found
        if is_used
        and any(
            not own.is_sandbox and (own.origin == identity.origin or own.key == identity.key) for own in known
        )
    }
    if not alike or identity.is_sandbox or choice.is_new:
        return LedgerLocation(path=path, is_new=True, is_first=True)
    others = "; ".join(f"{other} of {names}" for other, names in alike.items())
    problem = UsageProblem(
        f"there is no ledger of {identity}, but one of the same address or key: {others}.",
        f"If that is the same project, its keys or host changed: --ledger {next(iter(alike))} --same-project. "
        "For another project: --new-ledger",
    )
    return LedgerLocation(path=path, is_new=True, problem=problem)


def _judge_named(
    path: Path, choice: LedgerChoice, origin: str, identity: ProjectIdentity | None
) -> LedgerLocation:
    """Judge a ledger that the user names."""
    _, known, is_used = _look_into(path)
    stranger = None
    if not known:
        stranger = UsageProblem(
            f"the ledger {path} is damaged: it does not say whose it is.", "Put a backup of it in its place."
        )
    elif not (identity.is_among(known) if identity else any(own.origin == origin for own in known)):
        names = describe(known, identity)
        stranger = UsageProblem(
            f"the ledger {path} belongs to {names}, and this run would send to {identity or origin}.",
            "If both are the same project, for example after its keys were rotated or its host was renamed: "
            "--same-project. Otherwise name the ledger of this project.",
        )
    return _judge_existing(path, choice, is_used=is_used, stranger=stranger)


def _judge_existing(
    path: Path, choice: LedgerChoice, *, is_used: bool, stranger: UsageProblem | None
) -> LedgerLocation:
    """Judge a ledger that is there; `stranger`: why it seems to be that of another project."""
    if choice.is_new:
        return _locate_new(path, in_use=path if is_used else None)
    try:
        if not choice.is_whole:
            refuse_copy(path)
    except UsageProblem as copy:
        return LedgerLocation(path=path, problem=copy)
    if not choice.same_project:
        return LedgerLocation(path=path, problem=stranger)
    if stranger:
        return LedgerLocation(path=path, adds_identity=True)
    problem = UsageProblem(
        f"--same-project is not needed: {path} knows this address and key.", "Leave it out."
    )
    return LedgerLocation(path=path, problem=problem)


def _judge_missing(path: Path, choice: LedgerChoice, identity: ProjectIdentity | None) -> LedgerLocation:
    """Judge a named ledger that is not there."""
    if choice.earlier is not None and bytes_in(choice.earlier):
        problem = UsageProblem(
            f"{path} does not exist, and {choice.earlier} does: a relative delivery.ledger is relative to the settings "
            "file, and no longer to the working directory.",
            f"Move it, with what lies beside it: mv {quote(str(choice.earlier))}* {quote(str(path.parent))}/",
        )
        return LedgerLocation(path=path, problem=problem)
    if not choice.is_new:
        problem = UsageProblem(f"{path} does not exist.", f"Check the path and the mount. {_ONLY_FIRST}")
        return LedgerLocation(path=path, problem=problem)
    used: list[Path] = []
    if identity is not None:
        found = _read_state_directory()
        used = [path for path, known, is_used in found if is_used and identity.is_among(known)]
    return _locate_new(path, in_use=used[0] if used else None)


def _locate_new(path: Path, *, in_use: Path | None) -> LedgerLocation:
    """Make a ledger, unless there is one by which something was sent."""
    problem = None
    if in_use is not None:
        problem = UsageProblem(
            f"this project already has a ledger: {in_use}",
            "Leave --new-ledger out, and name that file if it is not found by itself: --ledger FILE. A new one would "
            "send everything again.",
        )
    return LedgerLocation(path=path, is_new=True, problem=problem)


def _read_state_directory() -> list[_Found]:
    """Read what the ledgers in the state directory say of themselves.

    Raises:
        UsageProblem: one of them cannot be read, so that it is not known whose it is, or the directory cannot.
    """
    try:
        paths = sorted(state_directory().glob("*.ledger"))
    except UsageProblem:
        return []
    except OSError as error:  # there may be one
        raise UsageProblem(
            f"cannot look for ledgers in {utf8(str(state_directory()))}: {error.strerror}.",
            "Name the ledger with --ledger FILE, or another directory with XDG_STATE_HOME.",
        ) from error
    try:
        return [_look_into(path) for path in paths if bytes_in(path)]
    except UsageProblem as problem:
        raise UsageProblem(
            f"{problem.message} It may be the ledger of this project.",
            f"{problem.remedy} If it is another project's, move it to another folder.",
        ) from problem


def _look_into(path: Path) -> _Found:
    with LedgerReader(path) as reader:
        return path, reader.identities, not reader.is_empty


def check_free(location: LedgerLocation) -> None:
    """Check that a run could write to a ledger just now, before the user is asked anything.

    Raises:
        RunStopped: another run holds it.
    """
    if location.path is not None and location.path.exists():
        LedgerLock(location.path).release()


def write_ledger(location: LedgerLocation, choice: LedgerChoice, start: RunStart, stop: Stop) -> Ledger:
    """Open the ledger for a run that sends.

    Args:
        location: of the ledger, as it was found.
        choice: what the user says of the ledger.
        start: the run.
        stop: gets the error when the ledger cannot be written any more.

    Raises:
        UsageProblem: the ledger must not be used, or cannot be written.
        RunStopped: another run holds it, or the disk is full.
    """
    if location.problem is not None:
        raise location.problem
    assert location.path is not None  # noqa: S101  # a run that sends knows its key
    ledger = Ledger.open(
        location.path,
        start,
        stop=stop,
        is_new=location.is_new,
        same_project=location.adds_identity,
        is_whole=choice.is_whole,
    )
    if ledger.has_old_files:  # failed records of an earlier version get their events from its files
        for record, letter in letters_of_earlier_files():
            ledger.complete(record, letter.status, letter.answer)
        ledger.forget_old_files()
        ledger.flush()
    return ledger
