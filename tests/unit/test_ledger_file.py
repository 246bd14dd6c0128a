"""Where a ledger lives, who may read it, and which files are refused."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from msgspec import json
from msgspec.structs import replace
from support.ledger_parts import IDENTITY, URL, key_of, make_request, open_ledger, outcome, run_beside

from voucherify_sync.errors import RunStopped, UsageProblem
from voucherify_sync.exit_codes import ExitCode
from voucherify_sync.outcomes import NotProcessed, State
from voucherify_sync.state import ledger_db, ledger_file
from voucherify_sync.state.dead_letters import compress
from voucherify_sync.state.ledger import Ledger, RunStart
from voucherify_sync.state.ledger_file import ProjectIdentity, origin_of
from voucherify_sync.state.ledger_reader import LedgerCounts, LedgerReader
from voucherify_sync.stop import Stop


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a place for a ledger; its directory does not exist yet."""
    return tmp_path / "state" / "x.ledger"


@pytest.fixture
def state_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the state directory into the test's own."""
    monkeypatch.setattr("platformdirs.user_state_path", lambda *_, **__: tmp_path)
    return tmp_path


def test_a_new_ledger_is_named_by_host_and_hash_of_the_key(state_directory: Path) -> None:
    """The key itself cannot be read from the name, and no ledger that is there loses its place."""
    identity = ProjectIdentity.of("https://US1.api.voucherify.io/", "app-id")
    path = ledger_file.default_path(identity)
    assert path.parent == state_directory
    assert path.name == f"us1.api.voucherify.io-{identity.key}.ledger"
    assert "app-id" not in path.name
    path.write_text("something else")
    assert ledger_file.default_path(identity).name == f"us1.api.voucherify.io-{identity.key}-2.ledger"


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://API.voucherify.io", "https://api.voucherify.io"),
        ("https://api.voucherify.io:443/v1/", "https://api.voucherify.io"),
        ("https://api.voucherify.io:8443", "https://api.voucherify.io:8443"),
        ("http://127.0.0.1:8900", "http://localhost:8900"),
        ("http://[::1]:8900/", "http://localhost:8900"),
        ("http://localhost:80", "http://localhost"),
        ("https://[2001:db8::1]", "https://[2001:db8::1]"),
    ],
)
def test_addresses_of_one_host_are_one_origin(url: str, origin: str) -> None:
    """However they are written."""
    assert origin_of(url) == origin


@pytest.mark.parametrize("umask", [0, 0o777], ids=oct)
def test_only_the_owner_reads_a_ledger_and_what_lies_beside_it(path: Path, umask: int) -> None:
    """Whatever the umask."""
    before = os.umask(umask)
    try:
        with open_ledger(path) as ledger:
            ledger.intend(make_request(1))
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(["x.ledger", "x.ledger-wal", "x.ledger-shm", "x.ledger.lock"], 0o600)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_closed_ledger_is_one_file_and_its_lock(path: Path) -> None:
    """Everything is in the one file that one may copy."""
    with open_ledger(path) as ledger:
        ledger.record(outcome(make_request(1), State.DELIVERED))
        assert ledger.size > 0
    assert sorted(file.name for file in path.parent.iterdir()) == ["x.ledger", "x.ledger.lock"]


def test_an_empty_file_is_no_ledger_until_one_is_asked_for(path: Path) -> None:
    """It may be the ghost of a ledger that was there."""
    path.parent.mkdir()
    path.touch()
    with LedgerReader(path) as reader:
        assert reader.counts() == LedgerCounts()
    with pytest.raises(UsageProblem, match="does not exist"):
        open_ledger(path, is_new=False)
    assert path.stat().st_size == 0
    with open_ledger(path, is_new=True) as ledger:
        assert ledger.run == 1


