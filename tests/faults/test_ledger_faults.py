"""What a ledger does when the process is killed, another one comes, or the disk is full."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import textwrap
import threading
import time
from pathlib import Path

import pytest
from support.ledger_parts import key_of, make_request, open_ledger, outcome, start_beside
from support.waiting import HANG_S

from voucherify_sync.errors import RunStopped, VoucherifySyncError
from voucherify_sync.exit_codes import ExitCode
from voucherify_sync.outcomes import NotProcessed, State
from voucherify_sync.state.ledger import Ledger
from voucherify_sync.state.ledger_reader import LedgerReader
from voucherify_sync.stop import Stop


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a place for a ledger."""
    return tmp_path / "x.ledger"


def start(code: str, path: Path) -> subprocess.Popen[str]:
    """Start some code beside a ledger."""
    return start_beside(f"ledger_path = Path({str(path)!r})\n" + textwrap.dedent(code))


WORKERS = 4
INTENDING = """
    import os, threading
    ledger = open_ledger(ledger_path)

    def work(first):
        for number in range(first, 100_000_000, 4):
            ledger.intend(make_request(number))
            os.write(1, b"intended %d\\n" % number)
            ledger.record(outcome(make_request(number), State.DELIVERED))

    for first in range(4):
        threading.Thread(target=work, args=(BASE + first,)).start()
"""


def intend_until_killed(path: Path, base: int) -> set[int]:
    """Return the numbers of the events that were intended, and so may have been sent, before the kill."""
    process = start(f"BASE = {base}\n" + textwrap.dedent(INTENDING), path)
    assert process.stdout is not None
    first = process.stdout.readline()
    time.sleep(random.uniform(0, 0.2))
    process.kill()
    lines = [first, *process.stdout]
    process.wait()
    process.stdout.close()
    return {int(line.split()[1]) for line in lines}


def test_every_intent_that_was_promised_survives_a_kill(path: Path) -> None:
    """What may have been sent is delivered or in doubt in the next run, and in doubt is one a worker at most."""
    intended: set[int] = set()
    for kill in range(1, 6):
        intended |= intend_until_killed(path, kill * 1_000_000)
        with open_ledger(path) as ledger:
            answers = ledger.look_up([key_of(make_request(number)) for number in sorted(intended)])
            assert {known and known.state for known in answers} <= {State.DELIVERED, State.IN_DOUBT}
            assert ledger.counts().in_doubt <= WORKERS * kill
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_a_second_run_leaves_at_once_and_says_who_holds_the_ledger(path: Path) -> None:
    """Exit 4 while the first one goes on; a kill of the holder frees it."""
    process = start("ledger = open_ledger(ledger_path); print('open'); import time; time.sleep(3600)", path)
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(RunStopped, match=rf"process {process.pid} on .+ since 20\d\d-.+Z") as refused:
        open_ledger(path)
    assert process.poll() is None
    assert refused.value.exit_code is ExitCode.STOPPED
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    open_ledger(path).close()


def test_a_ledger_that_could_not_be_opened_is_not_held(path: Path) -> None:
    """The lock ends with the attempt."""
    path.write_text("something else\n" * 100)
    with pytest.raises(VoucherifySyncError, match="no ledger"):
        open_ledger(path, is_new=False)
    path.unlink()
    open_ledger(path).close()


def fill_disk(ledger: Ledger) -> None:
    """Let the file grow no further."""
    connection = ledger._writer._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")


def fill(ledger: Ledger) -> int:
    """Intend until it is refused; return the number of the one that was."""
    for number in range(100_000):
        try:
            ledger.intend(make_request(number))
        except RunStopped:
            return number
    raise AssertionError("the disk never was full")


def test_a_full_disk_stops_the_run_before_anything_is_sent_unrecorded(path: Path) -> None:
    """Exit 4: the intent that could not be kept is refused, and so is every later one, though there be room again."""
    stop = Stop()
    with open_ledger(path, stop=stop) as ledger:
        fill_disk(ledger)
        refused = fill(ledger)
        assert isinstance(stop.error, RunStopped)
        assert "disk is full" in stop.error.message
        ledger._writer._connection.execute("PRAGMA max_page_count = 1000000")
        ledger.record(outcome(make_request(0), State.DELIVERED))
        for ask in (ledger.flush, lambda: ledger.look_up([]), lambda: ledger.intend(make_request(-1))):
            with pytest.raises(RunStopped, match="disk is full"):
                ask()
    with open_ledger(path) as ledger:
        answers = ledger.look_up([key_of(make_request(number)) for number in range(refused + 1)])
        assert [known and known.state for known in answers] == [State.IN_DOUBT] * refused + [None]


def test_a_full_disk_is_told_when_only_outcomes_are_written(path: Path) -> None:
    """No one waits for an outcome, so the stop is told."""
    stop = Stop()
    with open_ledger(path, stop=stop) as ledger:
        fill_disk(ledger)
        for number in range(5_000):
            ledger.record(outcome(make_request(number), State.FAILED, "not_found"))
        assert stop.wait(HANG_S)
    assert isinstance(stop.error, RunStopped)


def test_all_workers_hear_of_a_full_disk(path: Path) -> None:
    """None waits for a commit that never comes."""
    refused: list[int] = []
    with open_ledger(path) as ledger:
        fill_disk(ledger)

        def work(first: int) -> None:
            for number in range(first, first + 100_000):
                try:
                    ledger.intend(make_request(number))
                except RunStopped:
                    refused.append(first)
                    return

        workers = [threading.Thread(target=work, args=(n * 100_000,), daemon=True) for n in range(16)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
    assert len(refused) == 16


def test_a_file_that_may_not_grow_stops_the_run(path: Path) -> None:
    """The kernel's own refusal, not SQLite's."""
    open_ledger(path).close()
    limit = path.stat().st_size + 40_000
    code = f"""
        import resource
        from voucherify_sync.errors import RunStopped
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
        ledger = open_ledger(ledger_path)
        try:
            for number in range(100_000):
                ledger.intend(make_request(number))
        except RunStopped as error:
            print(number, int(error.exit_code), error.message)
        ledger.close()
    """
    process = start(code, path)
    output, _ = process.communicate(timeout=60)
    number, exit_code, message = output.split(" ", 2)
    assert (int(exit_code), int(number) > 0) == (4, True)
    assert "ledger" in message
    with LedgerReader(path) as reader:
        assert reader.counts().in_doubt == int(number)


def test_a_bug_of_the_writer_reaches_whoever_waits(path: Path) -> None:
    """Exit 1, not a run that hangs."""
    stop = Stop()
    with open_ledger(path, stop=stop) as ledger:
        ledger._writer._changes.statements.append(("SELECT ?", (object(),)))
        with pytest.raises(VoucherifySyncError) as failed:
            ledger.intend(make_request(1))
    assert failed.value.exit_code is ExitCode.BUG
    assert stop.error is failed.value


def test_after_the_end_nothing_can_be_sent(path: Path) -> None:
    """A worker that is late is refused; its outcome is not waited for."""
    ledger = open_ledger(path)
    ledger.close()
    ledger.record(outcome(make_request(1), State.DELIVERED))
    ledger.withdraw(make_request(1), NotProcessed.THROTTLED)
    ledger.flush()
    with pytest.raises(RunStopped, match="has ended"):
        ledger.intend(make_request(1))
