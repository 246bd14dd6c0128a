"""What a ledger keeps when the power fails at any moment, and what it allows when the disk refuses a write."""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import apsw
import pytest
from support.ledger_parts import key_of, make_request, open_ledger, outcome
from support.taped_disk import Disk, Step, after_power_cut, open_on, save

from voucherify_sync.errors import RunStopped, VoucherifySyncError
from voucherify_sync.outcomes import NotProcessed, State
from voucherify_sync.stop import Stop

WORKERS = 4
EVENTS = 60
"""For each worker."""
CUTS = 60
ENDS = (State.DELIVERED, State.DELIVERED, State.DELIVERED, State.FAILED, State.IN_DOUBT, State.PENDING)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder for what a disk held; in memory where that can be had, as these tests sync thousands of times."""
    shared = Path("/dev/shm")
    with TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as name:
        yield Path(name)


def work(disk: Disk, synchronous: str = "FULL") -> None:
    """Send a lot of events by some workers at once; note on the tape what each relied on, and when."""
    ledger = open_on(disk, Stop(), synchronous=synchronous)
    disk.promise("opened", None)

    def send(worker: int) -> None:
        chance = random.Random(worker)
        for number in range(worker, WORKERS * EVENTS, WORKERS):
            event = make_request(number)
            ledger.intend(event)
            disk.promise("intended", number)
            state = chance.choice(ENDS)
            if state is State.PENDING:
                disk.promise("withdrawn", number)
                ledger.withdraw(event, NotProcessed.THROTTLED)
                continue
            ledger.record(outcome(event, state, "reason"))
            if chance.random() < 0.1:
                ledger.flush()
                disk.promise(state, number)

    workers = [threading.Thread(target=send, args=(number,)) for number in range(WORKERS)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    ledger.close()


def promised(tape: Iterable[Step], *whats: str) -> set[int]:
    """Return the numbers of the events of which something was promised."""
    return {step.data for step in tape if step.what == "promise" and step.file in whats}


def broken_promises(tape: list[Step], folder: Path, chance: random.Random) -> Counter[str]:
    """Cut the power at the end of a tape; open what is left as the next run does, and count what is not as promised."""
    path = save(after_power_cut(tape, chance), folder)
    broken = Counter[str]()
    try:
        with open_ledger(path, is_whole=True) as ledger:
            known = ledger.look_up([key_of(make_request(number)) for number in range(WORKERS * EVENTS)])
            sound = ledger._ask("PRAGMA integrity_check") == [("ok",)]
    except VoucherifySyncError:
        return Counter(unreadable=1)
    sure = promised(tape, "intended") - promised(tape, "withdrawn")
    broken["lost intents"] = sum(known[number] is None for number in sure)
    for state in (State.DELIVERED, State.FAILED, State.IN_DOUBT):
        found = [known[number] for number in promised(tape, state)]
        broken[f"lost {state}"] = sum(entry is None or entry.state is not state for entry in found)
    broken["damaged"] = not sound
    return +broken


def cut_often(tape: list[Step], folder: Path) -> Counter[str]:
    """Cut the power at many random moments and add up what went wrong."""
    chance = random.Random(7)
    opened = next(place for place, step in enumerate(tape) if step.file == "opened")
    broken = Counter[str]()
    for cut in range(CUTS):
        here = folder / str(cut)
        here.mkdir()
        broken += broken_promises(tape[: chance.randint(opened, len(tape))], here, chance)
    return broken


def test_no_committed_intent_is_lost_in_a_power_cut(folder: Path) -> None:
    """What was not synced is kept, lost or torn by chance; all that somebody relied on is there, and it is sound."""
    disk = Disk()
    work(disk)
    assert len(promised(disk.tape, "intended")) == WORKERS * EVENTS
    assert sum(step.what == "truncate" or step.file == "project.ledger" for step in disk.tape) > 50
    assert cut_often(disk.tape, folder) == Counter()


@pytest.mark.parametrize("synchronous", ["NORMAL", "OFF"])
def test_the_power_cut_is_hard_enough_to_tell(folder: Path, synchronous: str) -> None:
    """With less than synchronous=FULL the same cuts lose committed intents: the test above can fail."""
    disk = Disk()
    work(disk, synchronous)
    broken = cut_often(disk.tape, folder)
    assert broken["lost intents"] + broken["unreadable"] > 0


def intend_until_refused(disk: Disk, stop: Stop, number: int, error: Exception) -> list[int]:
    """Begin a run on a disk that refuses its n-th write; return the events that might have been sent."""
    ledger = open_on(disk, stop, checkpoint_pages=10)
    disk.refuse(error, number)
    sent = []
    for event in map(make_request, range(EVENTS)):
        try:
            ledger.intend(event)
        except RunStopped:
            break
        sent.append(event.event.position.line)
        ledger.record(outcome(event, State.DELIVERED))
    with pytest.raises(RunStopped):
        ledger.intend(make_request(-1))
    ledger.close()
    return sent


@pytest.mark.parametrize(
    ("error", "said"),
    [(apsw.FullError("full"), "disk is full"), (apsw.IOError("broken"), "cannot read or write")],
    ids=["full", "broken"],
)
def test_a_disk_that_refuses_any_write_lets_nothing_out_unrecorded(
    folder: Path, error: Exception, said: str
) -> None:
    """Whichever write is refused: the intent that is not on disk is refused, so is each later one; exit 4."""
    for number in range(1, 120, 3):
        disk, stop = Disk(), Stop()
        sent = intend_until_refused(disk, stop, number, error)
        assert len(sent) < EVENTS
        assert isinstance(stop.error, RunStopped)
        assert said in stop.error.message
        for name, files in (("kept", disk.files), ("cut", after_power_cut(disk.tape, random.Random(number)))):
            here = folder / f"{number}-{name}"
            here.mkdir()
            with open_ledger(save(files, here), is_whole=True) as ledger:
                known = ledger.look_up([key_of(make_request(line)) for line in sent])
                assert all(entry and entry.state in {State.DELIVERED, State.IN_DOUBT} for entry in known)
                assert ledger._ask("PRAGMA integrity_check") == [("ok",)]