def test_a_ledger_appears_whole_or_not_at_all(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill while it is made leaves nothing under its name."""

    def fails(self: Path, target: Path) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fails)
        with pytest.raises(UsageProblem, match="Input/output error"):
            open_ledger(path)
    assert [file.name for file in path.parent.iterdir()] == ["x.ledger.lock"]
    open_ledger(path).close()


def text(path: Path) -> None:
    """Make a file that is no database."""
    path.write_text(
        "no ledger, but a longer text than the hundred bytes that the header of SQLite takes\n" * 9
    )


def foreign(path: Path) -> None:
    """Make a database of another program."""
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (a)")
    connection.close()


def newer(path: Path) -> None:
    """Make a ledger of a version to come."""
    open_ledger(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()


def without_version(path: Path) -> None:
    """Make a ledger whose version was lost."""
    open_ledger(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 0")
    connection.close()


def emptied(path: Path) -> None:
    """Make a SQLite file with nothing in it, as it is left of a copy without its -wal."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()


def second_name(path: Path) -> None:
    """Make a ledger with two names."""
    open_ledger(path).close()
    (path.parent / "y.ledger").hardlink_to(path)


def read_ledger(path: Path) -> LedgerReader:
    """Open it as a dry run does."""
    return LedgerReader(path)


REFUSED = [
    pytest.param(text, "no SQLite file", id="a text"),
    pytest.param(foreign, "no ledger", id="another database"),
    pytest.param(newer, "newer voucherify-sync", id="a newer version"),
    pytest.param(without_version, "damaged", id="no version"),
    pytest.param(emptied, "not a whole one", id="an empty database"),
    pytest.param(second_name, "second name", id="a hard link"),
    pytest.param(Path.mkdir, "no regular file", id="a directory"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
@pytest.mark.parametrize(
    "use", [pytest.param(read_ledger, id="read"), pytest.param(open_ledger, id="live run")]
)
def test_what_is_no_ledger_of_this_project_is_refused(
    path: Path, make: Callable[[Path], None], message: str, use: Callable[[Path], object]
) -> None:
    """Exit 2, and the file stays as it is."""
    path.parent.mkdir()
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(UsageProblem, match=message) as refused:
        use(path)
    assert refused.value.exit_code is ExitCode.USAGE
    assert refused.value.remedy
    assert (path.read_bytes() if path.is_file() else None) == before


def test_an_older_ledger_is_brought_to_this_version(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it knows stays."""
    with open_ledger(path) as ledger:
        ledger.record(outcome(make_request(1), State.DELIVERED))
    step = ("ALTER TABLE runs ADD COLUMN note TEXT",)
    monkeypatch.setattr(ledger_db, "MIGRATIONS", (*ledger_db.MIGRATIONS, step))
    for module in (ledger_db, ledger_db):
        monkeypatch.setattr(module, "VERSION", ledger_db.VERSION + 1)
    for _ in range(2):
        with open_ledger(path) as ledger:
            assert ledger.counts() == LedgerCounts(0, 1)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (ledger_db.VERSION,)
    assert connection.execute("SELECT count(note) FROM runs").fetchone() == (0,)
    connection.close()


def test_a_link_is_not_followed(path: Path) -> None:
    """Who can place a link must not choose what we write to."""
    path.parent.mkdir()
    path.symlink_to(path.parent / "elsewhere")
    with pytest.raises(UsageProblem, match="symbolic link"):
        open_ledger(path, is_new=True)
    assert not (path.parent / "elsewhere").exists()


def test_a_ledger_of_another_project_is_refused(path: Path) -> None:
    """Unless the user says that it is the same one; then both identities are known."""
    with open_ledger(path) as ledger:
        ledger.record(outcome(make_request(1), State.DELIVERED))
    before = path.read_bytes()
    other = ProjectIdentity(URL, "ffffffffffff")
    with pytest.raises(UsageProblem, match="another project"):
        open_ledger(path, identity=other)
    assert path.read_bytes() == before
    with open_ledger(path, identity=other, same_project=True) as ledger:
        assert [own.key for own in ledger.identities] == ["0123456789ab", "ffffffffffff"]


def test_a_new_ledger_never_takes_the_place_of_one_that_is_used(path: Path) -> None:
    """What was sent would be sent again. One by which nothing was sent counts as none."""
    other = ProjectIdentity(URL, "ffffffffffff")
    open_ledger(path).close()
    with open_ledger(path, identity=other, is_new=True) as ledger:
        assert ledger.identities == [other]
        ledger.record(outcome(make_request(1), State.DELIVERED))
    with pytest.raises(UsageProblem, match="in use"):
        open_ledger(path, identity=other, is_new=True)


def test_a_place_where_nothing_can_be_written_is_refused(tmp_path: Path) -> None:
    """Exit 2, naming the option that gives another place."""
    (tmp_path / "file").touch()
    with pytest.raises(UsageProblem, match=r"cannot write .*x\.ledger") as refused:
        open_ledger(tmp_path / "file" / "x.ledger")
    assert "--ledger" in refused.value.remedy


def test_reading_a_ledger_that_does_not_exist_makes_none(path: Path) -> None:
    """A dry run leaves nothing behind; it knows nothing, and keeps nothing."""
    with LedgerReader(path) as reader:
        reader.record(outcome(make_request(1), State.DELIVERED))
        assert reader.look_up([key_of(make_request(1))]) == [None]
        assert (reader.last_run(), list(reader.dead_letters())) == (None, [])
    assert not path.parent.exists()
    with LedgerReader() as reader:
        assert reader.size == 0


def test_a_ledger_can_be_read_while_a_run_writes(path: Path) -> None:
    """It takes no lock; what has no answer yet counts as in doubt."""
    with open_ledger(path) as ledger, LedgerReader(path) as reader:
        ledger.record(outcome(make_request(1), State.DELIVERED))
        ledger.intend(make_request(2))
        states = [
            known and known.state for known in reader.look_up([key_of(make_request(n)) for n in (1, 2, 3)])
        ]
        assert states == [State.DELIVERED, State.IN_DOUBT, None]
        assert reader.counts() == LedgerCounts(0, 1, in_doubt=1)
        assert [letter.message_id for letter in reader.dead_letters()] == ["track-2"]
        assert list(ledger.dead_letters()) == []
        assert ledger.counts() == LedgerCounts(0, 1)


def test_reading_does_not_change_a_ledger(path: Path) -> None:
    """Not a byte, not even what a crash left to be settled."""
    with open_ledger(path) as ledger:
        ledger.intend(make_request(1))
    before = path.read_bytes()
    with LedgerReader(path) as reader:
        assert reader.counts().in_doubt == 1
    assert path.read_bytes() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which only root can")
def test_a_ledger_is_read_where_nothing_can_be_written(path: Path, tmp_path: Path) -> None:
    """A dry run by someone who may read, and no more."""
    with open_ledger(path) as ledger:
        ledger.record(outcome(make_request(1), State.DELIVERED))
    path.chmod(0o644)
    for directory in (path.parent, tmp_path, *tmp_path.parents):
        if "pytest-of" in str(directory):
            directory.chmod(0o755)
    os.seteuid(65534)
    try:
        with LedgerReader(path) as reader:
            assert reader.counts() == LedgerCounts(0, 1)
    finally:
        os.seteuid(0)
    assert sorted(file.name for file in path.parent.iterdir()) == ["x.ledger", "x.ledger.lock"]


def crash_and_spoil(path: Path) -> None:
    """Leave a ledger as a crash leaves it, on a disk that then spoils one page of its many."""
    with open_ledger(path) as ledger:
        for number in range(1_000):
            ledger.record(outcome(make_request(number), State.DELIVERED))
    connection = sqlite3.connect(path, isolation_level=None)
    mark = ledger_db.OpenMark("crashed", 0.0, path.stat().st_ino, 1, "here")
    connection.execute("INSERT INTO header VALUES ('open', ?)", (json.encode(mark).decode(),))
    connection.close()
    data = bytearray(path.read_bytes())
    page = data.index(min(key_of(make_request(number)) for number in range(1_000))) // 4096
    data[page * 4096 : page * 4096 + 16] = b"\xff" * 16
    path.write_bytes(data)
    path.with_name("x.ledger-wal").touch()


def test_a_damaged_ledger_is_refused_after_an_unclean_stop(path: Path) -> None:
    """It may have forgotten what was sent."""
    crash_and_spoil(path)
    before = path.read_bytes()
    with pytest.raises(UsageProblem, match="is damaged"):
        open_ledger(path)
    assert path.read_bytes() == before


def test_a_ledger_that_was_closed_in_order_is_not_read_through(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check of every page is for what a crash may have left."""
    queries: list[str] = []
    connect = sqlite3.connect

    def traced(*arguments: object, **options: object) -> sqlite3.Connection:
        connection = connect(*arguments, **options)  # type: ignore[call-overload]
        connection.set_trace_callback(queries.append)
        return connection  # type: ignore[no-any-return]

    monkeypatch.setattr(sqlite3, "connect", traced)
    open_ledger(path).close()
    open_ledger(path).close()
    assert queries
    assert not [query for query in queries if "quick_check" in query]


def test_a_ledger_holds_nothing_of_what_was_delivered(path: Path) -> None:
    """Whose event it was, and what it said: an intent holds it until the outcome, and no trace of it is left."""
    requests = [
        replace(make_request(n), event=replace(make_request(n).event, raw=b'{"n":%d}' % n))
        for n in range(300)
    ]
    with open_ledger(path) as ledger:
        for request in requests:
            ledger.intend(request)
        for request in requests[1:]:
            ledger.record(outcome(request, State.DELIVERED))
    held = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert compress(requests[0].event.raw) in held
    assert not [request for request in requests[1:] if compress(request.event.raw) in held]
    assert b"user-1" not in held
    assert b"amount" not in held


def test_a_run_that_ends_well_leaves_one_file_without_a_mark(path: Path) -> None:
    """It can be copied, moved and opened anywhere."""
    open_ledger(path).close()
    copy = path.with_name("copy.ledger")
    copy.write_bytes(path.read_bytes())
    assert ledger_db.read_mark(copy) is None
    open_ledger(copy, is_new=False).close()


@pytest.fixture
def killed(path: Path) -> Path:
    """Return a ledger as a run leaves it that was killed after an intent."""
    code = f"""
        import os
        ledger = open_ledger(Path({str(path)!r}), run_id="killed")
        ledger.intend(make_request(1))
        os.kill(os.getpid(), 9)
    """
    run_beside(code)
    return path


def test_a_killed_run_is_gone_on_from(killed: Path) -> None:
    """The mark is there, and so is the file that holds what is newer."""
    assert ledger_db.read_mark(killed) is not None
    with open_ledger(killed) as ledger:
        assert ledger.counts().in_doubt == 1


def copied(killed: Path) -> Path:
    """Copy a ledger and its -wal while a run has it open."""
    copy = killed.with_name("copy.ledger")
    for suffix in ("", "-wal"):
        copy.with_name(f"copy.ledger{suffix}").write_bytes(killed.with_name(f"x.ledger{suffix}").read_bytes())
    return copy


def copied_alone(killed: Path) -> Path:
    """Copy a ledger without its -wal while a run has it open."""
    copy = killed.with_name("copy.ledger")
    copy.write_bytes(killed.read_bytes())
    return copy


def without_wal(killed: Path) -> Path:
    """Lose the -wal of a killed run."""
    killed.with_name("x.ledger-wal").unlink()
    return killed


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        pytest.param(copied, "is a copy of a ledger that run killed, .* had open", id="copied"),
        pytest.param(copied_alone, "lacks its second file, copy.ledger-wal", id="copied without its -wal"),
        pytest.param(without_wal, "lacks its second file, x.ledger-wal", id="the -wal was removed"),
    ],
)
def test_a_copy_of_a_ledger_in_use_is_refused(killed: Path, spoil: Callable[[Path], Path], said: str) -> None:
    """It may lack what was sent; also after somebody has looked at it. The user may say that it is whole."""
    ledger = spoil(killed)
    for _ in range(2):
        with pytest.raises(UsageProblem, match=said) as refused:
            open_ledger(ledger, is_new=False)
        assert "--ledger-is-whole" in refused.value.remedy
        LedgerReader(ledger).close()
    open_ledger(ledger, is_new=False, is_whole=True).close()
    open_ledger(ledger, is_new=False).close()


@pytest.mark.parametrize("way", ["removed", "replaced", "moved"])
def test_a_ledger_that_loses_its_place_stops_the_run_and_is_saved(path: Path, way: str) -> None:
    """Exit 2: outcomes of what was sent are still kept, nothing more is sent, and all of it is found beside it."""
    stop = Stop()
    with open_ledger(path, stop=stop, run_id="r1") as ledger:
        ledger.intend(make_request(1))
        if way == "removed":
            path.unlink()
        else:
            path.rename(path.with_name("elsewhere"))
            if way == "replaced":
                path.write_text("something else")
        ledger._writer._next_check_at = 0.0
        with pytest.raises(UsageProblem, match="was removed or replaced"):
            ledger.intend(make_request(2))
        assert stop.error is not None
        ledger.withdraw(make_request(2), NotProcessed.NOT_SENT)
        ledger.record(outcome(make_request(1), State.DELIVERED))
    assert ledger.saved_as == path.with_name("x.ledger.saved-r1")
    assert str(ledger.saved_as) in stop.error.remedy
    with open_ledger(ledger.saved_as, is_new=False) as saved:
        assert saved.counts() == LedgerCounts(0, 1)


def test_a_lock_whose_file_is_removed_is_taken_again(path: Path) -> None:
    """Otherwise a second run would make another one and find nobody."""
    with open_ledger(path) as ledger:
        path.with_name("x.ledger.lock").unlink()
        ledger._writer._next_check_at = 0.0
        ledger.intend(make_request(1))
        with pytest.raises(RunStopped, match="another run holds"):
            open_ledger(path)


@pytest.mark.parametrize(
    ("kind", "is_refused"), [("nfs4", True), ("cifs", True), ("fuse.sshfs", True), ("ext4", False)]
)
def test_a_ledger_on_a_network_file_system_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, is_refused: bool
) -> None:
    """The innermost mount counts, and its name may hold spaces."""
    mounts = path.parent.parent / "mountinfo"
    place = str(path.parent.parent).replace(" ", "\\040")
    mounts.write_text(
        f"1 0 0:1 / / rw - ext4 /dev/a rw\n2 1 0:2 / {place} rw shared:1 - {kind} server:/x rw\n"
        f"3 1 0:3 / {place}/stat rw - tmpfs none rw\n"
    )
    monkeypatch.setattr(ledger_file, "_MOUNTS", mounts)
    if not is_refused:
        open_ledger(path).close()
        return
    with pytest.raises(UsageProblem, match=f"network file system .{kind}"):
        open_ledger(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which only root can")
@pytest.mark.parametrize(
    ("mode", "owner", "said"),
    [
        (0o600, 0, "Run as the user root"),
        (0o000, 65534, "Its mode is 0000"),
        (0o400, 65534, "Its mode is 0400"),
    ],
)
def test_a_ledger_that_may_not_be_opened_says_what_to_change(
    path: Path, tmp_path: Path, mode: int, owner: int, said: str
) -> None:
    """And that another place would know nothing of what was sent."""
    open_ledger(path).close()
    for file in path.parent.iterdir():
        os.chown(file, 65534, 65534)
    os.chown(path.parent, 65534, 65534)
    os.chown(path, owner, owner)
    path.chmod(mode)
    for directory in (tmp_path, *tmp_path.parents):
        if "pytest-of" in str(directory):
            directory.chmod(0o755)
    os.seteuid(65534)
    try:
        with pytest.raises(UsageProblem, match="cannot open the ledger") as refused:
            open_ledger(path, is_new=False)
    finally:
        os.seteuid(0)
    assert said in refused.value.remedy
    assert "know nothing of what was sent" in refused.value.remedy


def removed(path: Path) -> None:
    """Remove the file."""
    path.unlink()


def replaced(path: Path) -> None:
    """Put another file in its place."""
    path.unlink()
    path.write_bytes(b"")


@pytest.mark.parametrize("change", [removed, replaced])
def test_a_ledger_that_is_lost_just_before_the_end_is_saved(
    path: Path, change: Callable[[Path], None]
) -> None:
    """However short ago it was looked at: what the run knew is beside its place, and the run says so."""
    stop = Stop()
    ledger = open_ledger(path, stop=stop)
    ledger.record(outcome(make_request(1), State.DELIVERED))
    ledger.flush()
    change(path)
    ledger.close()
    assert stop.error is not None
    assert "removed or replaced" in str(stop.error)
    assert ledger.saved_as is not None
    with LedgerReader(ledger.saved_as) as saved:
        assert saved.counts().delivered_events == 1
    open_ledger(ledger.saved_as, run_id="next").close()  # nobody holds a lock


def test_a_second_name_stops_a_run(path: Path, tmp_path: Path) -> None:
    """By it, another run could use the ledger at the same time."""
    stop = Stop()
    with open_ledger(path, stop=stop) as ledger:
        ledger.record(outcome(make_request(1), State.DELIVERED))
        (tmp_path / "second").hardlink_to(path)
        ledger.flush()
    assert "second name" in str(stop.error)
    (tmp_path / "second").unlink()
    with LedgerReader(path) as reader:
        assert reader.counts().delivered_events == 1


def test_a_doubt_that_was_only_accepted_does_not_count_as_accepted_by_voucherify(path: Path) -> None:
    """`on_doubt: accept` is the user's word. What Voucherify took is told by whoever made the call."""
    with open_ledger(path) as ledger:
        ledger.record(outcome(make_request(1), State.DELIVERED, "accepted"))
        ledger.flush()
        assert not ledger.accepted(IDENTITY, "digest").anything
        ledger.accepted_at("/v1/events")
        ledger.flush()
        assert ledger.accepted(IDENTITY, "digest").endpoints == {"/v1/events"}


def test_an_intent_that_is_taken_back_uncovers_the_one_before(path: Path) -> None:
    """An event that was sent, and then throttled as it was sent again, is in doubt since its first send."""
    times = iter([100.0, 200.0, 300.0, 400.0, 500.0])
    start = RunStart("run", "replay", "digest", IDENTITY)
    with closing(Ledger.open(path, start, stop=Stop(), is_new=True, clock=lambda: next(times))) as ledger:
        ledger.intend(make_request(1))
        ledger.intend(make_request(1))
        ledger.withdraw(make_request(1), NotProcessed.THROTTLED)
        ledger.record(outcome(make_request(1), State.IN_DOUBT, "reset"))
        ledger.flush()
        assert [(letter.reason, letter.sent_at) for letter in ledger.dead_letters()] == [("reset", 200.0)]
