"""Which ledger a command uses, and whether it may: by name, or by the project that it belongs to.

Opens the ledger of a command: to read it in a preview, or to write it in a run that sends.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Final, NamedTuple

from msgspec import Struct

from voucherify_sync.errors import UsageProblem
from voucherify_sync.settings import Settings, clean_url
from voucherify_sync.settings.environment import expanded, state_directory
from voucherify_sync.state.ledger import Ledger, RunStart
from voucherify_sync.state.ledger_db import refuse_copy
from voucherify_sync.state.ledger_file import LedgerLock, ProjectIdentity, bytes_in, default_path, origin_of
from voucherify_sync.state.ledger_reader import LedgerReader
from voucherify_sync.state.selected_letters import letters_of_earlier_files
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


class Place(Struct, frozen=True, kw_only=True):
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


class _Candidate(NamedTuple):
    path: Path
    identities: list[ProjectIdentity]
    is_used: bool


def find_place(choice: LedgerChoice, origin: str, identity: ProjectIdentity | None) -> Place:
    """Find the ledger of a command. Without a state directory there is only the one that is named.

    Args:
        choice: what the user says.
        origin: of the API.
        identity: of the project; None where its key is not known.

    Raises:
        UsageProblem: the file cannot be looked at, or is no ledger of a version that is known.
    """
    if choice.named is not None:
        return _named(choice.named, choice, origin, identity)
    if identity is None:
        alike = [each for each in _candidates() if any(own.origin == origin for own in each.identities)]
        return Place(path=alike[0].path) if len(alike) == 1 else Place()
    return _of_project(choice, identity)


def _named(path: Path, choice: LedgerChoice, origin: str, identity: ProjectIdentity | None) -> Place:
    if not bytes_in(path):
        return _missing(path, choice, identity)
    _, identities, is_used = _look_into(path)
    if choice.is_new:
        return _begun_anew(path, is_used=is_used)
    if copy := _problem_of_copy(path, choice):
        return Place(path=path, problem=copy)
    if identity is None:
        is_own = any(own.origin == origin for own in identities)
    else:
        is_own = any((own.origin, own.key) == (identity.origin, identity.key) for own in identities)
    if choice.same_project:
        return Place(path=path, adds_identity=True, problem=_not_needed(path) if is_own else None)
    return Place(path=path, problem=None if is_own else _of_another(path, identities, identity or origin))


def _missing(path: Path, choice: LedgerChoice, identity: ProjectIdentity | None) -> Place:
    if choice.earlier is not None and bytes_in(choice.earlier):
        problem = UsageProblem(
            f"{path} does not exist, and {choice.earlier} does: a relative delivery.ledger is relative to the settings "
            "file, and no longer to the working directory.",
            f"Move it, with what lies beside it: mv {quote(str(choice.earlier))}* {quote(str(path.parent))}/",
        )
        return Place(path=path, problem=problem)
    if not choice.is_new:
        return Place(
            path=path,
            problem=UsageProblem(f"{path} does not exist.", f"Check the path and the mount. {_ONLY_FIRST}"),
        )
    used = [] if identity is None else [each for each in _own(identity, _candidates()) if each.is_used]
    return Place(path=path, is_new=True, problem=_in_use(used[0].path) if used else None)


def _of_project(choice: LedgerChoice, identity: ProjectIdentity) -> Place:
    candidates = _candidates()
    own = _own(identity, candidates)
    used = [each for each in own if each.is_used]
    if len(used) > 1:
        return Place(path=used[0].path, problem=_ambiguous(identity, used))
    if own:
        path, is_used = (used or own)[0].path, bool(used)
        if choice.is_new:
            return _begun_anew(path, is_used=is_used)
        problem = _not_needed(path) if choice.same_project else _problem_of_copy(path, choice)
        return Place(path=path, problem=problem)
    try:
        path = default_path(identity)
    except UsageProblem as problem:
        return Place(problem=problem)
    if choice.same_project:
        return Place(
            path=path,
            problem=UsageProblem("--same-project says of no ledger what it means.", "Name it: --ledger FILE"),
        )
    alike = [] if identity.is_sandbox or choice.is_new else _alike(identity, candidates)
    if alike:
        return Place(path=path, is_new=True, problem=_elsewhere(identity, alike))
    return Place(path=path, is_new=True, is_first=True)


def _begun_anew(path: Path, *, is_used: bool) -> Place:
    return Place(path=path, is_new=True, problem=_in_use(path) if is_used else None)


def _candidates() -> list[_Candidate]:
    """Read what the ledgers in the state directory say of themselves.

    Raises:
        UsageProblem: one of them cannot be read, so that nobody knows whose it is.
    """
    try:
        paths = sorted(state_directory().glob("*.ledger"))
    except UsageProblem:
        return []
    try:
        return [_look_into(path) for path in paths if bytes_in(path)]
    except UsageProblem as problem:
        raise UsageProblem(
            f"{problem.message} It may be the ledger of this project.",
            f"{problem.remedy} If it is another project's, move it to another folder.",
        ) from problem


def _look_into(path: Path) -> _Candidate:
    with LedgerReader.read(path) as reader:
        return _Candidate(path, reader.identities, not reader.is_empty)


def _own(identity: ProjectIdentity, candidates: Sequence[_Candidate]) -> list[_Candidate]:
    return [
        each
        for each in candidates
        if any((own.origin, own.key) == (identity.origin, identity.key) for own in each.identities)
    ]


def _alike(identity: ProjectIdentity, candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """Return the ledgers of the same address or the same key: keys are rotated, hosts are renamed."""
    return [
        each
        for each in candidates
        if each.is_used
        and any(
            not own.is_sandbox and (own.origin == identity.origin or own.key == identity.key)
            for own in each.identities
        )
    ]


def _problem_of_copy(path: Path, choice: LedgerChoice) -> UsageProblem | None:
    try:
        if not choice.is_whole:
            refuse_copy(path)
    except UsageProblem as problem:
        return problem
    return None


def _in_use(path: Path) -> UsageProblem:
    return UsageProblem(
        f"this project has a ledger by which something was sent: {path}",
        "Leave --new-ledger out, and name that file if it is not found by itself: --ledger FILE. A new one would send "
        "everything again.",
    )


def _not_needed(path: Path) -> UsageProblem:
    return UsageProblem(f"--same-project is not needed: {path} knows this address and key.", "Leave it out.")


def _of_another(
    path: Path, identities: Sequence[ProjectIdentity], asked: ProjectIdentity | str
) -> UsageProblem:
    if not identities:
        return UsageProblem(
            f"the ledger {path} is damaged: it does not say whose it is.", "Put a backup of it in its place."
        )
    known = " and ".join(map(str, identities))
    return UsageProblem(
        f"the ledger {path} belongs to {known}, and this run would send to {asked}.",
        "If both are the same project, as after its keys were rotated or its host was renamed: --same-project. "
        "Otherwise name the ledger of this project.",
    )


def _ambiguous(identity: ProjectIdentity, used: Sequence[_Candidate]) -> UsageProblem:
    paths = ", ".join(str(each.path) for each in used)
    return UsageProblem(
        f"{len(used)} ledgers say that they are those of {identity}: {paths}",
        "Name the right one with --ledger FILE, or move the others away.",
    )


def _elsewhere(identity: ProjectIdentity, alike: Sequence[_Candidate]) -> UsageProblem:
    others = "; ".join(f"{each.path} of {' and '.join(map(str, each.identities))}" for each in alike)
    return UsageProblem(
        f"there is no ledger of {identity}, but of the same address or key there is {others}.",
        f"If that is the same project, its keys or host changed: --ledger {alike[0].path} --same-project. "
        "For another project: --new-ledger",
    )


def named_ledger(settings: Settings) -> Path | None:
    """Return the ledger that the settings name, None if they name none.

    Raises:
        UsageProblem: it begins with `~`, and there is no home directory.
    """
    return None if settings.delivery.ledger is None else expanded(settings.delivery.ledger)


def place_of(settings: Settings, app_id: str | None, choice: LedgerChoice) -> Place:
    """Find the ledger of a project.

    Args:
        settings: tell the API's URL.
        app_id: the Application ID, None where it is not known.
        choice: what the user says of the ledger.

    Raises:
        UsageProblem: the file cannot be looked at, or is no ledger of a version that is known.
    """
    url = clean_url(settings.api.url)
    return find_place(choice, origin_of(url), None if app_id is None else ProjectIdentity.of(url, app_id))


def read_ledger(place: Place) -> LedgerReader:
    """Open a ledger without a lock and without a trace; one that is to be made knows nothing."""
    return LedgerReader.empty() if place.path is None else LedgerReader.read(place.path)


def check_free(place: Place) -> None:
    """Look whether a run could write to a ledger just now, before anybody is asked anything.

    Raises:
        RunStopped: another run holds it.
    """
    if place.path is not None and place.path.exists():
        LedgerLock(place.path).release()


def write_ledger(place: Place, choice: LedgerChoice, start: RunStart, stop: Stop) -> Ledger:
    """Open the ledger for a run that sends.

    Args:
        place: as it was found.
        choice: what the user says of the ledger.
        start: the run.
        stop: told when the ledger cannot be written any more.

    Raises:
        UsageProblem: the ledger must not be used, or cannot be written.
        RunStopped: another run holds it, or the disk is full.
    """
    if place.problem is not None:
        raise place.problem
    assert place.path is not None  # noqa: S101  # a run that sends knows its key
    ledger = Ledger.open(
        place.path,
        start,
        stop=stop,
        is_new=place.is_new,
        same_project=place.adds_identity,
        is_whole=choice.is_whole,
    )
    if ledger.has_old_files:
        _take_over_letters(ledger)
    return ledger


def _take_over_letters(ledger: Ledger) -> None:
    """Give the failed records of an earlier version their events, from the files in which it kept them."""
    for record, letter in letters_of_earlier_files():
        ledger.complete(record, letter.status, letter.answer)
    ledger.has_taken_over()
    ledger.flush()
