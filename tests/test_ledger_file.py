"""Where a ledger lives, who may read it, and which files are refused."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from ledger_parts import URL, key_of, open_ledger, operation, outcome

from voucherify_sync.bookkeeping import ledger_file, ledger_schema
from voucherify_sync.bookkeeping.ledger_reader import Counts, LedgerReader
from voucherify_sync.errors import ExitCode, UsageProblem
from voucherify_sync.model import State


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a place for a ledger; its directory does not exist yet."""
    return tmp_path / "state" / "x.ledger"


@pytest.fixture
def state_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the state directory into the test's own."""
    monkeypatch.setattr("platformdirs.user_state_path", lambda *_, **__: tmp_path)
    return tmp_path


def test_a_ledger_is_named_by_host_and_hash_of_the_key(state_directory: Path) -> None:
    """The key itself cannot be read from the name."""
    path = ledger_file.default_path("https://US1.api.voucherify.io/", "app-id")
    assert path.parent == state_directory
    assert path.name == f"us1.api.voucherify.io-{ledger_file.key_hash('app-id')}.ledger"
    assert "app-id" not in path.name
    assert ledger_file.default_path("http://127.0.0.1:8080", "k").name.startswith("127.0.0.1_8080-")


def test_ledgers_of_other_keys_are_found_by_host(state_directory: Path) -> None:
    """The latest used comes first; other hosts, locks and other files do not count."""
    for age, (url, key) in enumerate([(URL, "own"), (URL, "new"), (URL, "old"), (f"{URL}-x", "new")]):
        path = ledger_file.default_path(url, key)
        path.touch()
        os.utime(path, (1_000_000 - age, 1_000_000 - age))
    (state_directory / "api.voucherify.io-notes.ledger").touch()
    ledger_file.default_path(URL, "new").with_suffix(".ledger.lock").touch()
    assert ledger_file.find_others(URL, "own") == [
        ledger_file.default_path(URL, key) for key in ("new", "old")
    ]


@pytest.mark.parametrize("umask", [0, 0o777], ids=oct)
def test_only_the_owner_reads_a_ledger_and_what_lies_beside_it(path: Path, umask: int) -> None:
    """Whatever the umask."""
    before = os.umask(umask)
    try:
        with open_ledger(path) as ledger:
            ledger.intend(operation(1))
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(["x.ledger", "x.ledger-wal", "x.ledger-shm", "x.ledger.lock"], 0o600)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_closed_ledger_is_one_file_and_its_lock(path: Path) -> None:
    """Everything is in the one file that one may copy."""
    with open_ledger(path) as ledger:
        ledger.record(outcome(operation(1), State.DELIVERED))
        assert ledger.size > 0
    assert sorted(file.name for file in path.parent.iterdir()) == ["x.ledger", "x.ledger.lock"]


def test_a_file_that_was_made_and_not_filled_is_a_new_ledger(path: Path) -> None:
    """So is what a kill leaves behind before the first transaction."""
    path.parent.mkdir()
    path.touch()
    with LedgerReader.read(path, URL) as reader:
        assert reader.counts() == Counts(0, 0, 0, 0)
    with open_ledger(path) as ledger:
        assert ledger.run == 1


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
    connection.execute("PRAGMA user_version = 2")
    connection.close()


def other_url(path: Path) -> None:
    """Make a ledger of another address."""
    open_ledger(path).close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE header SET value = 'https://us1.api.voucherify.io' WHERE name = 'url'")
    connection.close()


def read_ledger(path: Path) -> LedgerReader:
    """Open it as a dry run does."""
    return LedgerReader.read(path, URL)


