"""Several processes that do one kind of work give the answers of one, in order, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.popen_forkserver import Popen
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from voucherify_sync.running import crew
from voucherify_sync.running.crew import Crew, Work


def echo(suffix: str) -> Work:
    """Answer with the message itself and the process that did it."""
    return lambda parts: b"%b%b %d" % (b"".join(parts), suffix.encode(), os.getpid())


def mirror() -> Work:
    """Answer with the parts of the message, joined."""
    return b"|".join


def doomed(parent: int) -> Work:
    """Work in the first process only; the others die of it."""

    def work(parts: Iterator[bytes]) -> bytes:
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return b"".join(parts)

    return work


def test_answers_come_in_the_order_of_the_messages() -> None:
    """Two processes do the work, and none of it is done here."""
    messages = [b"%d" % number for number in range(200)]
    answers = [answer.split() for answer in Crew(echo, (" x",), 2).answers([[m] for m in messages])]
    assert [message for message, _, _ in answers] == messages
    assert {suffix for _, suffix, _ in answers} == {b"x"}
    assert os.getpid() not in {int(process) for _, _, process in answers}


def test_only_so_many_messages_are_taken_ahead() -> None:
    """Memory stays flat, and what is read is soon settled."""
    taken = []

    def messages() -> Iterator[list[bytes]]:
        for number in range(50):
            taken.append(number)
            yield [b"%d" % number]

    for answered, _ in enumerate(Crew(mirror, (), 2).answers(messages()), 1):
        assert len(taken) - answered <= 2 * crew.AHEAD


def test_a_message_that_finds_no_room_is_answered() -> None:
    """A line may be longer than a place in the file."""
    messages = [[b"a", b"short", b"one"], [b"x" * crew.ROOM, b"y"], [b""], [b"x" * crew.ROOM, b"", b""]]
    assert list(Crew(mirror, (), 1).answers(messages)) == [b"|".join(parts) for parts in messages]


def test_where_processes_die_the_work_is_done_here() -> None:
    """The system may kill one for want of memory; the run goes on without."""
    messages = [b"%d" % number for number in range(20)]
    assert list(Crew(doomed, (os.getpid(),), 2).answers([[m] for m in messages])) == messages


@pytest.mark.parametrize("error", [EOFError, BlockingIOError], ids=lambda error: error.__name__)
@pytest.mark.parametrize("started", [0, 1])
def test_where_processes_cannot_be_started_the_work_is_done_here(
    error: type[Exception], started: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system has room for so many processes only; those that run go on."""
    launch, left = Popen._launch, [None] * started

    def refuse(*arguments: Any) -> None:
        if not left:
            raise error
        left.pop()
        launch(*arguments)

    monkeypatch.setattr(Popen, "_launch", refuse)
    messages = [b"%d" % number for number in range(50)]
    assert list(Crew(mirror, (), 2).answers([[m] for m in messages])) == messages


def test_without_room_for_a_file_the_work_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nothing can be handed over."""
    monkeypatch.setattr("tempfile.tempdir", "/does/not/exist")
    assert list(Crew(mirror, (), 2).answers([[b"a"], [b"b", b"c"]])) == [b"a", b"b|c"]


def test_what_is_not_waited_for_is_given_up() -> None:
    """A run that stops waits for no more than what is worked on."""
    answers = Crew(mirror, (), 1).answers([b"%d" % number] for number in range(1_000_000))
    assert next(answers) == b"0"
    answers.close()


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM], ids=lambda kill: kill.name)
def test_the_processes_end_with_the_first_one(kill: signal.Signals, tmp_path: Path) -> None:
    """Whatever ends it, none is left, since its output, which all of them have open, ends; no event stays on disk."""
    script = """
        import itertools, test_crew
        if __name__ == "__main__":
            for answer in test_crew.Crew(test_crew.echo, ("",), 2).answers(itertools.repeat([b""])):
                print(answer.decode(), flush=True)
    """
    with subprocess.Popen(
        [sys.executable, "-c", dedent(script)],
        cwd=Path(__file__).parent,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(kill)
        process.communicate(timeout=20)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