REFUSED = [
    pytest.param(text, "no SQLite file", id="a text"),
    pytest.param(foreign, "another program", id="another database"),
    pytest.param(newer, "newer voucherify-sync", id="a newer version"),
    pytest.param(other_url, r"belongs to https://us1\.api\.voucherify\.io, not to", id="another URL"),
    pytest.param(Path.mkdir, "no plain file", id="a directory"),
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
        ledger.record(outcome(operation(1), State.DELIVERED))
    step = ("ALTER TABLE runs ADD COLUMN note TEXT",)
    monkeypatch.setattr(ledger_schema, "MIGRATIONS", (*ledger_schema.MIGRATIONS, step))
    for _ in range(2):
        with open_ledger(path) as ledger:
            assert ledger.counts() == Counts(0, 1, 0, 0)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (2,)
    assert connection.execute("SELECT count(note) FROM runs").fetchone() == (0,)
    connection.close()


def test_a_link_is_not_followed(path: Path) -> None:
    """Who can place a link must not choose what we write to."""
    path.parent.mkdir()
    path.symlink_to(path.parent / "elsewhere")
    with pytest.raises(UsageProblem, match="no plain file"):
        open_ledger(path)
    assert not (path.parent / "elsewhere").exists()


def test_the_same_url_written_otherwise_is_the_same(path: Path) -> None:
    """Upper case in the host and a slash at the end say nothing."""
    open_ledger(path).close()
    LedgerReader.read(path, "https://API.voucherify.io/").close()


def test_a_place_where_nothing_can_be_written_is_refused(tmp_path: Path) -> None:
    """Exit 2, naming the option that gives another place."""
    (tmp_path / "file").touch()
    with pytest.raises(UsageProblem, match=r"cannot write .*x\.ledger") as refused:
        open_ledger(tmp_path / "file" / "x.ledger")
    assert "--ledger" in refused.value.remedy


def test_reading_a_ledger_that_does_not_exist_makes_none(path: Path) -> None:
    """A dry run leaves nothing behind; it knows nothing, and keeps nothing."""
    with LedgerReader.read(path, URL) as reader:
        reader.record(outcome(operation(1), State.DELIVERED))
        assert reader.look_up([key_of(operation(1))]) == [None]
        assert (reader.last_run(), list(reader.doubts()), reader.failed_by_reason()) == (None, [], {})
    assert not path.parent.exists()
    with LedgerReader.empty() as reader:
        assert reader.size == 0


def test_a_ledger_can_be_read_while_a_run_writes(path: Path) -> None:
    """It takes no lock; what has no answer yet counts as in doubt."""
    with open_ledger(path) as ledger, LedgerReader.read(path, URL) as reader:
        ledger.record(outcome(operation(1), State.DELIVERED))
        ledger.intend(operation(2))
        states = [
            known and known.state for known in reader.look_up([key_of(operation(n)) for n in (1, 2, 3)])
        ]
        assert states == [State.DELIVERED, State.IN_DOUBT, None]
        assert reader.counts() == Counts(0, 1, 0, 1)
        assert [doubt.message_id for doubt in reader.doubts()] == ["track-2"]
        assert list(ledger.doubts()) == []
        assert ledger.counts() == Counts(0, 1, 0, 0)


def test_reading_does_not_change_a_ledger(path: Path) -> None:
    """Not a byte, not even what a crash left to be settled."""
    with open_ledger(path) as ledger:
        ledger.intend(operation(1))
    before = path.read_bytes()
    with LedgerReader.read(path, URL) as reader:
        assert reader.counts().in_doubt == 1
    assert path.read_bytes() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which only root can")
def test_a_ledger_is_read_where_nothing_can_be_written(path: Path, tmp_path: Path) -> None:
    """A dry run by someone who may read, and no more."""
    with open_ledger(path) as ledger:
        ledger.record(outcome(operation(1), State.DELIVERED))
    path.chmod(0o644)
    for directory in (path.parent, tmp_path, *tmp_path.parents):
        if "pytest-of" in str(directory):
            directory.chmod(0o755)
    os.seteuid(65534)
    try:
        with LedgerReader.read(path, URL) as reader:
            assert reader.counts() == Counts(0, 1, 0, 0)
    finally:
        os.seteuid(0)
    assert sorted(file.name for file in path.parent.iterdir()) == ["x.ledger", "x.ledger.lock"]


def crash_and_spoil(path: Path) -> None:
    """Leave a ledger as a crash leaves it, on a disk that then spoils one page of its many."""
    with open_ledger(path) as ledger:
        for number in range(1_000):
            ledger.record(outcome(operation(number), State.DELIVERED))
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE header SET value = '0' WHERE name = 'clean'")
    connection.close()
    data = bytearray(path.read_bytes())
    page = data.index(min(key_of(operation(number)) for number in range(1_000))) // 4096
    data[page * 4096 : page * 4096 + 16] = b"\xff" * 16
    path.write_bytes(data)


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


def test_a_ledger_holds_no_customer_and_no_payload(path: Path) -> None:
    """Whose event it was, and what it said, is in the archive; the ledger must not leak it."""
    with open_ledger(path) as ledger:
        for number, state in enumerate([State.DELIVERED, State.FAILED, State.IN_DOUBT]):
            ledger.intend(operation(number))
            ledger.record(outcome(operation(number), state, "reason"))
        ledger.intend(operation(4))
        ledger.flush()
        files = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"track-4" in files
    assert b"user-" not in files
    assert b"amount" not in files
